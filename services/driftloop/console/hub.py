"""Open pages, each with a bounded queue of messages; what a slow page misses is counted."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from driftloop.console.api.shapes.live import Missed
from driftloop.console.domain.feed import Wanted
from driftloop.contracts.errors import Overloaded
from driftloop.runtime import metrics

MOST_BYTES: Final = 2 << 20
"""Bytes that wait for one page; a single message may be larger, and then waits alone."""
MOST_MESSAGES: Final = 256
BEAT_SECONDS: Final = 1.0
"""A page hears something at least so often."""
_DROPPED: Final = metrics.counter("console_dropped", "Events that slow pages missed")
_PAGES: Final = metrics.gauge("console_pages", "Open pages")

Models = frozenset[str] | None
"""The models a page may show; None is all."""


class Ask(NamedTuple):
    """What a page asks of the stream: events or none, of a model or kind ("": any); evidence of the
    model.
    """

    events: bool = True
    model: str = ""
    kind: str = ""


class Page:
    """One open page: what it may show and asks for, what waits for it, until when it is good."""

    def __init__(self, models: Models, good: Callable[[], bool], ask: Ask) -> None:
        self.models = models
        self.good = good
        self.ask = ask
        self.wanted = Wanted(model=ask.model, kind=ask.kind, models=models)
        self.seen: dict[str, int] = {}
        """The revision of cards, services and outages that was sent last."""
        self._missed = 0
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._there = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether the page is behind: what can be told later is told later."""
        return self._bytes >= MOST_BYTES or len(self._queue) >= MOST_MESSAGES

    def put(self, kind: str, data: bytes) -> None:
        """Queue a message that may not be left out; who puts it has looked at `full`."""
        message = b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
        self._queue.append(message)
        self._bytes += len(message)
        self._there.set()

    def say(self, data: bytes, events: int) -> None:
        """Queue a group of events; a page that is behind misses them, and is told how many."""
        if self.full:
            self.miss(events)
            return
        if self._missed:
            self.put("missed", msgspec.json.encode(Missed(count=self._missed)))
            self._missed = 0
        self.put("said", data)

    def miss(self, events: int) -> None:
        """So many events are not for this page any more."""
        self._missed += events
        _DROPPED.inc(events)

    async def take(self) -> bytes:
        """All that waits; a comment if nothing comes for a moment."""
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                await self._there.wait()
        except TimeoutError:
            return b": still here\n\n"
        data = b"".join(self._queue)
        self._queue.clear()
        self._bytes = 0
        self._there.clear()
        return data


class Hub:
    """The open pages."""

    def __init__(self, most: int, stopping: asyncio.Event) -> None:
        self._most = most
        self._stopping = stopping
        self._pages: set[Page] = set()

    def __len__(self) -> int:
        return len(self._pages)

    def __iter__(self) -> Iterator[Page]:
        return iter(list(self._pages))

    def open(self, models: Models, good: Callable[[], bool], ask: Ask) -> Page:
        """Let in one more page; raises `Overloaded` when there are too many."""
        if len(self._pages) >= self._most:
            raise Overloaded(
                f"stream: {self._most} pages are open; accepted: fewer, close one", 5.0
            )
        page = Page(models, good, ask)
        self._pages.add(page)
        _PAGES.set(len(self._pages))
        return page

    async def messages(self, page: Page) -> AsyncIterator[bytes]:
        """What is for this page, until it leaves, is good no more, or the service stops."""
        try:
            yield b"retry: 2000\n\n"
            while not self._stopping.is_set() and page.good():
                yield await page.take()
        finally:
            self._pages.discard(page)
            _PAGES.set(len(self._pages))
