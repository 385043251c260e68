"""One ADWIN over one sequence of numbers."""

import math
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.drift.domain.adwin import Adwin
from driftloop.drift.domain.places import Places
from driftloop.drift.domain.recent import Recent
from driftloop.drift.domain.scale import Scale

CLOCK = 32
"""Rows between two checks of ADWIN: the budget is split over these."""


class Change(NamedTuple):
    """A change: at which row of the batch, means before and after, since when, and how strong.

    `strength` is the difference of means in standard deviations within either side.
    """

    row: int
    before: float
    after: float
    strength: float
    since_time: int
    rows_since: int


class Detector:
    """Finds changes of the mean, once its scale is learned from the first `reference` values."""

    def __init__(
        self,
        name: str,
        delta: float,
        reference: int,
        scale: Callable[[NDArray[np.float64]], Scale],
        only_up: bool = False,
    ) -> None:
        self.name = name
        self._adwin = Adwin(delta, CLOCK)
        self._reference = reference
        self._only_up = only_up
        self._make_scale = scale
        self._scale: Scale | None = None
        self._waiting: list[NDArray[np.float64]] = []
        self._held = 0
        self._places = Places()
        self._seen = 0
        self._recent = Recent()
        self._muted_to = 0

    @property
    def mean(self) -> float:
        """Mean of the present window in the units of the values; NaN before a scale is learned."""
        return self._scale.from_unit(self._adwin.mean) if self._scale else math.nan

    @property
    def rows(self) -> int:
        """Rows in the present window."""
        return self._adwin.rows

    def update(self, values: NDArray[np.float64], seq: int, time: int) -> Iterator[Change]:
        """Feed the values of one batch (NaN and infinite ones are left out), in order."""
        finite = np.isfinite(values)
        at = None if finite.all() else np.flatnonzero(finite)
        self._places.add(self._seen + (len(values) if at is None else len(at)), seq, time)
        if self._scale is None:
            # Exactly so many, however the log is cut into batches.
            at = np.arange(len(values)) if at is None else at
            learned, at = np.split(at, [self._reference - self._held])
            self._learn(values[learned])
        if self._scale is not None:
            yield from self._feed(self._scale, values if at is None else values[at], at)

    def _learn(self, values: NDArray[np.float64]) -> None:
        self._waiting.append(values)
        self._held += len(values)
        if self._held < self._reference:
            self._seen += len(values)
            return
        reference = np.concatenate(self._waiting)
        self._waiting.clear()
        self._seen = 0
        self._scale = self._make_scale(reference)
        for _ in self._feed(self._scale, reference):
            continue

    def _feed(
        self, scale: Scale, values: NDArray[np.float64], rows: NDArray[np.int64] | None = None
    ) -> Iterator[Change]:
        """Feed finite values, which came in these rows of the batch (None is all of them)."""
        units, told = scale.to_unit(values), 0
        waiting = iter(units.tolist())
        while told < len(units) and self._adwin.to_next_change(waiting):
            at = len(units) - length_hint(waiting)
            self._seen += at - told
            self._recent.add(units[told:at])
            told = at
            change = self._change(scale, at - 1 if rows is None else int(rows[at - 1]))
            if change is not None:
                yield change
        self._seen += len(units) - told
        self._recent.add(units[told:])

    def _change(self, scale: Scale, row: int) -> Change | None:
        split, seen = self._recent.split(), self._seen
        if seen < self._muted_to or (self._only_up and split.after <= split.before):
            return None
        self._muted_to = seen + self._reference
        return Change(
            row=row,
            before=scale.from_unit(split.before),
            after=scale.from_unit(split.after),
            strength=abs(split.after - split.before) / max(split.deviation, 1e-6),
            since_time=self._places.of(seen - split.rows).time,
            rows_since=split.rows,
        )
