"""The decision that a confidence interval allows."""

import math
from typing import Literal

from driftloop.evidence.interval import Interval

Verdict = Literal["better", "worse", "undecided"]


def verdict(interval: Interval, margin: float) -> Verdict:
    """Say what `interval`, about the loss difference `champion - shadow`, means for the shadow.

    "better": the lower bound is at `margin` or over it (the mean lies strictly between the bounds);
    "worse": the upper bound is at it or under it; else, and without rows, "undecided".
    `margin` is in units of loss. With a confidence sequence this may be asked after every batch
    and stopped at the first answer: the error probability stays the sequence's.
    Raises ValueError when `margin` is not finite.
    """
    if not math.isfinite(margin):
        raise ValueError(f"margin is {margin}; accepted is a finite number")
    if interval.rows == 0:
        return "undecided"
    if interval.lower >= margin:
        return "better"
    return "worse" if interval.upper <= margin else "undecided"
