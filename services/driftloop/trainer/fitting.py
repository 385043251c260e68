"""Fits a candidate and converts it to ONNX: the function that runs in the child process."""

import platform
import resource
import time
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec
import numpy as np
import skl2onnx
from numpy.typing import NDArray
from onnx import ModelProto
from skl2onnx.common.data_types import FloatTensorType

from driftloop.artifacts import onnx_file
from driftloop.contracts.manifest import Window
from driftloop.evidence import loss_function, metrics
from driftloop.trainer import estimators
from driftloop.trainer.domain import choice
from driftloop.trainer.tasks import FitResult, FitTask

OPSET = 21
PACKAGES = ("scikit-learn", "skl2onnx", "onnx", "numpy", "protobuf")


class FitError(ValueError):
    """The rows or the estimator do not allow a candidate."""


class Fitted(NamedTuple):
    """An estimator fitted on a window; its answers (rows, width) to the holdout, their losses."""

    window: Window
    model: Any
    answers: NDArray[np.float32]
    losses: choice.Floats


def fit(task: FitTask) -> FitResult:
    """Fit on each window, answer the holdout rows, convert the one that answers best.

    A window on which nothing can be fitted is skipped; the error is raised if there is no other.
    Everything is float32 and random states are seeded: the same rows give the same bytes.
    """
    started = time.perf_counter()
    tried = [_fit(task, window) for window in task.windows or (_all_rows(task),)]
    fitted = [one for one in tried if isinstance(one, Fitted)]
    if not fitted:
        raise FitError("; ".join(one.skipped for one in tried if isinstance(one, Window)))
    best = fitted[choice.best([one.losses for one in fitted])]
    converted = convert(best.model, task.features.shape[1], task.classes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return FitResult(
        model=converted,
        answers=best.answers,
        metrics={**_metrics(task, best.answers), **_baseline(task, best.window.rows)},
        seconds=time.perf_counter() - started,
        cpu_seconds=used.ru_utime + used.ru_stime,
        estimator=repr(best.model).replace("\n", " "),
        environment={
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in PACKAGES},
        },
        tried=tuple(_told(one, best) for one in tried),
        found=_found(converted, task),
    )


def _found(model: bytes, task: FitTask) -> onnx_file.Found:
    """What the model is made of; raises `ModelRefused` for one that inference would not load."""
    return onnx_file.check(model, task.features.shape[1], len(task.classes) or 1, task.limits)


def _all_rows(task: FitTask) -> Window:
    return Window(name="newest", why=f"{len(task.labels)} rows", rows=len(task.labels))


def _fit(task: FitTask, window: Window) -> Fitted | Window:
    """The estimator fitted on a window, or the window with the reason why it was skipped."""
    if window.skipped:
        return window
    started = time.perf_counter()
    model = estimators.build(task.estimator, task.parameters, task.task, task.seed)
    features = without_empty_columns(task.features[-window.rows :])
    labels = task.labels[-window.rows :]
    weights = choice.by_age(len(labels), window.half_life) if window.half_life else None
    try:
        if task.classes:
            _check_classes(labels, task.classes)
            labels = labels.astype(np.int64)
        model.fit(features, labels, **estimators.weighted(model, weights))
    except ValueError as error:
        return msgspec.structs.replace(window, skipped=str(error))
    answers = answer(model, task.holdout, task.classes)
    losses = _losses(task, answers)
    told = {"loss": float(losses.mean()), "seconds": time.perf_counter() - started}
    return Fitted(msgspec.structs.replace(window, **told), model, answers, losses)


def _told(one: Fitted | Window, best: Fitted) -> Window:
    if isinstance(one, Window):
        return one
    return msgspec.structs.replace(one.window, chosen=one is best)


def _losses(task: FitTask, answers: NDArray[np.float32]) -> choice.Floats:
    """The bounded loss of each holdout row, (rows,); a full one where an answer is not finite."""
    good = np.isfinite(answers).all(axis=1)
    losses = np.ones(len(answers))
    given, truth = answers[good].astype(np.float64), task.holdout_labels[good]
    if task.classes:
        losses[good] = loss_function(task.loss or "brier")(given, truth.astype(np.int64))
    else:
        loss = loss_function(task.loss or "scaled_absolute", scale=task.scale)
        losses[good] = loss(given[:, 0], truth)
    return losses


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


def _baseline(task: FitTask, rows: int) -> dict[str, float]:
    """The trivial answer of the training rows: the share of each class, or the mean."""
    labels = task.labels[-rows:]
    if not task.classes:
        return {"baseline_0": float(np.mean(labels))}
    shares = np.bincount(labels.astype(np.int64), minlength=len(task.classes)) / len(labels)
    return {f"baseline_{at}": float(share) for at, share in enumerate(shares)}
