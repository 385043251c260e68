"""Cells of a signal that is one of some categories."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from driftloop.contracts.alarms import Summary
from driftloop.drift.domain.cells import (
    CELLS,
    MISSING,
    Bytes,
    Direction,
    Floats,
    Matrix,
    about_shares,
)
from driftloop.evidence.residuals import Tails

NAMED: Final = 8
"""Categories watched each on its own, the most frequent of the reference; the others as one."""


class Categories:
    """Categories as they are; of many, the rare ones of the reference are one.

    Watched are the shares of the `NAMED` most frequent categories, of the others together, of
    missing and of unseen values. Values are positions in the list of the spec, -1 unseen.
    """

    def __init__(
        self, name: str, reference: Matrix, names: Sequence[str], *, nullable: bool, unseen: bool
    ) -> None:
        known = reference[~np.isnan(reference) & (reference >= 0)].astype(np.int64)
        counts = np.bincount(np.minimum(known, len(names) - 1), minlength=len(names))
        order = np.argsort(-counts, kind="stable")
        room = CELLS - 3  # besides the rest, the unseen and the missing
        self._rest, self._unseen = min(len(names), room), min(len(names), room) + 1
        # The place of -1 is the last one, and so is that of what no list holds.
        self._cell = np.full(len(names) + 1, self._unseen, dtype=np.uint8)
        self._cell[order] = np.minimum(np.arange(len(names)), self._rest)
        self._names = [names[at] for at in order[: self._rest]]
        self._shown = [*self._names, *(["others"] * (len(names) > room)), *(["unseen"] * unseen)]
        alone = min(NAMED, len(self._names)) if len(names) > 2 else 1
        columns, looks = [], []
        for at in range(alone):
            columns.append([at])
            looks.append(Direction(f"{name}={self._names[at]}", ""))
        if len(names) > alone and len(names) > 2:
            columns.append(list(range(alone, self._rest + 1)))
            looks.append(Direction(f"{name}=others", ""))
        for wanted, cell, look in (
            (nullable, MISSING, "missing"),
            (unseen, self._unseen, "unseen"),
        ):
            if wanted:
                columns.append([cell])
                looks.append(Direction(f"{name}:{look}", look))  # type: ignore[arg-type]  # one of both
        self._table = np.zeros((CELLS, len(columns)))
        for direction, cells in enumerate(columns):
            self._table[cells, direction] = 1.0
        self.directions = tuple(looks)
        zeros = np.zeros(len(looks))
        self.newest = np.empty(0)
        self.tails = Tails(zeros, zeros.copy(), np.ones(len(looks), dtype=bool))

    def of(self, values: Matrix) -> Bytes:
        """The cell of each value."""
        missing = np.isnan(values)
        places = np.where(missing, -1, values).astype(np.int64)
        places[(places < 0) | (places >= len(self._cell))] = len(self._cell) - 1
        cells: Bytes = self._cell[places]
        cells[missing] = MISSING
        return cells

    def took(self, cells: Bytes, values: Matrix) -> None:
        """Nothing is learned from them."""

    def remember(self, newest: Floats) -> None:
        """There is nothing to remember."""

    def means(self, counts: Floats, values: Matrix) -> Floats:
        """Shares of blocks."""
        return np.asarray(counts @ self._table / values.shape[1])

    def scores(self, direction: int) -> Floats:
        """What a row of each cell counts for."""
        return np.asarray(self._table[:, direction])

    def about(self, direction: int, before: Floats, after: Floats) -> tuple[float, float, float]:
        """Shares before and after."""
        wanted = self._table[:, direction]
        return about_shares(float(before @ wanted), float(after @ wanted))

    def summary(self, name: str, before: Floats, after: Floats) -> Summary:
        """Shares of the categories, the most frequent first."""
        places = [*range(len(self._names)), *([self._rest] * ("others" in self._shown))]
        places += [self._unseen] * (len(self._shown) - len(places))
        return Summary(
            detector=name,
            names=tuple(self._shown),
            before=tuple(before[places].tolist()),
            after=tuple(after[places].tolist()),
            missing=(float(before[MISSING]), float(after[MISSING])),
        )
