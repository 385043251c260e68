"""The newest values a detector was fed, and where among them the mean changed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 65_536
"""Values kept; a change longer ago is told as if it had been that long ago."""


class Split(NamedTuple):
    """Means before and after a change, the rows since, and the deviation within both parts."""

    before: float
    after: float
    rows: int
    deviation: float


class Recent:
    """Values since the last change.

    ADWIN finds that there was a change; its window, cut by whole buckets until no cut is seen any
    more, says poorly when. The split that explains most of the variance (the maximum of the
    standardised CUSUM) is within some rows of the truth, and so are the means on either side.
    """

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []
        self._held = 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Newer values; the oldest beyond the bound are forgotten."""
        self._parts.append(values.astype(np.float32))
        self._held += len(values)
        if self._held > 2 * MOST or len(self._parts) > MOST:
            self._keep(self._all()[-MOST:])

    def split(self) -> Split:
        """Where the mean changed; only what came after that is kept."""
        values = self._all()[-MOST:].astype(np.float64)
        count = len(values)
        left = np.arange(1, count)
        sums = np.cumsum(values)
        gap = sums[:-1] / left - (sums[-1] - sums[:-1]) / (count - left)
        at = int(np.argmax(np.square(gap) * left * (count - left))) + 1 if count > 1 else 0
        old, new = values[:at], values[at:]
        self._keep(new.astype(np.float32))
        before = float(old.mean()) if at else float(new.mean())
        spread = np.concatenate([old - before, new - new.mean()]).std()
        return Split(before, float(new.mean()), len(new), float(spread))

    def _all(self) -> NDArray[np.float32]:
        return np.concatenate(self._parts)

    def _keep(self, values: NDArray[np.float32]) -> None:
        self._parts, self._held = [values], len(values)
