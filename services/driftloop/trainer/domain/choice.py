"""Weights of training rows by their age, and which of several training sets is the best."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCKS: Final = 10
ERRORS: Final = 2.0


def by_age(rows: int, half_life: int) -> Floats:
    """Weights (rows,) of rows in order, the oldest first: half as much each `half_life` rows.

    Exponential forgetting (Klinkenberg 2004), with rows of the log as the measure of age, which
    need no clock and know no gaps. The mean is 1, so that an estimator's regularisation keeps its
    strength. Raises ValueError unless `half_life` is positive.
    """
    if half_life < 1:
        raise ValueError(f"half_life is {half_life}; accepted is a number of rows of at least 1")
    weights = np.exp2(-np.arange(rows - 1, -1, -1, dtype=np.float64) / half_life)
    mean_one: Floats = weights / weights.mean()
    return mean_one


def best(losses: Sequence[Floats]) -> int:
    """Position of the training set to take, from the losses (rows,) of each on the same rows.

    The first whose mean loss is within two standard errors of the smallest: a later one has to be
    better than chance would have it. The error is that of paired differences. Neighbouring rows are
    alike (a bad day is bad for all), so it comes from the means of blocks of the holdout, in its
    order (the method of batch means, Schmeiser 1982).
    """
    least = min(losses, key=lambda row: float(row.mean()))
    return next(at for at, row in enumerate(losses) if _as_good(row - least))


def _as_good(difference: Floats) -> bool:
    means = [float(block.mean()) for block in np.array_split(difference, BLOCKS) if len(block)]
    error = float(np.std(means, ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    return float(difference.mean()) <= ERRORS * error
