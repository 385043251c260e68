"""Cells of a signal that is a number."""

from typing import Final

import numpy as np
from scipy.special import ndtri

from driftloop.contracts.alarms import Summary
from driftloop.drift.domain.cells import (
    CELLS,
    MISSING,
    Bytes,
    Direction,
    Floats,
    Matrix,
    about_shares,
    known_shares,
)
from driftloop.drift.domain.edges import Edges
from driftloop.evidence.residuals import Tails

PRIOR: Final = 0.5
"""Rows added to each cell of the reference: what was not seen is not impossible."""
HUGE: Final = 3e38
LATELY: Final = 16
"""Newest values beyond the reference whose mean stands for all of them."""


class Scores:
    """Unit scores of cells in several directions: their means over blocks, tails and moments."""

    def __init__(self, table: Floats, shares: Floats) -> None:
        """Take scores (CELLS, directions), to be standardised, and the cells' shares (CELLS,)."""
        centred = table - shares @ table
        centred[MISSING] = 0.0  # a missing value says nothing here
        self.deviation = np.sqrt(np.maximum(shares @ np.square(centred), 1e-12))
        self.table: Floats = centred / self.deviation
        skew = shares @ self.table**3
        heavy = np.sqrt(np.maximum(shares @ self.table**4 - 3.0, 0.0))
        light = heavy < 0.5
        self.up = np.where(light, np.maximum(skew, 0.0), np.maximum(skew, heavy))
        self.down = np.where(light, np.maximum(-skew, 0.0), np.maximum(-skew, heavy))


class Numbers:
    """Cells of equal shares of the reference, with normal scores (van der Waerden 1952).

    Watched are the mean score, that is where the values are; how far from the middle their ranks
    are, that is how far apart the values are (Ansari and Bradley 1960); and the share of missing
    values of a nullable feature. Outliers and heavy tails have bounded scores. `reference` may hold
    NaN.
    """

    def __init__(self, name: str, reference: Matrix, *, nullable: bool) -> None:
        known = reference[~np.isnan(reference)]
        self._edges = Edges(known)
        counts = np.bincount(self.of(reference), minlength=CELLS).astype(np.float64)
        there = counts[: self._edges.count] + PRIOR
        shares = np.zeros(CELLS)
        shares[: there.size] = there / there.sum()
        scores = np.zeros((CELLS, 2))
        middles: Floats = np.cumsum(shares)[: there.size] - shares[: there.size] / 2
        scores[: there.size, 0] = ndtri(middles)
        scores[: there.size, 1] = np.abs(middles - 0.5)
        spread = int(np.count_nonzero(counts[: there.size])) > 2
        made = Scores(scores if spread else scores[:, :1], shares)
        self._values = self._typical(known)
        self.newest = np.full((2, LATELY), np.nan)
        looks = [Direction(name, "")] + [Direction(f"{name}:spread", "spread")] * spread
        self._table, up, down = made.table, made.up, made.down
        if nullable:
            looks.append(Direction(f"{name}:missing", "missing"))
            missing = np.zeros((CELLS, 1))
            missing[MISSING] = 1.0
            self._table = np.hstack([self._table, missing])
            up, down = np.append(up, 0.0), np.append(down, 0.0)
        self.directions = tuple(looks)
        self.tails = Tails(up, down, np.array([d.look == "missing" for d in looks]))

    def of(self, values: Matrix) -> Bytes:
        """The cell of each value."""
        return self._edges.of(values)

    def means(self, counts: Floats, values: Matrix) -> Floats:
        """Mean scores of blocks."""
        return np.asarray(counts @ self._table / values.shape[1])

    def took(self, cells: Bytes, values: Matrix) -> None:
        """Values beyond the reference stand for their cells as they are, the newest of them."""
        for side, cell in enumerate((0, self._edges.count - 1)):
            beyond = values[cells == cell][-LATELY:]
            if beyond.size:
                self.newest[side] = np.concatenate([self.newest[side, beyond.size :], beyond])

    def remember(self, newest: Floats) -> None:
        """Go on with these values beyond the reference."""
        self.newest[:] = newest

    def scores(self, direction: int) -> Floats:
        """What a row of each cell counts for."""
        return np.asarray(self._table[:, direction])

    def about(self, direction: int, before: Floats, after: Floats) -> tuple[float, float, float]:
        """Means, or standard deviations, in the units of the feature."""
        look = self.directions[direction].look
        if look == "missing":
            return about_shares(before[MISSING], after[MISSING])
        old, new = known_shares(before), known_shares(after)
        score = self._table[:, direction]
        shift = float(new @ score - old @ score)
        spread = np.sqrt(max(float(old @ np.square(score)) - float(old @ score) ** 2, 1e-12))
        values = self._standing_for()
        told = [float(at @ values) for at in (old, new)]
        if look == "spread":
            told = [
                float(np.sqrt(max(float(at @ np.square(values - mean)), 0.0)))
                for at, mean in zip((old, new), told, strict=True)
            ]
        return told[0], told[1], float(abs(shift) / spread)

    def summary(self, name: str, before: Floats, after: Floats) -> Summary:
        """Histograms over the cells."""
        count, edges = self._edges.count, self._edges.between().astype(np.float64)
        values = self._standing_for()
        low, high = values[0], values[count - 1]
        return Summary(
            detector=name,
            edges=(float(low), *edges.tolist(), float(high)),
            before=tuple(known_shares(before)[:count].tolist()),
            after=tuple(known_shares(after)[:count].tolist()),
            missing=(float(before[MISSING]), float(after[MISSING])),
        )

    def _standing_for(self) -> Floats:
        """A value for each cell; for those beyond the reference the mean of the newest."""
        values = self._values.copy()
        for side, cell in enumerate((0, self._edges.count - 1)):
            seen = self.newest[side][~np.isnan(self.newest[side])]
            if seen.size:
                values[cell] = np.clip(seen, -HUGE, HUGE).mean()
        return values

    def _typical(self, known: Matrix) -> Floats:
        """A value for each cell: the mean of the reference's, and beyond it a bit more."""
        count = self._edges.count
        finite = np.clip(known.astype(np.float64), -HUGE, HUGE)
        cells = self.of(known)
        sums = np.bincount(cells, weights=finite, minlength=CELLS)
        counts = np.bincount(cells, minlength=CELLS)
        values = np.divide(sums, counts, out=np.zeros(CELLS), where=counts > 0)
        if not known.size:
            return values
        filled = np.flatnonzero(counts[:count])
        low, high = float(finite.min()), float(finite.max())
        room = max((high - low) / 10.0, abs(high) * 1e-6, 1e-6)
        values[:count] = np.interp(np.arange(count), filled, values[filled])
        values[0], values[count - 1] = low - room, high + room
        return values
