"""Axes: where a number lies on paper, and which round numbers are written beside it."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_TIMES: Final = (
    *(n * 1_000 for n in (1, 5, 15, 30)),
    *(n * MINUTE for n in (1, 5, 15, 30)),
    *(n * HOUR for n in (1, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 7, 14)),
)


class Scale(msgspec.Struct, frozen=True):
    """From numbers between `low` and `high` to places between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a number lies."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def within(self, value: float) -> float:
        """The same, at the edge for what lies beyond."""
        return self.at(min(max(value, self.low), self.high))


def around(values: Iterable[float], spare: float = 0.08) -> tuple[float, float]:
    """The range of some numbers with a little room; 0 to 1 of none."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * spare or abs(high) * 0.1 or 0.5
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two, at most about `most`."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 2.5, 5, 10) if unit * n >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def moments(low: int, high: int, most: int = 8) -> list[tuple[int, str]]:
    """Round event times (milliseconds) between two, with what is written there."""
    step = next((its for its in _TIMES if (high - low) / its <= most), 0)
    if not step:
        return _months(low, high, most)
    form = "%H:%M:%S" if step < MINUTE else "%H:%M" if step < DAY else "%d %b"
    first = -(-low // step) * step
    found = []
    for n, at in enumerate(range(first, high + 1, step)):
        when = datetime.fromtimestamp(at / 1000, UTC)
        dated = step < DAY and (n == 0 or when.hour + when.minute + when.second == 0)
        found.append((at, f"{when:%d %b} {when:{form}}" if dated else f"{when:{form}}"))
    return found


def _months(low: int, high: int, most: int) -> list[tuple[int, str]]:
    """The first days of months, every so many that there are not too many."""
    at = datetime.fromtimestamp(low / 1000, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    found = []
    while at.timestamp() * 1000 <= high:
        if at.timestamp() * 1000 >= low:
            found.append((round(at.timestamp() * 1000), f"{at:%b %Y}"))
        at = (at + timedelta(days=32)).replace(day=1)
    return found[:: max(1, math.ceil(len(found) / most))]
