"""Notifications of one replica of the console: owned by one of them, and told when NATS is away."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

from driftloop.bus.bus import Bus
from driftloop.bus.ownership import Term
from driftloop.console.domain.notify import book as books
from driftloop.console.domain.notify.book import Message
from driftloop.console.domain.notify.letters import Places
from driftloop.console.domain.notify.notices import Notice, service_back, service_out
from driftloop.console.domain.notify.rules import Rules
from driftloop.console.notify.keeper import Keeper
from driftloop.console.notify.senders import NotSent, Sender, load, senders
from driftloop.modelspec import durations

NATS: Final = "nats"
LOOK_SECONDS: Final = 1.0
OURS_SECONDS: Final = 60.0
"""Of several replicas, the one tells of NATS that owned the book so shortly before."""
SHOWN_SECONDS: Final = 86_400.0
"""How long a message that was given up is shown."""


class Notifier:
    """What the console runs for notifications; see `tasks` and `note`."""

    def __init__(self, bus: Bus, rules: Rules, by_channel: dict[str, Sender]) -> None:
        self._bus = bus
        self._rules = rules
        self._senders = by_channel
        self._ownership = bus.ownership(1)
        self._keeper: Keeper | None = None
        self._owned = -OURS_SECONDS
        self._done: dict[str, None] = {}

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """The background tasks."""
        return [self._ownership.run(self._own), self._watch_nats()]

    def note(self) -> str:
        """What is wrong: the newest message that was given up, for a day."""
        if self._keeper is None:
            return ""
        book = self._keeper.book
        last = books.latest(book.failures, time.time() - SHOWN_SECONDS)
        if last is None:
            return ""
        return (
            f"notifications: {book.failed} messages were given up, the last to {last.channel}:"
            f" {last.error}"
        )

    async def _own(self, term: Term) -> None:
        self._keeper = Keeper(self._bus, self._rules, self._senders, term, self._done)
        try:
            await self._keeper.run()
        finally:
            self._owned, self._keeper = time.monotonic(), None

    async def _watch_nats(self) -> None:
        """Tell when NATS is away and back. Nothing can be written down meanwhile."""
        after = durations.seconds(self._rules.outage_after)
        while not self._bus.stopping.is_set():
            await asyncio.sleep(LOOK_SECONDS)
            if self._connected() or not self._ours():
                continue
            since = time.time()
            if await self._stays_away(after):
                why = "no connection to any of its servers"
                await self._tell(service_out(NATS, why, since, time.time()))
                while await self._stays_away(SHOWN_SECONDS):
                    pass
                if self._connected():
                    await self._tell(service_back(NATS, since, time.time()))

    def _connected(self) -> bool:
        return bool(self._bus.connection.nc.is_connected)

    def _ours(self) -> bool:
        return self._keeper is not None or time.monotonic() - self._owned < OURS_SECONDS

    async def _stays_away(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._connected() or self._bus.stopping.is_set():
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _tell(self, one: Notice) -> None:
        """Send to every channel whose rules take it, a few times if need be."""
        for at, channel in self._rules.lines(one.kind, one.severity, "", one.service):
            rule = self._rules.rules[at].name
            message = Message(id=one.id.replace(":", "-"), rule=rule, notices=(one,))
            for attempt in range(3):
                try:
                    await self._senders[channel].send(message, {})
                except NotSent:
                    await asyncio.sleep(books.FIRST_SECONDS * 2.0**attempt)
                else:
                    break


def notifier(bus: Bus, file: str, console_url: str, docs_url: str) -> Notifier | None:
    """The notifications of a rule file; None without one. Raises `InvalidInput`."""
    if not file:
        return None
    rules = load(file)
    return Notifier(bus, rules, senders(rules, Places(console=console_url, docs=docs_url)))
