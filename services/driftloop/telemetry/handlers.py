"""Turns messages into rows, and waits with their acknowledgement until ClickHouse has them."""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

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
from driftloop.telemetry.domain.rows import Make, Part, Rows, together
from driftloop.telemetry.store import Store

ASKED = metrics.counter("telemetry_questions", "Questions in SQL", ["answered"])
ANSWERED = metrics.histogram("telemetry_question_seconds", "Time to answer a question in SQL")

GROUP: Final = 32
"""Messages taken at once: their rows are made together."""
AHEAD: Final = 15
"""Groups at a time: they wait for each other, so that few rows never keep many in the log. While
the rows of some are inserted, those of others are made.
"""
ACK_WAIT: Final = 10.0
"""After a crash, messages in hand come again this late; coming twice does no harm."""
PATIENCE: Final = 5.0
"""So long a group waits for a ClickHouse that is away, or behind, and then it goes back."""

Decode = Callable[[Delivered], Part | Rows]
"""What a message holds: a batch that becomes rows together with its like, or rows as they are."""


class Alike(NamedTuple):
    """Messages whose batches become rows of one table together; or one whose rows are made."""

    messages: list[Delivered]
    found: list[Part] | Rows

    def rows(self) -> Rows:
        """The rows of all of them. Raises `Reject`."""
        return together(self.found) if isinstance(self.found, list) else self.found

    def each(self) -> "list[Alike]":
        """The messages one by one."""
        if not isinstance(self.found, list):
            return [self]
        pairs = zip(self.messages, self.found, strict=True)
        return [Alike([message], [part]) for message, part in pairs]


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
        found: list[Alike] = []
        said: list[Outgoing] = []
        for message in messages:
            try:
                _sort_in(found, message, self._decode(message))
            except Reject as error:
                said.append(dead_letter(self._durable, message, str(error)))
        return said + await self._keep(found, hurry=len(messages) >= GROUP)

    async def _keep(self, groups: Sequence[Alike], *, hurry: bool) -> list[Outgoing]:
        """Write groups; one that is refused is written again message by message."""
        rows: list[tuple[Alike, Rows]] = []
        refused: list[tuple[Alike, str]] = []
        for group in groups:
            try:
                rows.append((group, group.rows()))
            except Reject as error:
                refused.append((group, str(error)))
        traced = [[m.trace for m in group.messages if m.trace] for group, _ in rows]
        reasons = await self._write([made for _, made in rows], traced, hurry)
        refused += [(g, why) for (g, _), why in zip(rows, reasons, strict=True) if why]
        said = [dead_letter(self._durable, g.messages[0], why) for g, why in refused if _alone(g)]
        again = [one for g, _ in refused if not _alone(g) for one in g.each()]
        return said + await self._keep(again, hurry=hurry) if again else said

    async def _available(self) -> None:
        """Wait for ClickHouse and for room, but once a group: its messages come singly after."""
        patience = PATIENCE if time.monotonic() >= self._impatient_until else 0.0
        try:
            await self._store.available(patience)
            await self._store.buffer.room(patience)
        except Retry as error:
            self._impatient_until = time.monotonic() + error.delay
            raise

    async def _write(
        self, found: Sequence[Rows], traced: Sequence[Sequence[str]], hurry: bool
    ) -> list[str]:
        try:
            return await self._store.buffer.write(found, traced, hurry=hurry)
        except Overloaded:
            raise
        except Retry as error:
            self._store.lost(error)
            raise


def _sort_in(groups: list[Alike], message: Delivered, found: Part | Rows) -> None:
    """Put a message to those like it: of the same kind, model and columns."""
    if not isinstance(found, Part):
        groups.append(Alike([message], found))
        return
    for group in reversed(groups):
        if isinstance(group.found, list) and found.is_like(group.found[0]):
            group.messages.append(message)
            group.found.append(found)
            return
    groups.append(Alike([message], [found]))


def _alone(group: Alike) -> bool:
    return len(group.messages) == 1


def work(store: Store, stream: str, durable: str, decode: Decode, *subjects: str) -> Work:
    """A durable consumer of `subjects` whose messages are kept."""
    keeper = Keeper(store, durable, decode)
    return Work(
        stream=stream,
        subjects=subjects,
        durable=durable,
        handler=keeper.keep,
        group=GROUP,
        ahead=AHEAD,
        ack_wait=ACK_WAIT,
    )


def row_batch(message: Delivered) -> Part:
    """Rows that passed the contract, or did not."""
    state = message.subject.split(".")[2]
    return _part(rows.valid if state == "valid" else rows.quarantined, message)


def label_batch(message: Delivered) -> Part:
    """Labels."""
    return _part(rows.labels, message)


def scored_batch(message: Delivered) -> Part:
    """Scored rows."""
    return _part(rows.scored, message)


def outcome_batch(message: Delivered) -> Part:
    """Outcomes."""
    return _part(rows.outcomes, message)


def _part(make: Make, message: Delivered) -> Part:
    return Part(make, message.model, message.seq, message.batch())


def event(message: Delivered) -> Rows:
    """A control event."""
    return records.decode_event(message.payload, message.headers, message.seq)


def stat(message: Delivered) -> Rows:
    """A measurement."""
    return records.decode_stat(message.payload, message.headers, message.seq)


def dead(message: Delivered) -> Part | Rows:
    """A dead letter, or labels that feedback gave up; none is refused, so none comes back."""
    if message.headers.get("content-type") == headers.ARROW:
        try:
            batch = message.batch()
            if batch.schema.names == UNMATCHED.names:
                return Part(rows.unmatched, message.model, message.seq, batch)
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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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
        began = time.perf_counter()
        try:
            answer = await self._store.ask(query.sql, query.max_rows)
        except Exception:
            ASKED.labels("no").inc()
            raise
        ASKED.labels("yes").inc()
        ANSWERED.observe(time.perf_counter() - began)
        return answer


def _stream(answer: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, answer.schema, options=options) as writer:
        writer.write_table(answer)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload
