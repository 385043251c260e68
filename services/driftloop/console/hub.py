"""Sends what is new to every open page; what a slow page misses is counted."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from driftloop.contracts.errors import Overloaded
from driftloop.runtime import metrics

QUEUED: Final = 256
_DROPPED: Final = metrics.counter("console_dropped", "Messages that slow pages missed")
_PAGES: Final = metrics.gauge("console_pages", "Open pages")


class Hub:
    """Open pages, each with a bounded queue of server-sent events."""

    def __init__(self, most: int, stopping: asyncio.Event) -> None:
        self._most = most
        self._stopping = stopping
        self._pages: set[asyncio.Queue[bytes]] = set()

    def __len__(self) -> int:
        return len(self._pages)

    def send(self, kind: str, data: bytes) -> None:
        """Queue one event for every page."""
        message = b"event: %s\ndata: %s\n\n" % (kind.encode(), data)
        for page in self._pages:
            try:
                page.put_nowait(message)
            except asyncio.QueueFull:
                _DROPPED.inc()

    def open(self) -> asyncio.Queue[bytes]:
        """Let in one more page; raises `Overloaded` when there are too many."""
        if len(self._pages) >= self._most:
            raise Overloaded(
                f"stream: {self._most} pages are open; accepted: fewer, close one", 5.0
            )
        page: asyncio.Queue[bytes] = asyncio.Queue(QUEUED)
        self._pages.add(page)
        _PAGES.set(len(self._pages))
        return page

    async def messages(self, page: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
        """What is for this page, until it leaves or the service stops."""
        try:
            yield b"retry: 2000\n\n"
            while not self._stopping.is_set():
                try:
                    yield await asyncio.wait_for(page.get(), 1.0)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._pages.discard(page)
            _PAGES.set(len(self._pages))
