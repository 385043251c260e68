"""Work: a durable consumer shared by the replicas of a stateless service, acknowledged by hand.

A handler gets a group of messages and returns what is to be said; that is published and stored by
the broker before the group is acknowledged. `Reject` puts a message among the dead letters, `Retry`
brings it back after a delay, anything else is a bug: logged, tried again to the limit, then a dead
letter.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from nats.errors import Error as NatsError
from nats.js import api

from driftloop.bus import observed, redeliver, retry
from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered, Outgoing
from driftloop.bus.precedence import Precedence
from driftloop.bus.publish import publish_all
from driftloop.bus.pull import Pull, Pulled
from driftloop.contracts import headers, subjects
from driftloop.contracts.errors import Overloaded, Reject, Retry

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 1 << 20
"""Of what does not go first so much is handled at once, or one message."""

_RESULTS: Final[dict[bytes, observed.Result]] = {
    b"+ACK": "handled",
    b"-NAK": "again",
    b"+TER": "dead",
}

Handler = Callable[[Sequence[Delivered]], Awaitable[Sequence[Outgoing]]]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a stateless service works on; redelivered `ack_wait` seconds after a crash."""

    stream: str
    subjects: tuple[str, ...]
    durable: str
    handler: Handler
    group: int = 32
    ahead: int = 1
    """Groups handled at a time; more than one is for handlers that wait for threads."""
    ack_wait: float = 30.0


async def ensure_consumer(connection: Connection, work: Work) -> None:
    """Make the durable consumer, or bring it up to date."""
    await connection.js.add_consumer(
        work.stream,
        api.ConsumerConfig(
            durable_name=work.durable,
            filter_subjects=list(work.subjects),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=work.ack_wait,
            max_deliver=-1,
            max_ack_pending=max(256, 4 * work.group),
        ),
    )


async def run_works(connection: Connection, works: Sequence[Work], stopping: asyncio.Event) -> None:
    """Consume until `stopping`; the groups in hand are finished, the rest is given back."""
    order = Precedence()
    for work in works:
        await redeliver.serve(connection, work.durable, partial(_again_alone, connection, work))
    async with asyncio.TaskGroup() as tasks:
        first, *others = works
        tasks.create_task(_run_work(connection, first, stopping, order, first=True))
        for work in others:
            tasks.create_task(_run_beside(connection, work, stopping, order))


async def _again_alone(connection: Connection, work: Work, message: Delivered) -> None:
    """Handle a message that was a dead letter, outside of the order."""
    await redeliver.say(connection, await work.handler([message]))


async def _run_beside(
    connection: Connection, work: Work, stopping: asyncio.Event, order: Precedence
) -> None:
    """Over a line of its own, where its messages do not stand before those of the first work."""
    own = await _another(connection, work.durable, stopping)
    try:
        if not stopping.is_set():
            await _run_work(own, work, stopping, order, first=False)
    finally:
        await own.close()


async def _another(connection: Connection, name: str, stopping: asyncio.Event) -> Connection:
    """A second connection to the same server, as soon as it answers."""
    while True:
        mine = f"{connection.service}-{name}"
        made = Connection(connection.url, mine, login=connection.login)
        try:
            await made.open()
        except ConnectionError as error:
            log.warning("%s: %s", name, error)
            await asyncio.sleep(0.5)
            if stopping.is_set():
                return made
        else:
            return made


async def _run_work(
    connection: Connection, work: Work, stopping: asyncio.Event, order: Precedence, *, first: bool
) -> None:
    pull: Pull | None = None
    groups = _Groups(connection, work)
    while not stopping.is_set():
        try:
            if pull is None or pull.lost:
                await _give_back(connection, pull)
                await ensure_consumer(connection, work)
                window = (work.ahead + 1) * work.group
                pull = Pull(connection, work.stream, work.durable, window)
                await pull.open()
            await groups.room()
            if not await pull.arrived(timeout=0.5):
                continue
            if first:
                order.begun(groups.begin(await pull.take(work.group)))
            else:
                await order.turn()
                await order.rest(groups.begin(await pull.take(work.group, PIECE_BYTES)))
        except (NatsError, OSError) as error:
            log.warning("%s: %s", work.durable, error)
            await asyncio.sleep(0.5)
    await groups.end()
    await _give_back(connection, pull)


class _Groups:
    """The groups under way, in order: `ahead` are handled, and the one before is published."""

    def __init__(self, connection: Connection, work: Work) -> None:
        self._connection = connection
        self._work = work
        self._turns = asyncio.Semaphore(work.ahead)
        self._tasks: deque[asyncio.Task[None]] = deque()

    async def room(self) -> None:
        """Wait until another group may begin; raises what went wrong with one before."""
        while self._tasks and (len(self._tasks) > self._work.ahead or self._tasks[0].done()):
            await self._tasks.popleft()

    def begin(self, group: list[Pulled]) -> asyncio.Task[None]:
        """Begin with a group."""
        before = self._tasks[-1] if self._tasks else None
        task = asyncio.create_task(self._group(group, before))
        self._tasks.append(task)
        return task

    async def end(self) -> None:
        """Wait until all are done with; what went wrong comes again."""
        while self._tasks:
            with contextlib.suppress(NatsError, OSError):
                await self._tasks.popleft()

    async def _group(self, group: list[Pulled], before: asyncio.Task[None] | None) -> None:
        began = time.perf_counter()
        said: Sequence[Outgoing] | Exception
        async with self._turns:
            delivered = [message.delivered() for message in group]
            messages, spans = observed.begun(self._work.durable, delivered)
            try:
                said = await self._work.handler(messages)
            except Exception as error:
                said = error
        try:
            if before is not None:
                await before  # what it said is in the log before anything of this group is
            await _say(self._connection, self._work, group, messages, said)
        finally:
            observed.ended(spans, said if isinstance(said, Exception) else None)
        observed.LISTENER.took(self._work.durable, time.perf_counter() - began)


async def _give_back(connection: Connection, pull: Pull | None) -> None:
    """Leave the consumer; what had arrived and was not begun goes to somebody else at once."""
    if pull is not None:
        with contextlib.suppress(NatsError):
            await _answer(connection, await pull.close(), b"-NAK")


async def _settle(
    connection: Connection, work: Work, messages: Sequence[Pulled], word: bytes
) -> None:
    await _answer(connection, messages, word)
    observed.LISTENER.answered(work.durable, _RESULTS[word[:4]], len(messages))


async def _answer(connection: Connection, messages: Sequence[Pulled], word: bytes) -> None:
    lines = [b"PUB %b %d\r\n%b\r\n" % (m.reply.encode(), len(word), word) for m in messages]
    await connection.write(lines)


async def _say(
    connection: Connection,
    work: Work,
    group: Sequence[Pulled],
    messages: Sequence[Delivered],
    said: Sequence[Outgoing] | Exception,
) -> None:
    """Publish what a group said and acknowledge it; if that fails, each half of it by itself."""
    try:
        if isinstance(said, Exception):
            raise said
        await publish_all(connection, said)
    except Overloaded as full:  # no half of the group has more room than all of it
        log.info("%s: %d messages again in %.1f s: %s", work.durable, len(group), full.delay, full)
        await _settle(connection, work, group, _again(full.delay))
        return
    except Exception as error:
        if len(group) == 1:
            await _failed(connection, work, group[0], messages[0], error)
            return
        middle = len(group) // 2
        for half in (slice(None, middle), slice(middle, None)):
            try:
                again: Sequence[Outgoing] | Exception = await work.handler(messages[half])
            except Exception as wrong:
                again = wrong
            await _say(connection, work, group[half], messages[half], again)
        return
    await _settle(connection, work, group, b"+ACK")


async def _failed(
    connection: Connection, work: Work, message: Pulled, about: Delivered, error: Exception
) -> None:
    if isinstance(error, NatsError):
        raise error
    if isinstance(error, Retry):
        log.info("%s: %s again in %.1f s: %s", work.durable, about.position, error.delay, error)
        await _settle(connection, work, [message], _again(error.delay))
    elif isinstance(error, Reject) or retry.given_up(about.attempt):
        log.warning("%s: dead letter %s: %s", work.durable, about.position, error)
        try:
            await publish_all(connection, [dead_letter(work.durable, about, f"{error}")])
        except Retry as full:  # it stays in the log until there is room for it
            log.warning("%s: no dead letter %s: %s", work.durable, about.position, full)
            await _settle(connection, work, [message], _again(full.delay))
        else:
            await _settle(connection, work, [message], b"+TERM")
    else:
        log.exception(
            "%s: bug while handling %s (%s)",
            work.durable,
            about.position,
            about.event_id,
            exc_info=error,
        )
        await _settle(connection, work, [message], _again(retry.backoff(about.attempt)))


def _again(seconds: float) -> bytes:
    return b'-NAK {"delay": %d}' % int(seconds * 1e9)


def dead_letter(service: str, about: Delivered, reason: str) -> Outgoing:
    """The original message among the dead letters, with the reason and where it came from."""
    kept = {k: v for k, v in about.headers.items() if not k.startswith("Nats-")}
    kept[headers.MSG_ID] = f"dead:{service}:{about.position}"
    kept[headers.REASON] = (
        reason.encode("ascii", "backslashreplace").decode().replace("\n", " | ")[:2000]
    )
    kept[headers.ORIGIN] = f"{about.subject} {about.position}"
    return Outgoing(
        subject=subjects.dead(service, about.model), payload=about.payload, headers=kept
    )
