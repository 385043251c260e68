"""Whether a change did harm: the champion's loss on labelled rows before and since."""

from typing import Final

import numpy as np

from driftloop.contracts.alarms import Harm, Loss
from driftloop.drift.domain.cells import Floats
from driftloop.evidence.arrays import IntArray

ROWS: Final = 16_384
"""Labelled rows that are remembered at least."""
PIECES: Final = 20
"""Parts of the rows whose means tell how much a mean loss varies by chance."""
FEWEST: Final = 400
"""Rows since the change without which nothing is said."""
MATTERS: Final = 0.1
"""A rise that surely is below this share of the loss of before is none."""


class LabelledLosses:
    """The newest labelled rows' event times and losses, 16 bytes a row."""

    def __init__(self) -> None:
        self._pieces = [np.empty((0, 2))]
        self._count = 0

    @property
    def rows(self) -> Floats:
        """Event times and losses, shape (rows, 2)."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]

    @rows.setter
    def rows(self, rows: Floats) -> None:
        self._pieces, self._count = [rows], len(rows)

    def add(self, times: IntArray, losses: Floats) -> None:
        """Take in rows with their event times (ms) and losses."""
        self._pieces.append(np.column_stack([times, losses]))
        self._count += len(losses)
        if self._count > 2 * ROWS:
            self.rows = self.rows[-ROWS:].copy()

    def since(self, time: int) -> Loss:
        """What the loss did at `time` (event time, ms).

        The rise is bounded with confidence 95 % by the means of twenty parts of either side (batch
        means, which allows for rows that depend on their neighbours). For a person and for the
        policy of a spec: it is one look, not a confidence sequence.
        """
        times, losses = self.rows[:, 0], self.rows[:, 1]
        old, new = losses[times < time], losses[times >= time]
        if min(len(old), len(new)) < FEWEST:
            return Loss(rows_before=len(old), rows_after=len(new))
        rise = float(new.mean() - old.mean())
        room = 2.1 * float(np.sqrt(_error(old) + _error(new)))  # t with 20 degrees of freedom
        harm: Harm = "unknown"
        if rise - room > 0.0:
            harm = "moved"
        elif rise + room < MATTERS * float(old.mean()):
            harm = "unmoved"
        return Loss(
            harm=harm,
            before=float(old.mean()),
            after=float(new.mean()),
            lower=rise - room,
            upper=rise + room,
            rows_before=len(old),
            rows_after=len(new),
        )


def _error(losses: Floats) -> float:
    """Squared standard error of the mean, by batch means."""
    means = [part.mean() for part in np.array_split(losses, PIECES)]
    return float(np.var(means, ddof=1) / PIECES)
