"""Metrics of whole datasets: one number for all rows."""

import numpy as np
from numpy.typing import ArrayLike

from driftloop.evidence.arrays import (
    FloatArray,
    IntArray,
    class_probabilities,
    predictions_and_targets,
)
from driftloop.evidence.losses import brier, zero_one

LOG_LOSS_CLIP = 1e-15


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of -ln p for the label's probability p, clipped to 1e-15 at least.

    `probabilities` (n, k), `labels` class indices (n,), n >= 1; in nats, 0 is best. Raises
    ValueError for no rows, and as `class_probabilities` does.
    """
    chances, indices = _scored(probabilities, labels)
    hits = np.take_along_axis(chances, indices[:, None], axis=1)
    return float(-np.log(np.maximum(hits, LOG_LOSS_CLIP)).mean())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean `brier` loss, in [0, 1], 0 is best (Brier 1950, halved).

    Shapes and errors as for `log_loss`.
    """
    return float(brier(*_scored(probabilities, labels)).mean())


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of rows whose most probable class is the label.

    Shapes and errors as for `log_loss`.
    """
    return 1.0 - float(zero_one(*_scored(probabilities, labels)).mean())


def roc_auc(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the chance that a row of class 1 gets a higher p1 than a row of class 0.

    `probabilities` (n, 2), `labels` 0 or 1, (n,), n >= 1; ties count one half (Mann and Whitney
    1947); NaN when only one class is there. Raises ValueError for more than two classes, for no
    rows, and as `class_probabilities` does.
    """
    chances, indices = _scored(probabilities, labels)
    if chances.shape[1] != 2:
        raise ValueError(f"probabilities has {chances.shape[1]} classes; accepted is 2")
    positives = int(indices.sum())
    negatives = indices.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, group, sizes = np.unique(chances[:, 1], return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(sizes) - (sizes - 1) / 2
    rank_sum = float(middle_ranks[group][indices == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def mean_absolute_error(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Return the mean absolute error, in units of the target, for two vectors (n,), n >= 1.

    Raises ValueError for no rows, and for vectors not finite or of two lengths.
    """
    return float(np.abs(_errors(predictions, targets)).mean())


def root_mean_squared_error(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Return the root of the mean squared error; the rest as for `mean_absolute_error`."""
    return float(np.sqrt(np.square(_errors(predictions, targets)).mean()))


def _scored(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    chances, indices = class_probabilities(probabilities, labels)
    _require_rows(indices.size)
    return chances, indices


def _errors(predictions: ArrayLike, targets: ArrayLike) -> FloatArray:
    guesses, truths = predictions_and_targets(predictions, targets)
    _require_rows(guesses.size)
    return guesses - truths


def _require_rows(rows: int) -> None:
    if rows == 0:
        raise ValueError("there are 0 rows; accepted is at least 1")
