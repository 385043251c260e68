"""What waits for one model: bounded in rows, and in the time that running them would take.

A burst may fill the queue. When requests are refused for longer, the queue is no buffer any more
but a delay for everybody, and its bound falls to a part until the flood is over (the idea of CoDel,
RFC 8289, for servers: Maurer, "Fail at Scale", ACM Queue 13(8), 2015).
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from driftloop.contracts.errors import InvalidInput, Overloaded
from driftloop.inference.core.call import Call
from driftloop.inference.domain.lineup import Cost

FEW: Final = 64
"""Up to so many rows a queue is never full, whatever the time they take."""
RUN_MICROS: Final = 10_000.0
"""A run of several calls is to take no longer, so that those behind it wait no longer for it."""
FLOOD_SECONDS: Final = 0.1
"""Refusals that go on for longer are no burst; without one for so long the flood is over."""
FLOOD_SHARE: Final = 0.25
"""Of the time that may wait, during a flood."""
SAMPLE: Final = 1_024
"""Rows by which the cost of a row is judged."""
MOST_SLOWER: Final = 100.0
WEIGHT: Final = 0.25
"""Of the last run in the average of how much slower than measured runs are; of the last body in
that of the pace of reading."""
FLOOD_ROWS: Final = 8_192
"""Rows a second in large bodies of one model; more are a flood of them."""
REST_SECONDS: Final = 1.0
"""A flood rests for no longer at once, and may have no more waiting than it answers in so long."""
ROWS_PER_BYTE: Final = 1 / 64
"""Until a body was read."""

Read = Callable[[], None]
"""Reads a body and submits its call, or refuses it; it does not raise."""


class Bounds(NamedTuple):
    """Bounds of a queue: rows in it, rows of one run, and seconds a request may wait in it."""

    queue_rows: int
    run_rows: int
    queue_seconds: float


class Unread(NamedTuple):
    """A body that waits: its bytes, the rows it is likely to hold, and how it is read."""

    size: int
    rows: int
    read: Read


class Queue:
    """Calls in the order they came, and behind them bodies that are not read yet."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self.name = name
        self._bounds = bounds
        self.few = min(FEW, bounds.queue_rows - 1)
        """Up to so many rows it is never full."""
        self._calls: deque[Call] = deque()
        self.rows = 0
        """Rows that wait, those that are likely to be in unread bodies too."""
        self.unread: deque[Unread] = deque()
        self._unread_rows = self._unread_bytes = 0
        self._let_in = False
        """The call that comes now has waited as an unread body."""
        self.last = 0
        """Rows of the last call."""
        self.rest = 0.0
        """Seconds for each row that a flood of large bodies rests now; 0 when it does not."""
        self._allowed = float(FLOOD_ROWS)
        self._allowed_at = 0.0
        self._rows_per_byte = ROWS_PER_BYTE
        self._seconds_per_byte = 0.0
        self._cost: Cost | None = None
        self._slower = 1.0
        """How many times as long as measured at warm-up the last runs took."""
        self._run_rows = bounds.run_rows
        self._flooded = self._refused = -FLOOD_SECONDS
        """When the first and the last refusal of this flood were, by `time.perf_counter`."""
        self.running = 0
        """Rows of the run that goes on in a thread."""

    def __bool__(self) -> bool:
        """Whether there is a call to be run."""
        return bool(self._calls)

    def add(self, call: Call) -> None:
        """Queue a call; raises `Overloaded` when there is no room behind those that wait."""
        rows = self.rows + call.rows
        if rows > self.few and self._too_many(rows):
            self._refuse(call.rows)
        self.rows = rows
        self.last = call.rows
        self._calls.append(call)

    def put_off(self, size: int, read: Read) -> None:
        """Let a body of so many bytes wait unread; raises `Overloaded` as `add` does."""
        likely = int(size * self._rows_per_byte) + 1
        rows = self.rows + likely
        resting = self._unread_rows * self.rest > REST_SECONDS
        if resting or (self.rows and rows > self.few and self._too_many(rows)):
            raise self.overloaded()
        self.rows = rows
        self._unread_rows += likely
        self._unread_bytes += size
        self.unread.append(Unread(size, likely, read))

    def read_next(self) -> None:
        """Read the first of the bodies that wait."""
        size, likely, read = self.unread.popleft()
        self.rows -= likely
        self._unread_rows -= likely
        self._unread_bytes -= size
        self._let_in = True
        try:
            self.read(size, read)
        finally:
            self._let_in = False

    def read(self, size: int, read: Read) -> None:
        """Read a body, and learn from it what others are likely to hold and to take."""
        self.last, began = 0, time.perf_counter()
        read()
        if self.last:
            pace = (time.perf_counter() - began) / size
            self._seconds_per_byte += WEIGHT * (pace - self._seconds_per_byte)
            self._rows_per_byte = self.last / size

    def flooded(self, rows: int, now: float) -> bool:
        """Whether these rows of a large body are more than such bodies may hold in a second."""
        regained = (now - self._allowed_at) * FLOOD_ROWS
        left = min(FLOOD_ROWS, self._allowed + regained) - rows
        self._allowed, self._allowed_at = max(0.0, left), now
        return left < 0

    @property
    def full(self) -> bool:
        """Whether there is no room for some rows more: then a request is not even read."""
        if self._let_in or self.rows <= self.few:
            return False
        return self._too_many(self.rows + FEW)

    def overloaded(self) -> Overloaded:
        """The error for a caller who comes when the queue is full."""
        now = time.perf_counter()
        if now - self._refused > FLOOD_SECONDS:
            self._flooded = now
        self._refused = now
        wait = min(30.0, max(1.0, self._wait(self.rows)))
        return Overloaded(f"{self.name}: {self.rows} rows wait; try again later", delay=wait)

    def expected(self, cost: Cost, rows: int) -> float:
        """Microseconds that a run of so many rows is likely to take, as runs have been lately."""
        return cost.micros(rows) * self._slower

    def take(self) -> tuple[list[Call], list[Call]]:
        """The calls of the next run, and those whose deadline has passed."""
        if self.rows - self._unread_rows <= self._run_rows:
            calls = list(self._calls)
            self._calls.clear()
            self.rows = self._unread_rows
        else:
            calls = self._some()
        if not [call for call in calls if call.deadline]:
            return calls, []
        now = time.perf_counter()
        late = [call for call in calls if 0 < call.deadline < now]
        return [call for call in calls if not 0 < call.deadline < now], late

    def took(self, cost: Cost, rows: int, seconds: float) -> None:
        """A run of so many rows took so long; what waits is judged by it."""
        self._cost = cost
        slower = min(seconds * 1e6 / cost.micros(rows), MOST_SLOWER)
        self._slower += WEIGHT * (slower - self._slower)
        fit = SAMPLE * RUN_MICROS / (cost.micros(SAMPLE) * self._slower)
        self._run_rows = min(self._bounds.run_rows, max(FEW, int(fit)))

    def _some(self) -> list[Call]:
        """Calls of so many rows as one run may have, or one that has more."""
        calls: list[Call] = []
        taken = 0
        while self._calls and (not calls or taken + self._calls[0].rows <= self._run_rows):
            call = self._calls.popleft()
            taken += call.rows
            calls.append(call)
        self.rows -= taken
        return calls

    def _too_many(self, rows: int) -> bool:
        if rows > self._bounds.queue_rows:
            return True
        wait, most = self._wait(rows), self._bounds.queue_seconds
        return wait > most * FLOOD_SHARE and (wait > most or self._flood())

    def _flood(self) -> bool:
        """Whether requests have been refused for a while, up to now."""
        now = time.perf_counter()
        return now - self._refused < FLOOD_SECONDS < now - self._flooded

    def _wait(self, rows: int) -> float:
        """Seconds until so many rows would have been read and run, behind those that run now."""
        reading = self._unread_bytes * self._seconds_per_byte
        if self._cost is None:
            return reading
        return reading + self._cost.micros(rows + self.running) * self._slower * 1e-6

    def _refuse(self, rows: int) -> None:
        most = self._bounds.queue_rows
        if rows > most:
            raise InvalidInput(f"rows: {rows} in one request; accepted: at most {most}")
        if self._calls and not self._let_in:
            raise self.overloaded()
