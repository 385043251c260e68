"""Values of one signal as cells of its reference, and what is watched of the cells.

Every signal becomes a small whole number a row, its cell, whatever it is: so NaN, infinite and huge
values are cells like any other, histograms are counts, and the newest rows are a byte a value.
"""

from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.alarms import Summary
from driftloop.evidence.residuals import Tails

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Look = Literal["", "spread", "missing", "unseen"]
"""What of a signal a direction is about: where its values are, how far apart, or how many."""

CELLS: Final = 34
"""Cells of a signal at most."""
MISSING: Final = CELLS - 1


class Direction(NamedTuple):
    """One thing that is watched: `name` of the detector, and the kind of it."""

    name: str
    look: Look


class Cells(Protocol):
    """Learned from the reference of one signal."""

    directions: tuple[Direction, ...]
    tails: Tails
    newest: Floats
    """Values beyond the reference, the newest: all that is learned after the reference."""

    def of(self, values: Matrix) -> Bytes:
        """The cell of each value, shape (n,)."""

    def took(self, cells: Bytes, values: Matrix) -> None:
        """These rows were looked at, both (n,)."""

    def remember(self, newest: Floats) -> None:
        """Go on with these values beyond the reference."""

    def means(self, counts: Floats, values: Matrix) -> Floats:
        """Block means (blocks, directions) of `values` (blocks, rows), `counts` of their cells."""

    def scores(self, direction: int) -> Floats:
        """What a row of each cell counts for in a direction, shape (CELLS,)."""

    def about(self, direction: int, before: Floats, after: Floats) -> tuple[float, float, float]:
        """Means before and after in units a person knows, and the shift in deviations of a row.

        `before` and `after` are shares of the cells, shape (CELLS,).
        """

    def summary(self, name: str, before: Floats, after: Floats) -> Summary:
        """Both distributions for a person."""


def known_shares(shares: Floats) -> Floats:
    """Shares among the values that are not missing."""
    there = shares.copy()
    there[MISSING] = 0.0
    return np.asarray(there / max(float(there.sum()), 1e-12))


def about_shares(before: float, after: float) -> tuple[float, float, float]:
    """A share before and after, and the shift in deviations of a row."""
    deviation = np.sqrt(max(before * (1.0 - before), 1e-6))
    return float(before), float(after), float(abs(after - before) / deviation)
