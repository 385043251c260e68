"""Large bodies of text are read in turns, so that small requests do not wait behind all of them.

What comes as it is in memory (Arrow, binary tensors) costs next to nothing to read, and takes no
turns. Any other body that comes when this turn of the event loop has read enough waits unread in
its model's queue, which counts it as what it is likely to hold, and refuses what is too much before
it waits anywhere. Each further turn reads one of each such model after the other.
"""

import asyncio
from collections import deque
from time import perf_counter
from typing import Final

from driftloop.inference.core.queue import Queue, Read

LARGE: Final = 8_192
"""Bytes from which a body of JSON or MessagePack takes turns."""
SECONDS: Final = 0.000_5
"""Of reading in one turn of the event loop."""
SHARE: Final = 0.5
"""Of what the loop does beside reading: so long may a turn read where that is more."""


class Intake:
    """The large bodies of all models on their way into the queues."""

    def __init__(self) -> None:
        self._queues: deque[Queue] = deque()
        """Those in which something waits unread, the next first."""
        self._turning = False
        self._began = 0.0
        """When this turn began, by `time.perf_counter`."""
        self._spent = 0.0
        """Seconds of this turn that went into reading."""
        self._may = SECONDS

    def take(self, queue: Queue, size: int, read: Read) -> None:
        """Read a body of so many bytes now or in a later turn, in the order of its queue.

        Raises `Overloaded` where it has no room to wait.
        """
        began = perf_counter()
        if not self._turning:
            self._turning, self._began = True, began
            asyncio.get_running_loop().call_soon(self._turn)
        if queue.unread or self._spent >= self._may:
            queue.put_off(size, read)
            if len(queue.unread) == 1:
                self._queues.append(queue)
        else:
            queue.read(size, read)
            self._spent += perf_counter() - began

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
            queue = self._queues.popleft()
            if len(queue.unread) > 1:
                self._queues.append(queue)
            queue.read_next()
            now = perf_counter()
        self._spent = now - began
