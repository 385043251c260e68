"""What the connections of one server share: limits, known heads, the date, one timer."""

import asyncio
import time
from typing import TYPE_CHECKING

from driftloop.runtime.http1.answers import Starts
from driftloop.runtime.http1.heads import Heads
from driftloop.runtime.http1.limits import Limits
from driftloop.runtime.http1.refusals import CONNECTIONS, CONNECTIONS_REFUSED, Refused

if TYPE_CHECKING:
    from driftloop.runtime.http1.connection import Connection

SPARE = 64
"""Connections over the limit that are told so; the next are closed without a word."""


class Pool:
    """The open connections; while there are any, one timer looks at all of them."""

    def __init__(self, limits: Limits, heads: Heads) -> None:
        self.limits = limits
        self.heads = heads
        self.starts = Starts()
        self.loop = asyncio.get_running_loop()
        self.stopping = False
        self.held = 0
        """Bytes of unfinished bodies, of all connections."""
        self.open: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    def add(self, connection: "Connection") -> None:
        """Let a connection in, or turn it away when too many are open."""
        count = len(self.open)
        self.open.add(connection)
        CONNECTIONS.inc()
        if self._timer is None:
            self._sweep()
        if count >= self.limits.connections:
            CONNECTIONS_REFUSED.inc()
            if count >= self.limits.connections + SPARE:
                connection.abort()
            else:
                detail = f"server: {self.limits.connections} connections are open; come later"
                connection.refuse(Refused(503, detail, b"retry-after: 1\r\n"))
        elif self.stopping:
            connection.close()

    def remove(self, connection: "Connection") -> None:
        """A connection is gone."""
        self.open.discard(connection)
        CONNECTIONS.dec()
        if not self.open and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def stop(self, grace: float) -> None:
        """Close idle connections now, the others with their answer, all after `grace` seconds."""
        self.stopping = True
        self.starts.renew(time.time(), True)
        for connection in list(self.open):
            if connection.idle():
                connection.close()
        await self._emptied(grace)
        for connection in list(self.open):
            connection.cut()
        await self._emptied(1.0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _emptied(self, seconds: float) -> None:
        if self.open:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=seconds)

    def _sweep(self) -> None:
        """Renew the date; close what has waited too long; stop when nobody is left."""
        self._timer = None
        self.starts.renew(time.time(), self.stopping)
        now = self.loop.time()
        for connection in list(self.open):
            connection.sweep(now)
        if self.open:
            self._timer = self.loop.call_later(self.limits.sweep_seconds, self._sweep)
