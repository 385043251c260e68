"""Rates from counters that only grow, but start anew with their process."""

from collections import deque
from typing import Final

import msgspec

SPAN_SECONDS: Final = 10.0
"""A rate is the mean over about so long."""
STALE_SECONDS: Final = 15.0
"""A counter that nobody has reported for so long stands still."""


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


def labelled(counters: dict[str, float], name: str) -> dict[str, float]:
    """The values of `name{model=...}` by model."""
    head = f"{name}{{model="
    return {
        key.removeprefix(head).removesuffix("}"): value
        for key, value in counters.items()
        if key.startswith(head) and "," not in key
    }
