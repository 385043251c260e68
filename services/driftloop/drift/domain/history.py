"""The newest rows of a group of signals: their cells, and where in the log they came from."""

from typing import Final, NamedTuple

import numpy as np

from driftloop.drift.domain.cells import Bytes
from driftloop.evidence.arrays import IntArray

ROWS: Final = 16_384
"""Rows kept at least; a change longer ago is told as if it had been that long ago."""
FIRST: Final = 1_024


class Place(NamedTuple):
    """A row of the log: its batch's sequence, the row in the batch, its event time (ms)."""

    seq: int
    row: int
    time: int


class History:
    """A window over the rows that were taken in, of `ROWS` to twice as many.

    A row takes one byte a signal and 24 for its place.
    """

    def __init__(self, signals: int) -> None:
        self.cells: Bytes = np.empty((FIRST, signals), dtype=np.uint8)
        self.places: IntArray = np.empty((FIRST, 3), dtype=np.int64)
        self.placed = 0
        """Rows whose place is known, since the beginning."""
        self.first = 0
        """Oldest row that is kept."""

    def place(self, seq: int, rows: IntArray, times: IntArray) -> None:
        """The places of the next rows: `rows` of the batch `seq`, with their event times."""
        held = self.placed - self.first
        self._make_room(held + len(rows))
        held = self.placed - self.first
        into = self.places[held : held + len(rows)]
        into[:, 0], into[:, 1], into[:, 2] = seq, rows, times
        self.placed += len(rows)

    def keep(self, row: int, cells: Bytes) -> None:
        """The cells (n, signals) of rows from `row` on, whose places are known."""
        self.cells[row - self.first : row - self.first + len(cells)] = cells

    def of(self, start: int, end: int) -> Bytes:
        """The cells of rows `start` to `end` (exclusive), as far as they are kept."""
        start = max(start, self.first)
        found: Bytes = self.cells[start - self.first : end - self.first]
        return found

    def at(self, row: int) -> Place:
        """Where a row came from, or the oldest that is kept."""
        seq, place, time = self.places[max(row - self.first, 0)].tolist()
        return Place(seq, place, time)

    def restore(self, done: int, cells: Bytes, places: IntArray) -> None:
        """Hold these rows, the places of which go on beyond those that were looked at, `done`."""
        self.first = done - len(cells)
        self.placed = self.first
        self._make_room(len(places))
        self.cells[: len(cells)], self.places[: len(places)] = cells, places
        self.placed += len(places)

    def _make_room(self, wanted: int) -> None:
        if wanted <= len(self.places):
            return
        dropped = 0
        if wanted > 2 * ROWS:
            dropped = max(self.placed - self.first - ROWS, 0)
            wanted -= dropped
        size = max(len(self.places), 1 << (wanted - 1).bit_length())
        kept = slice(dropped, self.placed - self.first)
        self.first += dropped
        self.cells, self.places = _moved(self.cells, kept, size), _moved(self.places, kept, size)


def _moved(array: np.ndarray, kept: slice, size: int) -> np.ndarray:
    made = np.empty((size, array.shape[1]), dtype=array.dtype)
    made[: kept.stop - kept.start] = array[kept]
    return made
