"""Cells of losses."""

import numpy as np

from driftloop.contracts.alarms import Summary
from driftloop.drift.domain.cells import CELLS, MISSING, Bytes, Direction, Floats, Matrix
from driftloop.evidence.residuals import Tails

WIDTH = 1.0 / (MISSING - 2)
MIDDLES = np.clip((np.arange(CELLS) - 0.5) * WIDTH, 0.0, 1.0)
"""The loss of a row of each cell: the first one is for 0, the last one for 1."""


class Losses:
    """Losses in [0, 1]: their mean itself is watched, and only a rise of it."""

    def __init__(self, name: str, reference: Matrix) -> None:
        # One loss of 0 and one of 1 more: a model without a mistake so far may make one.
        seen = np.concatenate([reference.astype(np.float64), [0.0, 1.0]])
        self._mean, self._deviation = float(seen.mean()), float(seen.std())
        unit = (seen - self._mean) / self._deviation
        scale = max(float((unit**3).mean()), 0.0)  # bounded on both sides
        self.directions: tuple[Direction, ...] = (Direction(name, ""),)
        self.newest = np.empty(0)
        self.tails = Tails(np.array([scale]), np.array([0.0]), np.zeros(1, dtype=bool))

    def of(self, values: Matrix) -> Bytes:
        """Cells of equal width."""
        cells: Bytes = np.ceil(np.clip(values, 0.0, 1.0) / WIDTH).astype(np.uint8)
        cells[values >= 1.0] = MISSING - 1
        return cells

    def took(self, cells: Bytes, values: Matrix) -> None:
        """Nothing is learned from them."""

    def remember(self, newest: Floats) -> None:
        """There is nothing to remember."""

    def means(self, counts: Floats, values: Matrix) -> Floats:
        """Mean losses of blocks, in deviations of the reference."""
        means = values.mean(axis=1, dtype=np.float64)
        return np.asarray((means - self._mean) / self._deviation)[:, None]

    def scores(self, direction: int) -> Floats:
        """What a row of each cell counts for."""
        return np.asarray(MIDDLES)

    def about(self, direction: int, before: Floats, after: Floats) -> tuple[float, float, float]:
        """Mean losses before and after."""
        old, new = float(before @ MIDDLES), float(after @ MIDDLES)
        return old, new, abs(new - old) / self._deviation

    def summary(self, name: str, before: Floats, after: Floats) -> Summary:
        """Histograms of the losses."""
        return Summary(
            detector=name,
            edges=tuple(np.clip((np.arange(CELLS) - 1) * WIDTH, 0.0, 1.0).tolist()),
            before=tuple(before[:MISSING].tolist()),
            after=tuple(after[:MISSING].tolist()),
        )
