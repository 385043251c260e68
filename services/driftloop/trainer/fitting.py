"""Fits a candidate and converts it to ONNX: the function that runs in the child process."""

import platform
import resource
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import skl2onnx
from numpy.typing import NDArray
from onnx import ModelProto
from skl2onnx.common.data_types import FloatTensorType

from driftloop.evidence import metrics
from driftloop.trainer import estimators
from driftloop.trainer.tasks import FitResult, FitTask

OPSET = 21
PACKAGES = ("scikit-learn", "skl2onnx", "onnx", "numpy", "protobuf")


class FitError(ValueError):
    """The rows or the estimator do not allow a candidate."""


def fit(task: FitTask) -> FitResult:
    """Fit on the training rows, answer the holdout rows, convert.

    Everything is float32 and random states are seeded: the same rows give the same bytes.
    """
    started = time.perf_counter()
    features, labels = without_empty_columns(task.features), task.labels
    if task.classes:
        _check_classes(labels, task.classes)
        labels = labels.astype(np.int64)
    model = estimators.build(task.estimator, task.parameters, task.task, task.seed)
    model.fit(features, labels)
    answers = answer(model, task.holdout, task.classes)
    converted = convert(model, features.shape[1], task.classes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return FitResult(
        model=converted,
        answers=answers,
        metrics={**_metrics(task, answers), **_baseline(task)},
        seconds=time.perf_counter() - started,
        cpu_seconds=used.ru_utime + used.ru_stime,
        estimator=repr(model).replace("\n", " "),
        environment={
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in PACKAGES},
        },
    )


def without_empty_columns(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Columns without any value become zeros: nothing is learned from them, and they can be fitted.

    Boosted trees and imputers fail on a column that is missing throughout.
    """
    empty = np.isnan(features).all(axis=0)
    return np.where(empty, np.float32(0), features) if empty.any() else features


def convert(model: Any, width: int, classes: tuple[str, ...]) -> bytes:
    """ONNX bytes of a fitted estimator with one float32 input `features` of shape (rows, width)."""
    round_thresholds_down(model)
    made: ModelProto = skl2onnx.convert_sklearn(
        model,
        name="driftloop",
        initial_types=[("features", FloatTensorType([None, width]))],
        options={"zipmap": False} if classes else None,
        target_opset=OPSET,
    )
    return bytes(made.SerializeToString(deterministic=True))


def round_thresholds_down(model: Any) -> None:
    """Make the thresholds of boosted trees float32 without changing an answer to float32 rows.

    scikit-learn splits at doubles, half-way between two values; ONNX at float32. Rounded to the
    nearest, a threshold may become the upper value itself, and its row then goes the other way.
    Rounded down, `x <= threshold` is the same for every float32 x.
    """
    for part in _parts(model):
        for trees in getattr(part, "_predictors", ()):
            for tree in trees:
                exact = tree.nodes["num_threshold"]
                near = exact.astype(np.float32)
                lower = np.nextafter(near, np.float32(-np.inf))
                tree.nodes["num_threshold"] = np.where(near > exact, lower, near)


def _parts(model: Any) -> list[Any]:
    """The estimator and, of a pipeline, its steps."""
    return [model, *(step for _, step in getattr(model, "steps", ()))]


def answer(model: Any, rows: NDArray[np.float32], classes: tuple[str, ...]) -> NDArray[np.float32]:
    """Answers of the estimator itself: (rows, classes) probabilities, or (rows, 1) values."""
    made = model.predict_proba(rows) if classes else model.predict(rows).reshape(-1, 1)
    return np.asarray(made, dtype=np.float32)


def _check_classes(labels: NDArray[np.float64], classes: tuple[str, ...]) -> None:
    missing = sorted(set(range(len(classes))) - set(np.unique(labels).astype(int).tolist()))
    if missing:
        names = ", ".join(classes[at] for at in missing)
        raise FitError(
            f"labels: no training row has the class {names}; accepted: some rows of every class"
        )


def _metrics(task: FitTask, answers: NDArray[np.float32]) -> dict[str, float]:
    if not task.classes:
        values, truth = answers[:, 0].astype(np.float64), task.holdout_labels
        return {
            "mean_absolute_error": metrics.mean_absolute_error(values, truth),
            "root_mean_squared_error": metrics.root_mean_squared_error(values, truth),
        }
    probabilities, truth = answers.astype(np.float64), task.holdout_labels.astype(np.int64)
    made = {
        "log_loss": metrics.log_loss(probabilities, truth),
        "brier": metrics.brier_score(probabilities, truth),
        "accuracy": metrics.accuracy(probabilities, truth),
    }
    if len(task.classes) == 2:
        made["roc_auc"] = metrics.roc_auc(probabilities, truth)
    return made


def _baseline(task: FitTask) -> dict[str, float]:
    """The trivial answer of the training rows: the share of each class, or the mean."""
    if not task.classes:
        return {"baseline_0": float(np.mean(task.labels))}
    shares = np.bincount(task.labels.astype(np.int64), minlength=len(task.classes)) / len(
        task.labels
    )
    return {f"baseline_{at}": float(share) for at, share in enumerate(shares)}
