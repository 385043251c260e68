"""One ADWIN (Bifet and Gavalda 2007, River's implementation) over one sequence of numbers."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

from driftloop.drift.domain.places import Places
from driftloop.drift.domain.scale import Scale

CLOCK = 32
"""Rows between two checks of ADWIN: the budget is split over these."""


class Change(NamedTuple):
    """A change: at which row of the batch, means before and after, since when, and how strong.

    `strength` is the difference of means in standard deviations of the present window.
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
        self._adwin = ADWIN(delta=delta, clock=CLOCK)
        self._reference = reference
        self._only_up = only_up
        self._make_scale = scale
        self._scale: Scale | None = None
        self._waiting: list[NDArray[np.float64]] = []
        self._held = 0
        self._places = Places()
        self._seen = 0
        self._count, self._sum = 0, 0.0
        self._muted_to = 0

    @property
    def mean(self) -> float:
        """Mean of the present window in the units of the values; NaN before a scale is learned."""
        return self._scale.from_unit(float(self._adwin.estimation)) if self._scale else math.nan

    @property
    def rows(self) -> int:
        """Rows in the present window."""
        return int(self._adwin.width)

    def update(self, values: NDArray[np.float64], seq: int, time: int) -> Iterator[Change]:
        """Feed the values of one batch (NaN and infinite ones are left out), in order."""
        at = np.flatnonzero(np.isfinite(values))
        self._places.add(self._seen + len(at), seq, time)
        if self._scale is None:
            # Exactly so many, however the log is cut into batches.
            learned, at = np.split(at, [self._reference - self._held])
            self._learn(values[learned])
        if self._scale is not None:
            yield from self._feed(self._scale, values[at], at)

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
        for _ in self._feed(self._scale, reference, np.arange(len(reference))):
            continue

    def _feed(
        self, scale: Scale, values: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> Iterator[Change]:
        adwin = self._adwin
        for row, value in zip(rows.tolist(), scale.to_unit(values).tolist(), strict=True):
            adwin.update(value)
            self._seen += 1
            self._count += 1
            self._sum += value
            if adwin.drift_detected:
                change = self._change(scale, row, self._seen)
                if change is not None:
                    yield change

    def _change(self, scale: Scale, row: int, seen: int) -> Change | None:
        width, after = int(self._adwin.width), float(self._adwin.estimation)
        dropped = max(self._count - width, 1)
        before = (self._sum - after * width) / dropped
        self._count, self._sum = 0, 0.0  # River's ADWIN begins a new window after a detection
        if seen < self._muted_to or (self._only_up and after <= before):
            return None
        self._muted_to = seen + self._reference
        # River's `variance` is the sum of squared deviations of the window, not their mean.
        deviation = math.sqrt(max(float(self._adwin.variance) / max(width, 1), 1e-12))
        return Change(
            row=row,
            before=scale.from_unit(before),
            after=scale.from_unit(after),
            strength=abs(after - before) / deviation,
            since_time=self._places.of(seen - width).time,
            rows_since=width,
        )
