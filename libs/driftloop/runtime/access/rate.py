"""A token bucket of rows: a rate in the long run, a second's worth at once."""

from typing import Final

_GRAIN: Final = 1e-6
"""Seconds: below it a wait is an error of rounding."""


class Rate:
    """Rows a second. A request comes in while a row is left, and costs all its rows.

    The rows of a request are known only after it was read, so there may be a debt, and nobody is
    let in until it is paid: over any time no more rows pass than `rate * (time + 1)` and the
    requests under way at one moment. `now` is in seconds on whatever clock.
    """

    __slots__ = ("_empty", "_row", "_span")

    def __init__(self, rate: float, now: float) -> None:
        self._row = 1.0 / rate
        self._span = max(1.0, self._row)
        self._empty = now - self._span
        """When the bucket was empty, so that what came in since then is in it now."""

    def wait(self, now: float) -> float:
        """Seconds until the next request may come; 0.0 lets it in, which costs a row."""
        empty = self._empty
        if empty < now - self._span:
            empty = now - self._span
        short = empty + self._row - now
        if short > _GRAIN:
            return short
        self._empty = empty + self._row
        return 0.0

    def take(self, rows: int) -> None:
        """So many rows more have come in."""
        self._empty += rows * self._row
