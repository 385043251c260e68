"""Looking things up in a log: last messages, ranges, and positions by running totals."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from driftloop.bus.connection import Connection
from driftloop.bus.follow import Follow
from driftloop.bus.messages import Delivered
from driftloop.bus.newest import newest
from driftloop.bus.retry import transient
from driftloop.contracts import headers
from driftloop.contracts.errors import Retry

END_SECONDS: Final = 5.0


class Reached(NamedTuple):
    """How far a durable consumer is: sequences up to which all is delivered, and acknowledged; and
    how many messages are not acknowledged yet. `there`: whether it has ever begun.
    """

    delivered: int = 0
    acknowledged: int = 0
    behind: int = 0
    there: bool = False


class Consumer(NamedTuple):
    """A consumer of a stream: messages not yet given out, given out and not acknowledged, of these
    given out again; and the sequence of the newest one given out.
    """

    name: str
    pending: int
    unacknowledged: int
    redelivered: int
    delivered: int


class Filled(NamedTuple):
    """What a stream holds, and the bytes it has room for."""

    messages: int
    bytes: int
    room: int


class End(NamedTuple):
    """The last sequence of a stream, and when this was so (seconds, the broker's clock)."""

    seq: int
    time: float


class Log:
    """Reads of streams; nothing here changes one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _js(self) -> JetStreamContext:
        return self._connection.js

    async def last(self, stream: str, subject: str) -> Delivered | None:
        """The last message of a subject (wildcards allowed), or None."""
        return await self._get(stream, subject=subject)

    async def at_or_after(self, stream: str, subject: str, seq: int) -> Delivered | None:
        """The first message of a subject at `seq` or later, or None."""
        return await self._get(stream, seq=max(1, seq), subject=subject, next=True)

    async def last_seq(self, stream: str) -> int:
        """The last sequence of a stream; 0 when it is empty."""
        with transient(stream):
            return int((await self._js.stream_info(stream)).state.last_seq)

    async def first_seq(self, stream: str) -> int:
        """The first sequence that is still kept."""
        with transient(stream):
            return int((await self._js.stream_info(stream)).state.first_seq)

    async def filled(self, stream: str) -> Filled:
        """How full a stream is."""
        with transient(stream):
            info = await self._js.stream_info(stream)
        return Filled(info.state.messages, info.state.bytes, int(info.config.max_bytes or 0))

    async def end(self, stream: str) -> End:
        """Where a stream ends, and the time by the clock that stamps what it takes, the broker's.

        `ts` of the answer: https://docs.nats.io/reference/reference-protocols/nats_api_reference
        """
        ask = f"$JS.API.STREAM.INFO.{stream}"
        with transient(stream):
            answer = await self._connection.nc.request(ask, timeout=END_SECONDS)
        try:
            said = json.loads(answer.data)
            time = datetime.fromisoformat(said["ts"]).timestamp()
            return End(int(said["state"]["last_seq"]), time)
        except (KeyError, ValueError) as error:
            raise Retry(f"{stream}: the broker does not tell where it ends ({error})") from error

    async def messages(self, stream: str, subject: str) -> int:
        """Messages of a subject (wildcards allowed) that a stream holds."""
        with transient(stream):
            info = await self._js.stream_info(stream, subjects_filter=subject)
        return sum((info.state.subjects or {}).values())

    async def lag(self, stream: str, durable: str) -> int:
        """Messages a durable consumer has not acknowledged yet; 0 without such a consumer."""
        return (await self.reached(stream, durable)).behind

    async def reached(self, stream: str, durable: str) -> Reached:
        """How far a durable consumer is; zeros without such a consumer."""
        with transient(f"{stream} {durable}"):
            try:
                info = await self._js.consumer_info(stream, durable)
            except NotFoundError:
                return Reached()
        delivered, acknowledged = (
            int(at.stream_seq or 0) if at is not None else 0
            for at in (info.delivered, info.ack_floor)
        )
        behind = int((info.num_pending or 0) + (info.num_ack_pending or 0))
        return Reached(delivered, acknowledged, behind, there=True)

    async def consumers(self, stream: str) -> list[Consumer]:
        """All consumers of a stream, those of followers too; for who may list them."""
        found: list[Consumer] = []
        with transient(stream):
            while page := await self._js.consumers_info(stream, offset=len(found)):
                found += [_consumer(info) for info in page]
        return found

    async def newest(self, stream: str, subjects: str) -> list[Delivered]:
        """The newest message of each subject under `subjects`, oldest first."""
        with transient(stream):
            return await newest(self._connection, stream, subjects)

    async def with_total(self, stream: str, subject: str, total: int) -> Delivered | None:
        """The first message of a subject whose running total of rows (`dl-total`) is above `total`.

        A binary search over sequences, so some twenty reads find a row among a million messages.
        """
        last = await self.last(stream, subject)
        if last is None or rows_total(last) <= total:
            return None
        low, high, found = await self.first_seq(stream), last.seq, last
        while low < high:
            middle = (low + high) // 2
            message = await self.at_or_after(stream, subject, middle)
            if message is not None and rows_total(message) > total:
                found, high = message, middle
            else:
                low = middle + 1
        return found

    async def range(
        self, stream: str, subject: str, first: int, last: int
    ) -> AsyncIterator[Delivered]:
        """Every message of a subject from sequence `first` to `last`, both included, in order."""
        if last < first:
            return
        follow = Follow(self._connection, stream, (subject,), first)
        try:
            while True:
                for message in await follow.read(most=256, timeout=2.0):
                    if message.seq > last:
                        return
                    yield message
                    if message.seq == last:
                        return
                if (
                    follow.next_seq > last
                    or await self.at_or_after(stream, subject, follow.next_seq) is None
                ):
                    return
        finally:
            await follow.close()

    async def _get(self, stream: str, **ask: Any) -> Delivered | None:
        with transient(stream):
            try:
                found = await self._js.get_msg(stream, **ask)
            except NotFoundError:
                return None
        return Delivered(
            subject=found.subject or "",
            payload=found.data or b"",
            headers={name: str(value) for name, value in (found.headers or {}).items()},
            stream=stream,
            seq=int(found.seq or 0),
            time=found.time.timestamp() if found.time else 0.0,
        )


def _consumer(info: ConsumerInfo) -> Consumer:
    return Consumer(
        name=info.name,
        pending=int(info.num_pending or 0),
        unacknowledged=int(info.num_ack_pending or 0),
        redelivered=int(info.num_redelivered or 0),
        delivered=int(info.delivered.stream_seq or 0) if info.delivered is not None else 0,
    )


def rows_total(message: Delivered) -> int:
    """The running total of rows a single writer put on its message; 0 where there is none."""
    told = message.headers.get(headers.TOTAL, "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 19 else 0
