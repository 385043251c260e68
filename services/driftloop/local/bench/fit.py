"""Fits one model of the bench and keeps it with its rows; run as a process of its own.

`python -m driftloop.local.bench.fit MODEL FOLDER VERSIONS` writes MODEL.onnx, and MODEL.npz with
`rows` (rows, features) float64, each a float32 in all its digits, and `answers` (rows, classes) of
scikit-learn itself. VERSIONS are numbers with commas: from 2 on (MODEL-2.onnx) the rows are the
same, and what is learned is another thing, so that each version answers otherwise.
"""

import importlib
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from driftloop.local.bench.models import file_name
from driftloop.local.bench.workloads import FEATURES
from driftloop.trainer.estimators import build
from driftloop.trainer.fitting import fit
from driftloop.trainer.tasks import FitTask

Array = NDArray[Any]

SAMPLES: Final = 20_000
KEPT: Final = 64 * 256
"""Rows that are sent: enough for the bodies of every workload."""
SEED: Final = 0


def estimator(model: str) -> tuple[str, dict[str, Any]]:
    """The estimator and its parameters, as a spec would name them."""
    if model == "rf":
        forest = {"n_estimators": 100, "max_depth": 10, "n_jobs": 1}
        return "sklearn.ensemble.RandomForestClassifier", forest
    if model == "hgb":
        return "sklearn.ensemble.HistGradientBoostingClassifier", {}
    parts = (
        ("scale", "sklearn.preprocessing.StandardScaler"),
        ("fit", "sklearn.linear_model.LogisticRegression"),
    )
    steps = [(step, build(path, {}, "classification", SEED)) for step, path in parts]
    return "sklearn.pipeline.Pipeline", {"steps": steps}


def labels_of(samples: Array, labels: Array, version: int) -> Array:
    """The labels (rows,) of a version: those of the data set, or noisy ones of other weights."""
    if version == 1:
        return labels
    random = np.random.default_rng(version)
    score = samples @ random.normal(size=FEATURES)
    noisy: Array = score + score.std() * random.logistic(size=len(score))
    return (noisy > 0).astype(labels.dtype)


def main() -> None:
    """Fit on all samples; the first of them are the rows to send."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    # By name, as the trainer finds the estimators of a spec: only this process has scikit-learn.
    datasets = importlib.import_module("sklearn.datasets")
    samples, labels = datasets.make_classification(SAMPLES, FEATURES, random_state=SEED)
    rows = samples.astype(np.float32).astype(np.float64)  # as a caller prints float32: all digits
    for version in map(int, sys.argv[3].split(",")):
        _write(model, folder / file_name(model, version), rows, labels_of(rows, labels, version))


def _write(model: str, file: Path, rows: Array, labels: Array) -> None:
    path, parameters = estimator(model)
    made = fit(
        FitTask(
            estimator=path,
            parameters=parameters,
            task="classification",
            classes=("0", "1"),
            seed=SEED,
            features=rows.astype(np.float32),
            labels=labels.astype(np.float64),
            holdout=rows[:KEPT].astype(np.float32),
            holdout_labels=labels[:KEPT].astype(np.float64),
        )
    )
    np.savez(file.with_suffix(".npz"), rows=rows[:KEPT], answers=made.answers)
    file.write_bytes(made.model)  # last: where it is, the rest is too


if __name__ == "__main__":
    main()
