"""The models of the bench, fitted once and kept in a folder."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.bodies import Rows
from driftloop.local.bench.processes import last_words

MODELS: Final = {
    "logreg": "standardised features, logistic regression",
    "rf": "random forest, 100 trees of depth 10",
    "hgb": "gradient-boosted trees with histograms",
}
MADE_BY: Final = ("fit.py", "stress/faulty.py")
PACKAGES: Final = ("scikit-learn", "skl2onnx", "onnx", "numpy")


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A model as ONNX, rows to send (rows, features), scikit-learn's answers (rows, classes)."""

    name: str
    path: Path
    rows: Rows
    answers: NDArray[np.float32]

    def groups(self, count: int, rows: int) -> list[Rows]:
        """`count` groups of `rows` rows each, from the first on."""
        return [self.rows[at * rows : (at + 1) * rows] for at in range(count)]

    def expected(self, group: int, rows: int) -> NDArray[np.float32]:
        """scikit-learn's answers to a group."""
        return self.answers[group * rows : (group + 1) * rows]


def fitted(name: str, folder: Path, version: int = 1) -> Fitted:
    """The model from `folder`, fitted there first if need be; raises `InvalidInput`.

    From 2 on, a `version` has learned something else from the same rows.
    """
    return versions(name, folder, (version,))[0]


def versions(name: str, folder: Path, numbers: Sequence[int]) -> list[Fitted]:
    """These versions of a model, as `fitted` gives each."""
    if name not in MODELS:
        raise InvalidInput(f"model: {name!r} is not known; accepted: {', '.join(MODELS)}")
    place = place_of(folder)
    missing = [n for n in numbers if not (place / file_name(name, n)).exists()]
    if missing:
        run("driftloop.local.bench.fit", place, name, name, place, ",".join(map(str, missing)))
    return [_read(name, place / file_name(name, number)) for number in numbers]


def place_of(folder: Path) -> Path:
    """Where the models are kept: other libraries, or other code, make other models."""
    libraries = " ".join(f"{package} {installed(package)}" for package in PACKAGES)
    here = Path(__file__).parent
    code = b"".join((here / made_by).read_bytes() for made_by in MADE_BY)
    return folder / hashlib.sha256(libraries.encode() + code).hexdigest()[:12]


def file_name(model: str, version: int) -> str:
    """The file of a version."""
    return f"{model}.onnx" if version == 1 else f"{model}-{version}.onnx"


def run(module: str, place: Path, what: str, *arguments: object) -> None:
    """Run a process that writes models to `place`; raises `RuntimeError` with its last words."""
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"{what}.log"
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with log.open("wb") as out:
        code = subprocess.run(command, check=False, stdout=out, stderr=out).returncode
    if code:
        raise RuntimeError(f"model: {what} could not be made: {last_words(log)}")


def _read(name: str, path: Path) -> Fitted:
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as kept:
        return Fitted(name=name, path=path, rows=kept["rows"], answers=kept["answers"])
