"""Small real models: fitted by scikit-learn, converted by skl2onnx as the trainer does."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from driftloop.contracts.events import Dataset, Manifest
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Shadow, Version
from driftloop.modelspec.spec import Feature, Spec, Target

Matrix = NDArray[np.float32]
FEATURES = ("a", "b", "c")


class Tiny(NamedTuple):
    """A fitted estimator and the same as ONNX."""

    estimator: Any
    onnx: bytes

    def answers(self, matrix: Matrix) -> Matrix:
        """What scikit-learn says, shape (rows, width)."""
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict_proba(matrix), dtype=np.float32)
        return np.asarray(self.estimator.predict(matrix), dtype=np.float32).reshape(-1, 1)


def rows(count: int, seed: int = 0, features: int = len(FEATURES)) -> Matrix:
    """A matrix of plausible input."""
    return np.random.default_rng(seed).normal(size=(count, features)).astype(np.float32)


def _converted(estimator: Any, matrix: Matrix) -> Tiny:
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    onnx = to_onnx(estimator, matrix[:1], target_opset=18, options=options)
    return Tiny(estimator, onnx.SerializeToString())


def classifier(seed: int = 0, features: int = len(FEATURES), classes: int = 2) -> Tiny:
    """A logistic regression; another seed is another model."""
    matrix = rows(300, seed, features)
    cuts = np.quantile(matrix[:, 0], np.linspace(0, 1, classes + 1)[1:-1])
    label = np.digitize(matrix[:, 0] + 0.3 * (seed + 1) * matrix[:, 1], cuts)
    return _converted(LogisticRegression().fit(matrix, label), matrix)


def regressor(seed: int = 0) -> Tiny:
    """A linear regression."""
    matrix = rows(300, seed)
    return _converted(LinearRegression().fit(matrix, matrix.sum(axis=1) + seed), matrix)


def heavy_classifier(trees: int = 500) -> Tiny:
    """A forest that takes long for a batch."""
    matrix = rows(1_000, 1)
    label = (matrix[:, 0] * matrix[:, 1] > 0).astype(int)
    forest = RandomForestClassifier(trees, max_depth=14, random_state=0)
    return _converted(forest.fit(matrix, label), matrix)


def spec(name: str = "flights", features: tuple[str, ...] = FEATURES) -> Spec:
    """A classification spec over plain numbers."""
    return Spec(
        name=name,
        task="classification",
        target=Target(classes=("no", "yes")),
        features=tuple(Feature(name=feature) for feature in features),
    )


def manifest(
    version: int,
    onnx: bytes,
    *,
    model: str = "flights",
    features: tuple[str, ...] = FEATURES,
    width: int = 2,
    sha256: str = "",
) -> Manifest:
    """A manifest for these bytes; what inference does not read is made up."""
    nothing = Dataset(stream="OUTCOMES", first_seq=1, last_seq=1, rows=1, sha256="")
    return Manifest(
        model=model,
        version=version,
        model_sha256=sha256 or digest(onnx),
        model_bytes=len(onnx),
        train=nothing,
        holdout=nothing,
        holdout_answers_sha256="",
        snapshot_sha256="",
        spec_revision=1,
        features=features,
        width=width,
        estimator="",
        window="",
        metrics={},
        seconds=0.0,
        cpu_seconds=0.0,
        environment={},
    )


def state(champion: int, *manifests: Manifest, shadows: tuple[int, ...] = ()) -> ModelState:
    """The registry's state with these versions."""
    return ModelState(
        model=manifests[0].model if manifests else "flights",
        champion=champion,
        versions={
            m.version: Version(manifest=m, manifest_sha256="", run="run-1", stage="candidate")
            for m in manifests
        },
        shadows=tuple(
            Shadow(
                version=version,
                champion=champion,
                role="challenger",
                run="run-1",
                from_seq=1,
                started_id=f"shadow-{version}",
            )
            for version in shadows
        ),
    )
