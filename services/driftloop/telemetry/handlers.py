"""Turns messages into rows, and waits with their acknowledgement until ClickHouse has them."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import pyarrow as pa

from driftloop.bus.messages import Delivered, Outgoing
from driftloop.bus.requests import Reply, Request
from driftloop.bus.work import Work, dead_letter
from driftloop.contracts import headers, requests
from driftloop.contracts.batches import UNMATCHED
from driftloop.contracts.errors import InvalidInput, Overloaded, Reject, Retry
from driftloop.contracts.events import AnyEvent, SpecRegistered
from driftloop.contracts.headers import Origin
from driftloop.runtime import metrics
from driftloop.telemetry.domain import records, rows
from driftloop.telemetry.domain.rows import Rows
from driftloop.telemetry.store import Store

ASKED = metrics.counter("telemetry_questions", "Questions in SQL", ["answered"])

GROUP: Final = 64
ACK_WAIT: Final = 10.0
"""After a crash, messages in hand come again this late; coming twice does no harm."""
PATIENCE: Final = 5.0
"""So long a group waits for a ClickHouse that is away before it goes back to the log."""

Decode = Callable[[Delivered], Rows]


class Keeper:
    """Hears one kind of message and keeps it."""

    def __init__(self, store: Store, durable: str, decode: Decode) -> None:
        self._store = store
        self._durable = durable
        self._decode = decode
        self._impatient_until = 0.0

    async def keep(self, messages: Sequence[Delivered]) -> Sequence[Outgoing]:
        """Keep a group; says a dead letter for each message that cannot be kept, the others are."""
        await self._available()
        good: list[Delivered] = []
        found: list[Rows] = []
        said: list[Outgoing] = []
        for message in messages:
            try:
                found.append(self._decode(message))
                good.append(message)
            except Reject as error:
                said.append(dead_letter(self._durable, message, str(error)))
        for message, reason in zip(good, await self._write(found, len(messages)), strict=True):
            if reason:
                said.append(dead_letter(self._durable, message, reason))
        return said

    async def _available(self) -> None:
        """Wait for a ClickHouse that is away, but once a group: its messages come singly after."""
        now = time.monotonic()
        try:
            await self._store.available(PATIENCE if now >= self._impatient_until else 0.0)
        except Retry as error:
            self._impatient_until = time.monotonic() + error.delay
            raise

    async def _write(self, found: Sequence[Rows], messages: int) -> list[str]:
        try:
            return await self._store.buffer.write(found, hurry=messages >= GROUP)
        except Overloaded:
            raise
        except Retry as error:
            self._store.lost(error)
            raise


def work(store: Store, stream: str, durable: str, decode: Decode, *subjects: str) -> Work:
    """A durable consumer of `subjects` whose messages are kept."""
    keeper = Keeper(store, durable, decode)
    return Work(
        stream=stream,
        subjects=subjects,
        durable=durable,
        handler=keeper.keep,
        group=GROUP,
        ack_wait=ACK_WAIT,
    )


def row_batch(message: Delivered) -> Rows:
    """Rows that passed the contract, or did not."""
    state = message.subject.split(".")[2]
    made = rows.valid if state == "valid" else rows.quarantined
    return made(message.model, message.seq, message.batch())


def label_batch(message: Delivered) -> Rows:
    """Labels."""
    return rows.labels(message.model, message.seq, message.batch())


def scored_batch(message: Delivered) -> Rows:
    """Scored rows."""
    return rows.scored(message.model, message.seq, message.batch())


def outcome_batch(message: Delivered) -> Rows:
    """Outcomes."""
    return rows.outcomes(message.model, message.seq, message.batch())


def event(message: Delivered) -> Rows:
    """A control event."""
    return records.decode_event(message.payload, message.headers, message.seq)


def stat(message: Delivered) -> Rows:
    """A measurement."""
    return records.decode_stat(message.payload, message.headers, message.seq)


def dead(message: Delivered) -> Rows:
    """A dead letter, or labels that feedback gave up; none is refused, so none comes back."""
    if message.headers.get("content-type") == headers.ARROW:
        try:
            batch = message.batch()
            if batch.schema.names == UNMATCHED.names:
                return rows.unmatched(message.model, message.seq, batch)
        except Reject:
            pass  # the payload is why it is among the dead letters
    return records.dead(message.subject, message.payload, message.headers, message.seq)


class Answers:
    """Answers questions in SQL."""

    def __init__(self, store: Store, max_payload: int) -> None:
        self._store = store
        self._max_payload = max_payload

    async def registered(self, event: SpecRegistered, _: Origin) -> Sequence[AnyEvent]:
        """A spec is new or changed: its views follow."""
        await self._store.spec_changed(event.model)
        return ()

    async def sql(self, request: Request) -> Reply:
        """A `SqlQuery`; the answer is an Arrow IPC stream, compressed."""
        try:
            query = msgspec.msgpack.decode(request.payload, type=requests.SqlQuery)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            accepted = "a SqlQuery in MessagePack"
            raise InvalidInput(f"payload: {error}; accepted: {accepted}") from error
        answer = await self.ask(query)
        payload = _stream(answer)
        if len(payload) > self._max_payload:
            raise InvalidInput(
                f"sql: the answer's {answer.num_rows} rows are {len(payload) >> 20} MB; accepted: "
                f"{self._max_payload >> 20} MB; ask for fewer rows or columns"
            )
        return Reply(payload=payload, headers={headers.ROWS: str(answer.num_rows)})

    async def ask(self, query: requests.SqlQuery) -> pa.Table:
        """The rows of an answer."""
        try:
            answer = await self._store.ask(query.sql, query.max_rows)
        except Exception:
            ASKED.labels("no").inc()
            raise
        ASKED.labels("yes").inc()
        return answer


def _stream(answer: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, answer.schema, options=options) as writer:
        writer.write_table(answer)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload
