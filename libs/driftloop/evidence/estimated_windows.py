"""Estimates that wait for their labels, and what the errors of those before say of the next one."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence.arrays import FloatArray, IntArray
from driftloop.evidence.estimated import Expected
from driftloop.evidence.estimated_terms import State

LEVEL: Final = 0.05
"""How often the realised loss is to lie outside the interval."""
NORMAL: Final = 1.96
"""Deviations of a normal error that hold 95 % of them."""
STUDENT: Final = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23),
    *(2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09),
)
"""The same of Student's distribution, from 1 degree of freedom on."""
SCORES: Final = 100
"""Errors of past windows that an interval is made from."""
OPEN: Final = 64
"""Windows that wait for labels at most; above it the oldest is settled with what it has."""
SETTLED: Final = 0.9
"""Share of a window's rows whose labels are there, when it is settled."""
LEAST: Final = 0.1
"""Share of a window's rows without whose labels it says nothing."""
EARLY: Final = 20_000
"""Labelled rows that are kept until the window they belong to is closed."""
UNIT: Final = 2.0**30
IN_A_ROW: Final = 3
"""Windows in a row with an error on one side, larger than 95 % of those before the first of them,
after which estimates are no longer believed."""


@dataclass(slots=True)
class Window:
    """An estimate of the mean loss of `rows` rows from `begin` to `end` (event time, milliseconds).

    The interval is `mean` -+ `factor` standard deviations. `labelled` rows have their label by now,
    and `total` is the sum of their losses in units of 2^-30: whole numbers, so that their order
    changes nothing.
    """

    begin: int
    end: int
    rows: int
    mean: float
    row_variance: float
    own_variance: float
    factor: float
    labelled: int = 0
    total: float = 0.0

    @classmethod
    def restore(cls, row: Sequence[float]) -> "Window":
        """The window whose fields are `row`, in order."""
        made = cls(*row)  # type: ignore[arg-type]  # whole numbers follow
        for name in ("begin", "end", "rows", "labelled"):
            setattr(made, name, int(getattr(made, name)))
        return made

    @property
    def half(self) -> float:
        """Half the width of the interval for the mean loss of all rows."""
        return self.factor * self._expected.deviation(self.rows)

    @property
    def lower(self) -> float:
        """Lower bound of the mean loss of all rows."""
        return max(self.mean - self.half, 0.0)

    @property
    def upper(self) -> float:
        """Upper bound of the mean loss of all rows."""
        return min(self.mean + self.half, 1.0)

    @property
    def realised(self) -> float:
        """Mean loss of the labelled rows; NaN without any."""
        return self.total / UNIT / self.labelled if self.labelled else math.nan

    @property
    def error(self) -> float:
        """(realised - estimated) in standard deviations of the mean of so many rows."""
        return (self.realised - self.mean) / max(self._expected.deviation(self.labelled), 1e-12)

    @property
    def _expected(self) -> Expected:
        return Expected(self.mean, self.row_variance, self.own_variance)


class Windows:
    """Windows one after the other in the order of their rows.

    A labelled row belongs to the first window that ends at its event time or later. So where rows
    come out of order some are counted to a neighbour.

    The interval of a window is as many standard deviations wide as held 95 % of the newest
    `SCORES` errors (split-conformal, Papadopoulos et al. 2002, Lei et al. 2018, on blocks of rows
    as in Chernozhukov et al. 2018): this is where rows that depend on each other, and a loss that
    is not quite what it was, come in. It is never less than 1.96, the normal quantile, which rows
    that do not depend on each other need. Before 19 errors are known it is the largest of them, or
    Student's quantile for them and one error of 1 that is taken for granted, if that is more.

    State: `OPEN` windows of 9 numbers, `SCORES` errors, and `EARLY` rows of 2 numbers.
    """

    def __init__(self) -> None:
        self._open: deque[Window] = deque()
        self._errors: deque[float] = deque(maxlen=SCORES)
        self._early: tuple[IntArray, FloatArray] = _no_rows()
        self._missed = 0
        self.last: Window | None = None
        """The newest that was reconciled."""
        self.reconciled = 0
        self.unreconciled = 0
        """Windows that had too few labels to say anything."""
        self.dropped = 0
        """Labelled rows that came too long before their window."""

    @property
    def factor(self) -> float:
        """Standard deviations on each side of the next estimate."""
        return _factor(list(self._errors))

    @property
    def failed(self) -> bool:
        """Whether the last `IN_A_ROW` windows had too large an error, on one side."""
        return abs(self._missed) >= IN_A_ROW

    def forget(self) -> None:
        """Windows that wait are no longer wanted, nor are the errors that told so."""
        self._open.clear()
        self._early = _no_rows()
        for _ in range(min(abs(self._missed), len(self._errors))):
            self._errors.pop()
        self._missed = 0

    def issue(self, expected: Expected, rows: int, begin: int, end: int) -> Window:
        """Say what is expected of the next `rows` rows, from `begin` to `end` at the latest."""
        if self._open:
            end = max(end, self._open[-1].end)
        window = Window(begin, end, rows, *expected, self.factor)
        self._open.append(window)
        times, losses = self._early
        self._early = _no_rows()
        self.labelled(times, losses)
        while len(self._open) > OPEN:
            self._settle()
        return window

    def labelled(self, times: IntArray, losses: FloatArray) -> None:
        """Labels came: event times (n,) of their rows and losses (n,)."""
        if not len(times):
            return
        if self._open:
            ends = np.array([window.end for window in self._open])
            at = np.searchsorted(ends, times)
            at[times < self._open[0].begin] = len(ends) + 1
            counts = np.bincount(at, minlength=len(ends)).tolist()
            totals = np.bincount(at, np.rint(losses * UNIT), minlength=len(ends)).tolist()
            for window, count, total in zip(self._open, counts, totals, strict=False):
                window.labelled += count
                window.total += total
            newer = at == len(ends)
            times, losses = times[newer], losses[newer]
        self._keep(times, losses)
        while self._open and self._is_settled():
            self._settle()

    def _keep(self, times: IntArray, losses: FloatArray) -> None:
        times, losses = (
            np.concatenate([self._early[0], times]),
            np.concatenate([self._early[1], losses]),
        )
        self.dropped += max(len(times) - EARLY, 0)
        self._early = (times[-EARLY:], losses[-EARLY:])

    def _is_settled(self) -> bool:
        """Whether the oldest has its labels, or a window after the next one has."""
        full = [w.labelled >= SETTLED * w.rows for w in self._open]
        return full[0] or any(full[2:])

    def _settle(self) -> None:
        """The oldest waits no longer."""
        window = self._open.popleft()
        if window.labelled < LEAST * window.rows:
            self.unreconciled += 1
            return
        before = list(self._errors)
        usual = _factor(before[: len(before) - abs(self._missed)])
        error = window.error
        self._errors.append(error)
        self.last = window
        self.reconciled += 1
        side = 0 if abs(error) <= usual else 1 if error > 0 else -1
        self._missed = self._missed + side if self._missed * side > 0 else side

    def state(self) -> State:
        """All that `restore` needs."""
        last = [self.last] if self.last else []
        counts = [self._missed, self.reconciled, self.unreconciled, self.dropped, len(last)]
        windows = [astuple(window) for window in (*last, *self._open)]
        return {
            "counts": np.array(counts, dtype=np.int64),
            "windows": np.array(windows, dtype=np.float64).reshape(-1, len(fields(Window))),
            "errors": np.array(self._errors, dtype=np.float64),
            "early_times": self._early[0],
            "early_losses": self._early[1],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `state` was asked for."""
        counts = state["counts"].tolist()
        self._missed, self.reconciled, self.unreconciled, self.dropped, last = counts
        windows = [Window.restore(row) for row in state["windows"].tolist()]
        self.last = windows[0] if last else None
        self._open = deque(windows[last:])
        self._errors = deque(state["errors"].tolist(), maxlen=SCORES)
        self._early = (state["early_times"].copy(), state["early_losses"].copy())


def _factor(errors: Sequence[float]) -> float:
    """Standard deviations that hold 95 % of errors, and of the next one."""
    sizes = np.sort(np.abs(errors))
    place = math.ceil((len(sizes) + 1) * (1.0 - LEVEL))
    if place <= len(sizes):
        return max(NORMAL, float(sizes[place - 1]))
    size = math.sqrt((1.0 + float(np.square(sizes).sum())) / (len(sizes) + 1))
    return max(STUDENT[len(sizes)] * size, float(sizes.max(initial=NORMAL)))


def _no_rows() -> tuple[IntArray, FloatArray]:
    return np.zeros(0, dtype=np.int64), np.zeros(0)
