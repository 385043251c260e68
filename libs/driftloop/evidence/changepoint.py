"""Since when: the row a change began with, once it is known that there was one."""

from typing import NamedTuple

import numpy as np

from driftloop.evidence.arrays import FloatArray


class ChangePoint(NamedTuple):
    """Row at which the change began, and whether it came all at once (a step) or grew (a ramp)."""

    row: int
    gradual: bool


FEWEST_BEFORE = 8
"""Rows that stay before the change."""
CLEARER = 0.91
"""What a ramp has to explain of what a step does: of a true ramp it is nine eighths.

Chosen on streams that the bench does not use: more takes more ramps for steps, less more steps for
ramps; here neither is off by a quarter of the alarm's delay in the median.
"""


def change_point(scores: FloatArray, mean: float) -> ChangePoint:
    """The likeliest beginning of a change of the mean that lasts to the end of `scores`.

    `scores` (rows,) are the newest rows, the change somewhere among them; `mean` is what their mean
    was before (known from more rows than these). The beginning maximises the likelihood of normal
    rows with a step, or with a ramp that grows in proportion to the rows since (Hinkley 1970,
    Biometrika 57; for the ramp, least squares of a broken line); the one that explains more.
    Of independent rows a step's error is some (deviation / step)^2 rows, whatever the delay.
    """
    rows = scores - mean
    count = rows.size
    if count <= FEWEST_BEFORE:
        return ChangePoint(0, gradual=False)
    backwards = rows[::-1]
    since = np.arange(1.0, count + 1.0)
    sums = np.cumsum(backwards)
    step = np.square(sums) / since
    # With k rows since, row j from the end has grown for k - j: k sum(x) - sum(j x).
    weighted = since * sums - np.cumsum(backwards * np.arange(count))
    ramp = np.square(weighted) / (since * (since + 1.0) * (2.0 * since + 1.0) / 6.0)
    last = count - FEWEST_BEFORE
    at_step, at_ramp = int(np.argmax(step[:last])), int(np.argmax(ramp[:last]))
    gradual = bool(ramp[at_ramp] > CLEARER * step[at_step])
    return ChangePoint(count - 1 - (at_ramp if gradual else at_step), gradual)
