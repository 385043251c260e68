"""Turns: large bodies are handed on path by path, so that a flood of one does not hold up others.

To read a large body takes long, and one turn of the event loop may bring many. Those that come when
it has lasted for a while wait, and are handed on for a while at a time, one of each path (which
names the model) after the other; small requests are answered in between.
"""

import asyncio
from collections import deque
from time import perf_counter
from typing import Final

from driftloop.runtime.http1.exchange import Exchange, hand_on

AT_ONCE: Final = 8 * 1024
"""Bytes of the largest request that waits for nobody."""
TURN_SECONDS: Final = 0.0005
"""After so long with large bodies the loop looks for other requests."""


class Turns:
    """The requests that wait, and the bytes of their bodies."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, deque[tuple[Exchange, bytes]]] = {}
        self._going = False
        self._until = 0.0
        self.held = 0

    def take(self, exchange: Exchange, body: bytes) -> None:
        """Hand on a small body now, a large one in its turn; not if the client has gone by then."""
        if len(body) > AT_ONCE:
            if not self._going:
                self._going = True
                self._until = exchange.began + TURN_SECONDS
                self._loop.call_soon(self._turn)
            elif self._waiting or exchange.began > self._until:
                self._waiting.setdefault(exchange.head.path, deque()).append((exchange, body))
                self.held += len(body)
                return
        hand_on(exchange, body)

    def _turn(self) -> None:
        until = perf_counter() + TURN_SECONDS
        while self._waiting and perf_counter() < until:
            path = next(iter(self._waiting))
            of_path = self._waiting.pop(path)
            exchange, body = of_path.popleft()
            if of_path:
                self._waiting[path] = of_path  # behind the others
            self.held -= len(body)
            if not exchange.answered:
                hand_on(exchange, body)
        self._going = bool(self._waiting)
        if self._going:
            self._loop.call_soon(self._turn)
