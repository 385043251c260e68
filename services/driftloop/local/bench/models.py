"""The models of the bench, fitted once and kept in a folder."""

import hashlib
import subprocess
import sys
from importlib.metadata import version
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


def fitted(name: str, folder: Path) -> Fitted:
    """The model from `folder`, fitted there first if need be; raises `InvalidInput`.

    Other versions of the libraries make another model, so they are part of its folder's name.
    """
    if name not in MODELS:
        raise InvalidInput(f"model: {name!r} is not known; accepted: {', '.join(MODELS)}")
    libraries = " ".join(f"{package} {version(package)}" for package in PACKAGES)
    place = folder / hashlib.sha256(libraries.encode()).hexdigest()[:12]
    path = place / f"{name}.onnx"
    if not path.exists():
        _fit(name, place)
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as kept:
        return Fitted(name=name, path=path, rows=kept["rows"], answers=kept["answers"])


def _fit(name: str, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"{name}.log"
    command = [sys.executable, "-m", "driftloop.local.bench.fit", name, str(place)]
    with log.open("wb") as out:
        code = subprocess.run(command, check=False, stdout=out, stderr=out).returncode
    if code:
        raise RuntimeError(f"model: {name} could not be fitted: {last_words(log)}")
