"""Keeps the book of notifications for one term of owning it: hears, writes down, sends.

It folds over the log and acknowledges nothing. Before an attempt, and after it, the book is written
on condition that nobody else did (`Conflict` ends the term), so what was sent is not sent again by
whoever comes next. A process that dies between the receiver's answer and the write leaves a message
that is sent once more, with the same id.
"""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.bus.ownership import Term
from driftloop.console.domain.notify import book as books
from driftloop.console.domain.notify import words
from driftloop.console.domain.notify.book import Book, Message
from driftloop.console.domain.notify.notices import Notice
from driftloop.console.domain.notify.outages import Heard, Watch
from driftloop.console.domain.notify.rules import Rules
from driftloop.console.notify.senders import NotSent, Sender
from driftloop.contracts import codec
from driftloop.contracts.errors import DriftloopError, Reject
from driftloop.contracts.events import Alarm
from driftloop.contracts.facts import Fact, fact
from driftloop.contracts.stats import ServiceStats
from driftloop.modelspec import durations
from driftloop.runtime import metrics
from driftloop.runtime.settings import SERVICES

log = logging.getLogger(__name__)

KEY: Final = "book"
LOOK_SECONDS: Final = 0.2
SAVED_EVERY: Final = 1_000
"""Events of no interest after which the position is written all the same."""
SENT: Final = metrics.counter("console_notify_sent", "Messages that were taken", ["channel"])
TRIES: Final = metrics.counter("console_notify_errors", "Attempts to send that failed", ["channel"])
FAILED: Final = metrics.counter("console_notify_failed", "Messages that were given up", ["channel"])
UNTOLD: Final = metrics.counter(
    "console_notify_untold",
    "Facts that were not told one by one: repeated, old, silenced, quiet, many, unread",
    ["reason"],
)
WAITING: Final = metrics.gauge("console_notify_waiting", "Notices that wait to be sent")


class Keeper:
    """The book during one term. `done` are ids of messages that this process has sent."""

    def __init__(
        self, bus: Bus, rules: Rules, senders: dict[str, Sender], term: Term, done: dict[str, None]
    ) -> None:
        self._bus = bus
        self._rules = rules
        self._senders = senders
        self._term = term
        self._done = done
        self._busy: set[str] = set()
        self._revision = 0
        self._turn = asyncio.Lock()
        self.book = Book()

    async def run(self) -> None:
        """Until the term is over. Raises `Retry` when the broker is away or somebody else wrote."""
        entry = await self._bus.notices.read(KEY)
        kept, self._revision = _read(entry.value), entry.revision
        if kept is not None:
            self.book = books.kept(kept, self._rules)
        else:  # from now on, also for whoever takes over before anything happens
            last = await self._bus.log.last_seq("EVENTS")
            await self._change(lambda book: replace(book, seq=last))
        self._term.ready = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear_events())
            tasks.create_task(self._hear_services())
            tasks.create_task(self._deliver(tasks))

    async def _change(self, step: Callable[[Book], Book]) -> None:
        """Take one step, and write the book if that makes a difference."""
        async with self._turn:
            after = step(self.book)
            if after is self.book:
                return
            value = books.encode(after)
            self._revision = await self._bus.notices.write(KEY, value, self._revision)
            self.book = after
            WAITING.set(books.held(after))

    async def _hear_events(self) -> None:
        follow = self._bus.follow("EVENTS", ("events.>",), self.book.seq + 1)
        try:
            while not self._term.over.is_set():
                if group := await follow.read():
                    told = [(one, await self._silenced(one)) for one in map(_fact, group) if one]
                    await self._change(partial(self._folded, told, group[-1].seq))
        finally:
            await follow.close()

    def _folded(self, told: list[tuple[Fact, bool]], seq: int, book: Book) -> Book:
        """The book after events up to `seq`, each with whether it is silenced."""
        before, now = book, time.time()
        for one, silenced in told:
            about, did = words.answer(one)
            book = books.answered(book, about, did) if about else book
            if silenced:
                _count("silenced")
            elif (notice := _notice(one)) is not None:
                book = books.tell(book, self._rules, notice, now, _count)
        if book is before and seq - before.seq < SAVED_EVERY:
            return before
        return replace(book, seq=seq)

    async def _silenced(self, told: Fact) -> bool:
        """Whether an operator silenced the detector of an alarm."""
        if not isinstance(told.event, Alarm):
            return False
        try:
            state = await self._bus.models.get(told.model)
        except Reject as error:
            log.warning("state of %s: %s", told.model, error)
            return False
        return state is not None and state.silenced(told.event.detector, time.time()) is not None

    async def _hear_services(self) -> None:
        watch = Watch(SERVICES, time.time())
        start = await self._bus.log.last_seq("STATS") + 1
        for name in SERVICES:
            last = await self._bus.log.last("STATS", f"stats.service.{name}")
            if last is not None:
                _hear(watch, last, last.time)
        follow = self._bus.follow("STATS", ("stats.service.*",), start)
        try:
            while not self._term.over.is_set():
                for message in await follow.read():
                    _hear(watch, message, time.time())
                await self._change(partial(self._looked, watch))
        finally:
            await follow.close()

    def _looked(self, watch: Watch, book: Book) -> Book:
        """The book after a look at the services."""
        now, after = time.time(), durations.seconds(self._rules.outage_after)
        book, said = watch.look(book, after, now)
        for one in said:
            book = books.tell(book, self._rules, one, now, _count)
        return book

    async def _deliver(self, tasks: asyncio.TaskGroup) -> None:
        while not self._term.over.is_set():
            for name in books.due(self.book, self._rules, time.time()):
                if name not in self._busy:
                    self._busy.add(name)
                    tasks.create_task(self._attempt(name))
            await asyncio.sleep(LOOK_SECONDS)

    async def _attempt(self, name: str) -> None:
        """One attempt to send what a line has; written down before and after."""
        message: Message | None = None

        def begun(book: Book) -> Book:
            nonlocal message
            after, message = books.attempt(book, name)
            return after

        try:
            await self._change(begun)
            assert message is not None
            channel = books.parts(name)[1]
            error = await self._send(channel, message)
            if error is None:
                await self._change(lambda book: books.sent(book, name, time.time()))
                SENT.labels(channel).inc()
            else:
                await self._missed(name, channel, error)
        finally:
            self._busy.discard(name)

    async def _send(self, channel: str, message: Message) -> NotSent | None:
        """Why a message was not taken; None if it was, now or before by this process."""
        if message.id in self._done:
            return None
        events = {one.seq: await self._event(one) for one in message.notices if one.seq}
        try:
            await self._senders[channel].send(message, events)
        except NotSent as error:
            return error
        except Exception as bug:  # its text may hold a secret; the places in the code do not
            where = "".join(traceback.format_tb(bug.__traceback__))
            log.error("channel %s: a bug: %s\n%s", channel, type(bug).__name__, where)
            return NotSent(f"a bug: {type(bug).__name__}")
        self._done[message.id] = None
        while len(self._done) > books.MOST_SEEN:
            del self._done[next(iter(self._done))]
        return None

    async def _event(self, one: Notice) -> Any:
        """The control event of a notice, as it is in the log; None if it is there no more."""
        found = await self._bus.log.at_or_after("EVENTS", f"events.{one.model}.{one.kind}", one.seq)
        told = _fact(found) if found is not None and found.seq == one.seq else None
        return msgspec.to_builtins(told) if told is not None else None

    async def _missed(self, name: str, channel: str, error: NotSent) -> None:
        given_up = False

        def after(book: Book) -> Book:
            nonlocal given_up
            book, given_up = books.failed(book, name, time.time(), str(error), error.wait)
            return book

        await self._change(after)
        TRIES.labels(channel).inc()
        if given_up:
            FAILED.labels(channel).inc()
            log.error("channel %s: a message was given up: %s", channel, error)
        else:
            log.warning("channel %s: not sent, trying again: %s", channel, error)


def _fact(message: Delivered) -> Fact | None:
    try:
        return fact(message.seq, message.headers, message.event())
    except DriftloopError as error:
        _count("unread")
        log.warning("%s: %s", message.position, error)
        return None


def _notice(told: Fact) -> Notice | None:
    """The words for an event. An event that nobody has words for must not end the console."""
    try:
        return words.notice(told)
    except Exception:
        _count("unread")
        log.exception("EVENTS:%d: no notice could be made of it", told.seq)
        return None


def _read(value: bytes | None) -> Book | None:
    try:
        return books.decode(value)
    except Reject as error:
        log.error("%s; it begins anew at the end of EVENTS", error)
        return None


def _hear(watch: Watch, message: Delivered, at: float) -> None:
    with contextlib.suppress(Reject):
        stat = codec.decode_stat(message.payload)
        if isinstance(stat, ServiceStats):
            watch.hear(stat.about, stat.url, Heard(at=at, ready=stat.ready, reason=stat.reason))


def _count(reason: str) -> None:
    UNTOLD.labels(reason).inc()
