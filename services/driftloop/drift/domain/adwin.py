"""ADWIN (Bifet and Gavalda 2007, River's implementation) fed with many values at a time."""

from collections.abc import Iterator
from functools import partial

from river.drift import ADWIN
from river.drift.adwin import AdaptiveWindowing  # type: ignore[attr-defined]  # its engine


class Adwin:
    """The same numbers and changes as of `river.drift.ADWIN`, updated value by value.

    River's class adds three Python calls to each value; here its engine is called from C.
    """

    def __init__(self, delta: float, clock: int) -> None:
        said = ADWIN(delta=delta, clock=clock)
        self._new = partial(
            AdaptiveWindowing,
            delta=said.delta,
            clock=said.clock,
            max_buckets=said.max_buckets,
            min_window_length=said.min_window_length,
            grace_period=said.grace_period,
        )
        self._window = self._new()
        self._changed = False

    @property
    def rows(self) -> int:
        """Values in the present window."""
        return int(self._window.get_width())

    @property
    def mean(self) -> float:
        """Mean of the present window; 0 where it is empty."""
        return float(self._window.get_total() / self.rows) if self.rows else 0.0

    def to_next_change(self, values: Iterator[float]) -> bool:
        """Take values, at least one, up to the one with which a change is found; False if none is.

        The value after a change begins a new window.
        """
        if self._changed:
            self._window = self._new()
        self._changed = any(map(self._window.update, values))
        return self._changed
