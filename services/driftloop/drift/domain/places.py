"""Where in the log the values of a detector came from, to turn 'so many values ago' into a time."""

from collections import deque
from typing import NamedTuple

MOST = 20_000


class Place(NamedTuple):
    """Values counted up to the end of a batch, its sequence and first event time (milliseconds)."""

    values: int
    seq: int
    time: int


class Places:
    """The newest batches a detector was fed, at most `MOST` of them."""

    def __init__(self) -> None:
        self._places: deque[Place] = deque(maxlen=MOST)

    def add(self, values: int, seq: int, time: int) -> None:
        """A batch was fed; `values` have been seen with it."""
        self._places.append(Place(values, seq, time))

    def of(self, value: int) -> Place:
        """The batch that the `value`-th value came with, or the oldest still known."""
        low, high = 0, len(self._places) - 1
        while low < high:
            middle = (low + high) // 2
            if self._places[middle].values > value:
                high = middle
            else:
                low = middle + 1
        return self._places[low]
