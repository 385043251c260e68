"""What the connections of one gRPC server share: bounds, what they hold together, timers."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from driftloop.inference.grpc_v2.h2.limits import CUT, OPEN, Limits
from driftloop.inference.grpc_v2.h2.streams import Calls, Stream

if TYPE_CHECKING:
    from driftloop.inference.grpc_v2.h2.connection import Connection

log = logging.getLogger(__name__)


class Pool:
    """The open connections, and two timers that run while there is something to look at."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self.calls = calls
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.open: set[Connection] = set()
        self.unread = 0
        """Bytes of unfinished requests, of all connections."""
        self.unsent = 0
        """Bytes of answers held back, of all connections."""
        self.streams = 0
        """Calls under way, of all connections."""
        self.stopping = False
        self._timed: dict[Stream, None] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    def add(self, connection: "Connection") -> bool:
        """Let a connection in; false where too many are open, or the server stops."""
        if self.stopping or len(self.open) >= self.limits.connections:
            CUT.labels("connections").inc()
            return False
        self.open.add(connection)
        OPEN.inc()
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self.limits.sweep_seconds, self._sweep)
        return True

    def remove(self, connection: "Connection") -> None:
        """A connection is gone."""
        if connection not in self.open:
            return
        self.open.discard(connection)
        OPEN.dec()
        if not self.open and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def watch(self, stream: Stream) -> None:
        """Tell when the call's deadline has passed."""
        self._timed[stream] = None
        if self._ticker is None:
            self._ticker = self.loop.call_later(self.limits.tick_seconds, self._tick)

    def unwatch(self, stream: Stream) -> None:
        """The call is over."""
        self._timed.pop(stream, None)

    async def stop(self, grace: float) -> None:
        """Take no new calls, finish those under way within `grace` seconds, end the others."""
        self.stopping = True
        for connection in list(self.open):
            connection.leave()
        await self._emptied(grace)
        for connection in list(self.open):
            connection.abort()
        await self._emptied(1.0)
        for timer in (self._ticker, self._sweeper):
            if timer is not None:
                timer.cancel()

    async def _emptied(self, seconds: float) -> None:
        if self.open and seconds > 0:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=seconds)

    def _tick(self) -> None:
        self._ticker = None
        now = time.perf_counter()
        for stream in [stream for stream in self._timed if stream.deadline < now]:
            self._timed.pop(stream, None)
            try:
                self.calls.late(stream)
            except Exception:  # or the deadlines of all others would pass unseen
                log.exception("a deadline could not be told")
        if self._timed and self._ticker is None:
            self._ticker = self.loop.call_later(self.limits.tick_seconds, self._tick)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.loop.time()
        for connection in list(self.open):
            try:
                connection.sweep(now)
            except Exception:  # or nobody would be looked at again
                log.exception("a connection could not be looked at")
                connection.abort()
        if self.open:
            self._sweeper = self.loop.call_later(self.limits.sweep_seconds, self._sweep)
