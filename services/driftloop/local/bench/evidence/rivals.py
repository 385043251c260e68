"""Detectors that the drift bench compares with, behind one protocol.

River's detectors watch one column each, an alarm of any counts. They know numbers only: a column of
categories goes in as one indicator (0 or 1) a category, and missing values are left out.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from operator import length_hint
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from river.drift import binary
from river.drift.adwin import AdaptiveWindowing  # type: ignore[attr-defined]  # its engine

from driftloop.local.bench.evidence.kswin import KSWIN
from driftloop.local.bench.evidence.scans import DDM, EDDM, HDDMA, PageHinkley, Restarting, Scan
from driftloop.local.bench.evidence.streams import Block, Layout

Floats = NDArray[np.float64]
Steps = tuple[float, ...]
FALLING: Final = tuple(float(0.5 * 0.4**step) for step in range(30))
GROWING: Final = tuple(np.geomspace(10, 3_000, 40).tolist())
Found = tuple[int, int | None]
"""The row of an alarm, and the row since which it says it is, or None if it says nothing."""


class Watch(Protocol):
    """A detector of all columns."""

    def update(self, block: Block) -> Iterator[Found]:
        """Alarms of a block; rows are counted from the first of the stream."""


class Column(Protocol):
    """A detector of one sequence of numbers."""

    def update(self, values: Floats) -> Iterator[Found]:
        """Positions of alarms among the values, and how many values the new state is old."""


class ADWIN:
    """River's ADWIN (Bifet and Gavalda 2007), its engine called from C."""

    def __init__(self, delta: float = 0.002) -> None:
        self._delta = delta
        self._window = self._new()

    def _new(self) -> AdaptiveWindowing:
        # As `river.drift.ADWIN` calls it.
        return AdaptiveWindowing(
            delta=self._delta, clock=32, max_buckets=5, min_window_length=5, grace_period=10
        )

    def update(self, values: Floats) -> Iterator[Found]:
        """Alarms; the window that is left after one is how long it has been so."""
        waiting = iter(values.tolist())
        while any(map(self._window.update, waiting)):
            yield len(values) - length_hint(waiting) - 1, int(self._window.get_width())
            self._window = self._new()


class HDDMW:
    """River's HDDM_W (Frias-Blanco et al. 2015), value by value."""

    def __init__(self, confidence: float = 0.001) -> None:
        self._river = binary.HDDMW(drift_confidence=confidence, warning_confidence=confidence)

    def update(self, values: Floats) -> Iterator[Found]:
        """Alarms; it does not say since when."""
        for at, value in enumerate(values.tolist()):
            self._river.update(value)
            if self._river.drift_detected:
                yield at, None


class _Fed(NamedTuple):
    """A detector with what it is fed: a column, and one of its categories (None is a number)."""

    detector: Column
    column: int
    category: int | None


class EachColumn:
    """One detector a column, or a category of a column.

    Indicators are watched by what `indicator` makes, or by `make` too. `scaled` puts them into
    standard deviations of their first block, for detectors whose threshold is in units of the
    values.
    """

    def __init__(
        self,
        make: Callable[[], Column],
        layout: Layout,
        scaled: bool = False,
        columns: slice = slice(None),
        indicator: Callable[[], Column] | None = None,
    ) -> None:
        self._fed = [
            _Fed(make() if category is None else (indicator or make)(), column, category)
            for column, many in list(enumerate(layout.categories))[columns]
            for category in (range(many) if many and not layout.losses else [None])
        ]
        self._scaled, self._scales = scaled, dict[tuple[int, int], float]()
        self._rows = 0

    def update(self, block: Block) -> Iterator[Found]:
        """Alarms of all columns, column by column."""
        columns = block.T.astype(np.float64)
        for detector, column, category in self._fed:
            values = columns[column]
            if category is not None:
                values = self._indicator(values, column, category)
            there = np.isfinite(values)
            rows = None if there.all() else np.flatnonzero(there)
            for at, width in detector.update(values if rows is None else values[rows]):
                row = self._rows + (at if rows is None else int(rows[at]))
                yield row, None if width is None else row + 1 - width
        self._rows += len(block)

    def _indicator(self, values: Floats, column: int, category: int) -> Floats:
        made: Floats = (values == category).astype(np.float64)
        if not self._scaled:
            return made
        scale = self._scales.setdefault((column, category), float(made.std()) or 1.0)
        made /= scale
        return made


class Rival(NamedTuple):
    """A detector as users know it, with the threshold it comes with and how it is varied.

    `thresholds` go from many false alarms to few; `place` maps one to where the logarithm of the
    alarm rate falls about linearly, and `back` is its inverse. `values` are how many an alarm rate
    is measured on.
    """

    name: str
    column: Callable[[float], Column]
    default: float
    thresholds: Steps
    place: Callable[[float], float]
    back: Callable[[float], float]
    values: float
    scaled: bool = False

    def watch(
        self,
        layout: Layout,
        threshold: float,
        columns: slice = slice(None),
        indicator: float | None = None,
    ) -> EachColumn:
        """It, over all columns or some, with the same threshold for indicators or another one."""
        return EachColumn(
            partial(self.column, threshold),
            layout,
            self.scaled,
            columns,
            partial(self.column, threshold if indicator is None else indicator),
        )


def _chance(
    name: str,
    column: Callable[[float], Column],
    default: float,
    values: float,
) -> Rival:
    """A detector whose threshold is a probability."""
    return Rival(
        name, column, default, FALLING, lambda p: -math.log(p), lambda x: math.exp(-x), values
    )


def _page_hinkley(name: str, delta: float, alpha: float) -> Rival:
    """With forgetting the sums end like a normal variable, without like an exponential one."""
    power = 2.0 if alpha < 1 else 1.0
    return Rival(
        name,
        lambda most: Restarting(lambda: PageHinkley(most, delta, alpha)),
        50.0,
        GROWING,
        lambda most: most**power,
        lambda place: max(place, 0.0) ** (1 / power),
        1.5e7,
        scaled=True,
    )


def _level(name: str, make: Callable[[float], Scan], default: float, steps: Steps) -> Rival:
    """A detector whose threshold is compared with a statistic as it is."""
    return Rival(
        name, lambda x: Restarting(lambda: make(x)), default, steps, lambda x: x, lambda x: x, 1.5e7
    )


ADWIN_: Final = _chance("ADWIN", ADWIN, 0.002, 3e7)
KSWIN_: Final = _chance("KSWIN", KSWIN, 0.005, 1e6)
RIVER: Final = (ADWIN_, KSWIN_, _page_hinkley("PageHinkley", 0.005, 1 - 0.0001))
CUSUM: Final = _page_hinkley("CUSUM, told a size", 0.125, 1.0)
"""PageHinkley that forgets nothing, and is told to look for a quarter of a standard deviation.

Its delta is half of that. River's comes with 0.005, whatever the unit."""
CUSUM_LOSSES: Final = _page_hinkley(CUSUM.name, 0.05, 1.0)
"""The same, for losses of 0 and 1: their standard deviation is 0.4, so the size is 0.1."""
ERROR_RATE: Final = (
    _level("DDM", DDM, 3.0, tuple(np.arange(1.5, 12.0, 0.1).tolist())),
    _level("EDDM", EDDM, 0.1, tuple(np.arange(0.1, 0.9, 0.02).tolist())),
    _chance("HDDM_A", lambda p: Restarting(lambda: HDDMA(p)), 0.001, 1.5e7),
    _chance("HDDM_W", HDDMW, 0.001, 2e5),
)
