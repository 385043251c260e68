"""Rates from counters that only grow, but start anew with their process."""

from collections import deque
from typing import Final

import msgspec

SPAN_SECONDS: Final = 10.0
"""A rate is the mean over about so long."""
STALE_SECONDS: Final = 15.0
"""A counter that nobody has reported for so long stands still."""


MOST_PROCESSES: Final = 32

Process = tuple[int, float]
"""Id of a process and when it began (seconds since 1970)."""


class Sample(msgspec.Struct, frozen=True):
    """What a counter said at a time (seconds since 1970)."""

    at: float
    value: float


class Rate:
    """The rate of one counter over the last few samples."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=32)

    def add(self, at: float, value: float) -> None:
        """Take a sample; a counter that went down belongs to a new process."""
        if self._samples and value < self._samples[-1].value:
            self._samples.clear()
        self._samples.append(Sample(at, value))
        while len(self._samples) > 2 and at - self._samples[1].at >= SPAN_SECONDS:
            self._samples.popleft()

    def per_second(self, now: float) -> float:
        """The mean rate; 0 until there are two samples, and when the last one is old."""
        if len(self._samples) < 2 or now - self._samples[-1].at > STALE_SECONDS:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        span = last.at - first.at
        return (last.value - first.value) / span if span > 0 else 0.0

    @property
    def moves(self) -> bool:
        """Whether the counter grew within the last samples."""
        return bool(self._samples) and self._samples[0].value != self._samples[-1].value

    @property
    def at(self) -> float:
        """When the last sample was taken; 0 before the first."""
        return self._samples[-1].at if self._samples else 0.0


class Rates:
    """The rate of one counter that several processes have, added up."""

    def __init__(self) -> None:
        self._rates: dict[Process, Rate] = {}

    def add(self, process: Process, at: float, value: float) -> bool:
        """Take a sample of one of them; whether the rate is, or was, anything but 0."""
        rate = self._rates.get(process)
        if rate is None:
            rate = self._rates[process] = Rate()
            if len(self._rates) > MOST_PROCESSES:
                del self._rates[min(self._rates, key=lambda key: self._rates[key].at)]
        moved = rate.moves
        rate.add(at, value)
        return moved or rate.moves

    def per_second(self, now: float) -> float:
        """The mean rate of all of them."""
        return sum(rate.per_second(now) for rate in self._rates.values())


def labelled(counters: dict[str, float], name: str) -> dict[str, float]:
    """The values of `name{model=...}` by model."""
    head = f"{name}{{model="
    return {
        key.removeprefix(head).removesuffix("}"): value
        for key, value in counters.items()
        if key.startswith(head) and "," not in key
    }
