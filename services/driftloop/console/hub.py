"""Sends what is new to every open page; what a slow page misses is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from driftloop.contracts.errors import Overloaded
from driftloop.runtime import metrics

QUEUED: Final = 256
_DROPPED: Final = metrics.counter("console_dropped", "Messages that slow pages missed")
_PAGES: Final = metrics.gauge("console_pages", "Open pages")

Models = frozenset[str] | None
"""The models a page may show; None is all."""


class Page:
    """One open page: what it may show, what waits for it, and until when it is good."""

    def __init__(self, models: Models, good: Callable[[], bool]) -> None:
        self.models = models
        self.good = good
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED)


class Hub:
    """Open pages, each with a bounded queue of server-sent events."""

    def __init__(self, most: int, stopping: asyncio.Event) -> None:
        self._most = most
        self._stopping = stopping
        self._pages: set[Page] = set()

    def __len__(self) -> int:
        return len(self._pages)

    def send(self, kind: str, told: Callable[[Models], bytes]) -> None:
        """Queue one event for every page: what is `told` of its models, if that is anything."""
        made: dict[Models, bytes] = {}
        for page in self._pages:
            if page.models not in made:
                made[page.models] = told(page.models)
            if data := made[page.models]:
                try:
                    page.queue.put_nowait(b"event: %s\ndata: %s\n\n" % (kind.encode(), data))
                except asyncio.QueueFull:
                    _DROPPED.inc()

    def open(self, models: Models, good: Callable[[], bool]) -> Page:
        """Let in one more page; raises `Overloaded` when there are too many."""
        if len(self._pages) >= self._most:
            raise Overloaded(
                f"stream: {self._most} pages are open; accepted: fewer, close one", 5.0
            )
        page = Page(models, good)
        self._pages.add(page)
        _PAGES.set(len(self._pages))
        return page

    async def messages(self, page: Page) -> AsyncIterator[bytes]:
        """What is for this page, until it leaves, is good no more, or the service stops."""
        try:
            yield b"retry: 2000\n\n"
            while not self._stopping.is_set() and page.good():
                try:
                    yield await asyncio.wait_for(page.queue.get(), 1.0)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._pages.discard(page)
            _PAGES.set(len(self._pages))
