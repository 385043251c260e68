"""Tells open pages what is new: events in small groups, cards that changed, services, outages."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from driftloop.console.api.shapes.model import EvidenceNow
from driftloop.console.domain.desk import Desk, told
from driftloop.console.domain.evidence import point
from driftloop.console.domain.feed import Told, Wanted, joined
from driftloop.console.hub import Hub, Models, Page
from driftloop.contracts.stats import Evidence

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.1
"""Events that come within so long are sent together."""
SERVICES_SECONDS: Final = 2.0
MOST_WAITING: Final = 10_000
"""Events that wait for the next tick; of more the oldest are missed by all pages."""


class Sender:
    """What pages have been told, and what is to be told them next.

    `refresh` brings the desk up to date; it is called every `cards_seconds` while a page is open.
    """

    def __init__(
        self, refresh: Callable[[], None], desk: Desk, hub: Hub, cards_seconds: float
    ) -> None:
        self._refresh = refresh
        self._desk = desk
        self._hub = hub
        self._cards_seconds = cards_seconds
        self._waiting: list[Told] = []
        self._lost = 0
        self._services: dict[bool, bytes] = {}
        self._services_revision = 0
        self._cards_at = self._services_at = 0.0

    def tell(self, told: Told) -> None:
        """One more event."""
        if not len(self._hub):
            return
        self._waiting.append(told)
        if len(self._waiting) > MOST_WAITING:
            self._lost += len(self._waiting) // 2
            del self._waiting[: len(self._waiting) // 2]

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell until the service stops."""
        while not stopping.is_set():
            await asyncio.sleep(TICK_SECONDS)
            try:
                self._tick(list(self._hub), time.monotonic())
            except Exception:  # one odd value is no reason to show nothing at all
                log.exception("open pages were not told")

    def _tick(self, pages: Sequence[Page], now: float) -> None:
        self._say(pages)
        self._evidence(pages)
        if pages and now - self._cards_at >= self._cards_seconds:
            self._cards_at = now
            self._refresh()
            self._outages(pages)
            self._cards(pages)
        if pages and now - self._services_at >= SERVICES_SECONDS:
            self._services_at = now
            self._look_at_services()
            self._send_services(pages)

    def welcome(self, page: Page, hello: bytes) -> None:
        """Tell a page that has just opened how everything stands."""
        self._refresh()
        page.put("hello", hello)
        self._look_at_services()
        self._outages([page])
        self._send_services([page])
        self._cards([page])

    def _say(self, pages: Sequence[Page]) -> None:
        waiting, self._waiting = self._waiting, []
        lost, self._lost = self._lost, 0
        made: dict[Wanted, tuple[bytes, int]] = {}
        for page in pages:
            if not page.ask.events:
                continue
            if page.wanted not in made:
                fit = [told for told in waiting if page.wanted.has(told)]
                made[page.wanted] = joined(fit), len(fit)
            data, count = made[page.wanted]
            if lost:
                page.miss(lost)
            if count:
                page.say(data, count)

    def _evidence(self, pages: Sequence[Page]) -> None:
        newest, self._desk.board.evidence = self._desk.board.evidence, {}
        for stat in newest.values():
            data = b""
            for page in pages:
                if page.ask.model == stat.about and not page.full:
                    data = data or msgspec.json.encode(_evidence(stat))
                    page.put("evidence", data)

    def _cards(self, pages: Sequence[Page]) -> None:
        made: dict[tuple[Models, int], tuple[bytes, int]] = {}
        for page in pages:
            seen = page.seen.get("cards", -1)
            if seen == self._desk.shown.revision or page.full:
                continue
            key = (page.models, seen)
            if key not in made:
                made[key] = self._desk.cards_message(seen, page.models, time.time())
            data, page.seen["cards"] = made[key]
            if data:
                page.put("cards", data)

    def _look_at_services(self) -> None:
        services = self._desk.services(time.time())
        made = {whole: msgspec.json.encode(told(services, whole)) for whole in (True, False)}
        if made != self._services:
            self._services = made
            self._services_revision += 1

    def _send_services(self, pages: Sequence[Page]) -> None:
        for page in pages:
            if page.seen.get("services") != self._services_revision and not page.full:
                page.seen["services"] = self._services_revision
                page.put("services", self._services[page.models is None])

    def _outages(self, pages: Sequence[Page]) -> None:
        revision = self._desk.outages_revision
        for page in pages:
            if page.seen.get("outages") != revision and not page.full:
                page.seen["outages"] = revision
                found = self._desk.outages(page.models)
                page.put("outages", msgspec.json.encode(found))


def _evidence(stat: Evidence) -> EvidenceNow:
    return EvidenceNow(
        model=stat.about,
        version=stat.version,
        champion=stat.champion,
        role=stat.role,
        run=stat.run,
        point=point(stat),
        margin=stat.margin,
        champion_loss=stat.champion_loss,
        shadow_loss=stat.shadow_loss,
        data_time=stat.data_time,
    )
