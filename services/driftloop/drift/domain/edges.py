"""The cell of a number: upper edges of cells, looked up."""

from typing import Final

import numpy as np

from driftloop.drift.domain.cells import MISSING, Bytes, Matrix

INNER: Final = 30
"""Cells of equal shares between the smallest and the largest number of the reference."""
GRID: Final = 4_096
MOST_STEPS: Final = 4


class Edges:
    """Cells of equal shares of a reference; one below all of it, one above, and one for NaN.

    The turns of a binary search cannot be foretold: 40 ns a value. So where the numbers are not too
    unevenly spread, a fine even grid says the first cell that it can be, and some comparisons say
    which it is: 12 ns, and the same cells.
    """

    def __init__(self, known: Matrix) -> None:
        """Take the reference's values, without NaN; there may be none."""
        self._edges = _edges(known)
        self.count = len(self._edges)
        """Cells that are not for NaN."""
        low, high = self._edges[0], self._edges[-2] if self.count > 1 else self._edges[0]
        with np.errstate(over="ignore", invalid="ignore"):
            scale = np.float32(GRID / (np.float64(high) - np.float64(low)))
        self._low, self._scale, self._steps = low, scale, 0
        if not (np.isfinite(low) and np.isfinite(high) and np.isfinite(scale) and scale > 0):
            return
        # From one grid cell before, for the arithmetic of float32 may err by one.
        bounds = np.float64(low) + (np.arange(-1.0, GRID + 2.0)) / np.float64(scale)
        first = np.searchsorted(self._edges, bounds)
        steps = int((first[3:] - first[:-3]).max()) + 1
        if steps <= MOST_STEPS:
            self._first, self._steps = first[:GRID].astype(np.intp), steps

    def between(self) -> Matrix:
        """The edges, without the last, which is infinite."""
        return self._edges[:-1]

    def of(self, values: Matrix) -> Bytes:
        """The cell of each value."""
        if not self._steps:
            cells = np.searchsorted(self._edges, values)
            found: Bytes = cells.astype(np.uint8)
            found[cells == self.count] = MISSING
            return found
        with np.errstate(over="ignore", invalid="ignore"):
            place = values - self._low
            place *= self._scale
        np.fmax(place, 0.0, out=place)
        np.fmin(place, GRID - 1.0, out=place)
        cells = self._first[place.astype(np.intp)]
        for _ in range(self._steps):
            cells += values > self._edges[cells]
        found = cells.astype(np.uint8)
        found[np.isnan(values)] = MISSING
        return found


def _edges(known: Matrix) -> Matrix:
    """Upper edges of cells: below all that is known, shares of it, its largest, and beyond."""
    if not known.size:
        return np.array([np.inf], dtype=np.float32)
    inner = np.quantile(known, np.arange(1, INNER) / INNER, method="inverted_cdf")
    low = np.nextafter(known.min(), np.float32(-np.inf))
    made = np.concatenate([[low], inner, [known.max()], [np.float32(np.inf)]])
    edges: Matrix = np.unique(made.astype(np.float32))
    return edges
