"""The spec's bounded loss over rows, and its baseline."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence import loss_function
from driftloop.modelspec.spec import Spec

Floats = NDArray[np.float64]
RowLoss = Callable[[NDArray[np.float32], Floats], Floats]
"""Answers (rows, width) and labels (rows,) to one loss in [0, 1] a row."""


def row_loss(spec: Spec) -> RowLoss:
    """The loss that evidence and gates of this spec are computed on."""
    if spec.task == "classification":
        of_classes = loss_function(spec.loss)
        return lambda answers, labels: of_classes(
            answers.astype(np.float64), labels.astype(np.int64)
        )
    of_values = loss_function(spec.loss, scale=spec.target.scale)
    return lambda answers, labels: of_values(answers[:, 0].astype(np.float64), labels)


def baseline_answers(metrics: dict[str, float], width: int, rows: int) -> NDArray[np.float32]:
    """The trivial answer to every row: class shares, or the mean, of the training rows."""
    one = np.array([metrics[f"baseline_{at}"] for at in range(width)], dtype=np.float32)
    return np.tile(one, (rows, 1))
