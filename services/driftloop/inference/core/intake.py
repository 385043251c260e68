"""Large bodies of text are read in turns, so that small requests do not wait behind all of them.

What comes as it is in memory (Arrow, binary tensors) costs next to nothing to read, and takes no
turns. Any other body that comes when this turn of the event loop has read enough waits unread in
its model's queue, which counts it as what it is likely to hold, and refuses what is too much before
it waits anywhere. Each further turn reads one of each such model after the other.

A model that sends very many rows in large bodies, of whatever format, rests after each of them
while it slows small requests down (`driftloop.runtime.pace`): what it sends meanwhile waits too.
"""

import asyncio
from collections import deque
from time import perf_counter
from typing import Final

from driftloop.inference.core.queue import REST_SECONDS, Queue, Read
from driftloop.runtime import metrics
from driftloop.runtime.pace import Pace

LARGE: Final = 8_192
"""Bytes from which a body is a large one."""
SECONDS: Final = 0.000_5
"""Of reading in one turn of the event loop."""
SHARE: Final = 0.5
"""Of what the loop does beside reading: so long may a turn read where that is more."""
SMALL_ROWS: Final = 16
"""Up to so many rows a request, it is one of those that a flood may not slow down."""
LOOK_SECONDS: Final = 0.01
"""How promptly the loop turns is looked at no more often, and only while small requests come."""
LEAST_SECONDS: Final = 0.001
"""A shorter rest is none: the loop's timers count milliseconds."""

PACED: Final = metrics.counter(
    "predict_paced_seconds", "Seconds a flood of a model rested for small requests", ["model"]
)


class Intake:
    """The large bodies of all models on their way into the queues."""

    def __init__(self) -> None:
        self._queues: deque[Queue] = deque()
        """Those in which something waits unread and that do not rest, the next first."""
        self._turning = False
        self._began = 0.0
        """When this turn began, by `time.perf_counter`."""
        self._spent = 0.0
        """Seconds of this turn that went into reading."""
        self._may = SECONDS
        self._pace = Pace()
        self._looking = False

    def take(self, queue: Queue, size: int, read: Read, *, ready: bool = False) -> None:
        """Read a large body now or in a later turn, in the order of its queue.

        It has so many bytes, and is `ready` if it costs next to nothing to read. Raises
        `Overloaded` where it has no room to wait.
        """
        if queue.rest or queue.unread:  # it has its turn after those that came before
            queue.put_off(size, read)
            return
        if ready:
            read()
            self._taken(queue)
            return
        began = perf_counter()
        self._begin(began)
        if self._spent >= self._may:
            queue.put_off(size, read)
            self._queues.append(queue)
        else:
            queue.read(size, read)
            self._spent += perf_counter() - began
            self._taken(queue)

    def _taken(self, queue: Queue) -> None:
        """A large body was read; a flood of them rests for a while, if others are to be prompt."""
        now, rows = perf_counter(), queue.last
        queue.last = 0
        if not rows or not queue.flooded(rows, now):
            return
        wait = min(REST_SECONDS, self._pace.flood(rows, now))
        if wait >= LEAST_SECONDS:
            PACED.labels(queue.name).inc(wait)
            queue.rest = wait / rows
            asyncio.get_running_loop().call_later(wait, self._rested, queue)

    def answered(self, rows: int, calls: int) -> None:
        """So many requests were answered: if they are small, somebody notices a slow loop."""
        if not self._looking and rows <= SMALL_ROWS * calls:
            self._looking = True
            due = perf_counter() + LOOK_SECONDS
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look, due)

    def _look(self, due: float) -> None:
        """How late the loop is: it had no core, or was at work on something else."""
        self._looking, now = False, perf_counter()
        self._pace.live(max(0.0, now - due), now)

    def _rested(self, queue: Queue) -> None:
        queue.rest = 0.0
        if queue.unread:
            self._queues.append(queue)
            self._begin(perf_counter())

    def _begin(self, now: float) -> None:
        if not self._turning:
            self._turning, self._began = True, now
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """A turn of the loop has ended, and another begins."""
        began, read = perf_counter(), self._spent
        self._spent, self._turning = 0.0, bool(self._queues)
        if not self._turning:
            self._may = SECONDS
            return
        asyncio.get_running_loop().call_soon(self._turn)
        self._may = max(SECONDS, (began - self._began - read) * SHARE)
        self._began = now = began
        while self._queues and now - began < self._may:
            self._next(self._queues.popleft())
            now = perf_counter()
        self._spent = now - began

    def _next(self, queue: Queue) -> None:
        try:
            queue.read_next()
        finally:
            self._taken(queue)
            if queue.unread and not queue.rest:
                self._queues.append(queue)
