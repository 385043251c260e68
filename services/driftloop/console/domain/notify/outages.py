"""Which services are out: silent, or not ready, for too long; and which are back."""

from typing import Final

import msgspec
from msgspec.structs import replace

from driftloop.console.domain.notify.book import Book, Outage
from driftloop.console.domain.notify.notices import Notice, service_back, service_out

STALE_SECONDS: Final = 15.0
"""A service that has said nothing for so long is silent."""
MOST: Final = 256
"""Processes that are kept in mind."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of a service said last, and when (seconds since 1970)."""

    at: float
    ready: bool
    reason: str


class Watch:
    """The services by their last words. A service is well if any process of it is."""

    def __init__(self, services: tuple[str, ...], began: float) -> None:
        self._services = services
        self._heard: dict[tuple[str, str], Heard] = {}
        self._well = dict.fromkeys(services, began)
        self._why: dict[str, str] = {}
        self._deaf_until = began

    def hear(self, service: str, process: str, heard: Heard) -> None:
        """Take the words of one process (its URL)."""
        if service not in self._well:
            return
        self._heard.pop((service, process), None)
        self._heard[service, process] = heard
        if len(self._heard) > MOST:
            del self._heard[next(iter(self._heard))]

    def look(self, book: Book, after: float, now: float) -> tuple[Book, list[Notice]]:
        """The book with what is out for `after` seconds or back, and what is to be told of it."""
        newest = max((heard.at for heard in self._heard.values()), default=0.0)
        if now - newest > STALE_SECONDS:  # nobody is heard: it is we who hear nothing
            self._deaf_until = now
        said: list[Notice] = []
        for service in self._services:
            well = self._judge(service, now)
            book, notice = self._step(book, service, well, after, now)
            if notice is not None:
                said.append(notice)
        return book, said

    def _judge(self, service: str, now: float) -> bool:
        """Whether a service is well; if not, why not is noted."""
        fresh = [
            heard
            for (its, _), heard in self._heard.items()
            if its == service and now - heard.at <= STALE_SECONDS
        ]
        if any(heard.ready for heard in fresh):
            self._well[service] = now
            return True
        self._why[service] = f"not ready ({fresh[-1].reason})" if fresh else "silent"
        return False

    def _step(
        self, book: Book, service: str, well: bool, after: float, now: float
    ) -> tuple[Book, Notice | None]:
        since = self._well[service]
        out = book.outages.get(service)
        if well and out is not None:
            left = {name: its for name, its in book.outages.items() if name != service}
            return replace(book, outages=left), service_back(service, out.since, now)
        if not well and out is None and now - max(since, self._deaf_until) >= after:
            why = self._why[service]
            outages = {**book.outages, service: Outage(since=since, why=why)}
            return replace(book, outages=outages), service_out(service, why, since, now)
        return book, None
