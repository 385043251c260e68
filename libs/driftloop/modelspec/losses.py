"""The spec's bounded loss over rows, and its baseline."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence import loss_function
from driftloop.modelspec.spec import Spec

Floats = NDArray[np.float64]
RowLoss = Callable[[NDArray[np.float32], Floats], Floats]
"""Answers (rows, width) and labels (rows,) to one loss in [0, 1] a row; NaN where an answer holds
a number that is not finite."""


def row_loss(spec: Spec) -> RowLoss:
    """The loss that evidence and gates of this spec are computed on."""
    if spec.task == "classification":
        of_classes = loss_function(spec.loss)
        return _finite_rows(lambda answers, labels: of_classes(answers, labels.astype(np.int64)))
    of_values = loss_function(spec.loss, scale=spec.target.scale)
    return _finite_rows(lambda answers, labels: of_values(answers[:, 0], labels))


def _finite_rows(loss: Callable[[Floats, Floats], Floats]) -> RowLoss:
    def of_rows(answers: NDArray[np.float32], labels: Floats) -> Floats:
        good = np.isfinite(answers).all(axis=1)
        losses = np.full(len(answers), np.nan)
        losses[good] = loss(answers[good].astype(np.float64), labels[good])
        return losses

    return of_rows


def baseline_answers(metrics: dict[str, float], width: int, rows: int) -> NDArray[np.float32]:
    """The trivial answer to every row: class shares, or the mean, of the training rows."""
    one = np.array([metrics[f"baseline_{at}"] for at in range(width)], dtype=np.float32)
    return np.tile(one, (rows, 1))
