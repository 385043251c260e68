"""Feeds the logs into the joins and publishes what they say, as the single writer of OUTCOMES.

Whatever is published is conditional on the last sequence of its subject: an owner that has been
overtaken while it was paused is told so at its first word, whichever that is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import pyarrow as pa
from msgspec import structs

from driftloop.bus.bus import Bus
from driftloop.bus.follow import Follow
from driftloop.bus.messages import Delivered, batch_message, event_message
from driftloop.bus.ownership import Term
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import EVENT_TIME, UNMATCHED
from driftloop.contracts.columns import check_ids, check_labels, check_scored
from driftloop.contracts.errors import DriftloopError, Retry
from driftloop.contracts.headers import Origin
from driftloop.feedback.domain.join import GivenUp, Joined
from driftloop.feedback.domain.waiting import Low
from driftloop.feedback.settings import FeedbackSettings
from driftloop.feedback.store import ModelJoin, rebuild
from driftloop.runtime import metrics, traces

log = logging.getLogger(__name__)

JOINED = metrics.counter("outcomes_rows", "Rows joined with their label", ["model"])
GIVEN_UP = metrics.counter("labels_unmatched_rows", "Labels given up", ["model"])
DUPLICATES = metrics.counter(
    "feedback_duplicate_rows", "Rows and labels that came again", ["model"]
)
EXPIRED = metrics.counter(
    "feedback_expired_predictions_rows", "Predictions given up without a label", ["model"]
)
OWNED = metrics.gauge("feedback_partitions", "Partitions of the models owned here")

OUTCOME_ROWS: Final = 1_024
"""Most rows of one batch of outcomes: training sets are cut at their boundaries."""
GIVEN_UP_BYTES: Final = 1 << 20
CHECKS: Final = {"SCORED": check_scored, "LABELS": check_labels, "ROWS": check_ids}
"""Raise `Reject` for a batch that cannot be one of the stream's."""

T = TypeVar("T")


class Feedback:
    """The joins of the models of one partition, for one term of owning it."""

    def __init__(self, bus: Bus, settings: FeedbackSettings, term: Term) -> None:
        self._bus = bus
        self._settings = settings
        self._term = term
        self._joins: dict[str, ModelJoin] = {}
        self._turn = asyncio.Lock()
        self._clocks: dict[str, float] = {"SCORED": 0.0, "LABELS": 0.0}
        self._read_to: dict[str, int] = {"SCORED": 1, "LABELS": 1, "ROWS": 1}
        self._scored = traces.Remembered()

    async def run(self) -> None:
        """Rebuild every model's join from the log, then follow it. Raises `Conflict` (alone or in
        a group) when another owner has written meanwhile: all that is known here is void then.
        """
        with OWNED.track_inprogress():
            await self._run()

    async def _run(self) -> None:
        self._joins = await rebuild(self._bus, self._term.has)
        self._term.ready = True
        async with asyncio.TaskGroup() as tasks:
            for stream, subject in (
                ("SCORED", "scored.*.*"),
                ("LABELS", "labels.*.received.*"),
                ("ROWS", "rows.*.quarantined.*"),
            ):
                start = min((j.low.of(stream) for j in self._joins.values()), default=1)
                self._read_to[stream] = start
                tasks.create_task(self._follow(stream, subject, start))
            tasks.create_task(self._report())

    async def _follow(self, stream: str, subject: str, start: int) -> None:
        follow: Follow = self._bus.follow(stream, (subject,), start)
        try:
            while not self._term.over.is_set():
                group = await follow.read(most=64, timeout=0.5)
                if group:
                    clock, read_to = group[-1].time, follow.next_seq
                else:
                    clock, read_to = await self._idle(stream, subject, follow.next_seq)
                async with self._turn:
                    for message in filter(self._is_ours, group):
                        await self._message(message)
                        await asyncio.sleep(0)  # the lease is renewed, however much there is
                    self._read_to[stream] = max(read_to, self._read_to[stream])
                    self._clocks[stream] = max(clock, self._clocks.get(stream, 0.0))
        finally:
            self._term.over.set()  # where one ends, all do
            await follow.close()

    def _is_ours(self, message: Delivered) -> bool:
        return self._term.has(message.model)

    async def _idle(self, stream: str, subject: str, next_seq: int) -> tuple[float, int]:
        """The clock of a log without news and where it ends, unless there is something unread.

        The clock is the broker's. Ours may be off: what waits would be given up too early, or too
        late. The end counts as read, or messages of other subjects could never leave the log.
        """
        try:
            end = await self._bus.log.end(stream)
            unread = await self._bus.log.at_or_after(stream, subject, next_seq)
        except Retry:
            return 0.0, next_seq
        return (end.time, end.seq + 1) if unread is None else (0.0, next_seq)

    async def _message(self, message: Delivered) -> None:
        try:
            joined = await self._until_done(lambda: self._join_of(message.model))
            batch = CHECKS[message.stream](message.batch())
        except DriftloopError as error:
            log.warning("%s is left out: %s", message.position, error)
            return
        if message.seq < joined.low.of(message.stream):
            return
        if message.stream == "SCORED":
            self._scored.keep(message.seq, message.origin().traceparent)
        before = joined.join.low(joined.heard({**self._read_to, message.stream: message.seq}))
        said = _hear(joined, message, batch)
        # What is given up comes first: once the outcomes are out, a successor starts after them.
        await self._say_given_up(joined, message, said.given_up)
        if said.outcomes is not None:
            await self._say_outcomes(joined, message, said, said.outcomes, before)

    async def _until_done(self, doing: Callable[[], Awaitable[T]]) -> T:
        """Try until the broker answers: a message left out would be a wrong join."""
        while True:
            try:
                return await doing()
            except Retry as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(error.delay)

    async def _join_of(self, model: str) -> ModelJoin:
        registered = await self._bus.spec(model)
        joined = self._joins.get(model)
        if joined is None:
            joined = self._joins[model] = ModelJoin.new(registered)
        joined.adopt(registered)
        return joined

    async def _say_outcomes(
        self,
        joined: ModelJoin,
        cause: Delivered,
        said: Joined,
        outcomes: pa.RecordBatch,
        before: Low,
    ) -> None:
        """Publish outcomes in batches; up to the last one the cause has to be heard again."""
        here = {**self._read_to, cause.stream: cause.seq}
        after = {**self._read_to, cause.stream: cause.seq + 1}
        for start in range(0, outcomes.num_rows, OUTCOME_ROWS):
            stop = start + OUTCOME_ROWS
            part = outcomes.slice(start, OUTCOME_ROWS)
            if stop < outcomes.num_rows:
                at = (before, joined.read_up_to(here))
            else:
                at = (joined.join.low(joined.heard(after)), joined.read_up_to(after))
            inputs = self._inputs(cause, said, start, stop)
            with traces.span("join", *inputs, model=joined.model, rows=part.num_rows) as span:
                within = structs.replace(cause, trace=span.traceparent)
                await self._say_part(joined, within, part, at)

    def _inputs(self, cause: Delivered, said: Joined, start: int, stop: int) -> list[str]:
        """Trace contexts of what these outcomes are made of. The trace of the rows goes on; that of
        the labels is linked.
        """
        scored = self._scored.of(said.scored(start, stop)) if self._scored else []
        return [*scored, cause.origin().traceparent]

    async def _say_part(
        self, joined: ModelJoin, cause: Delivered, outcomes: pa.RecordBatch, at: tuple[Low, Low]
    ) -> None:
        """Publish one batch of outcomes, with all a successor needs to go on from here."""
        low, read = at
        total = joined.total + outcomes.num_rows
        message = batch_message(
            subjects.outcomes(joined.model),
            outcomes,
            kind="outcomes",
            source=self._bus.service,
            # Of this term alone: another owner's message in the same place may have other rows.
            msg_id=f"outcomes:{joined.model}:{joined.last_seq}:{self._term.id}",
            origin=cause.origin(),
            extra={
                headers.INPUT: cause.position,
                headers.TOTAL: str(total),
                headers.LOW: low.text(),
                headers.READ: read.text(),
            },
        )
        joined.last_seq = await self._bus.publish_next(message, joined.last_seq)
        before, joined.total = joined.total, total
        joined.data_time = max(joined.data_time, _newest(outcomes))
        JOINED.labels(joined.model).inc(outcomes.num_rows)
        if joined.mark(total) > joined.mark(before):
            await self._say_accumulated(joined, cause.origin())

    async def _say_accumulated(self, joined: ModelJoin, origin: Origin) -> None:
        passed = joined.accumulated()
        message = event_message(passed, source=self._bus.service, origin=origin)
        joined.last_mark = await self._bus.publish_next(message, joined.last_mark)

    async def _say_given_up(
        self, joined: ModelJoin, cause: Delivered, given_up: list[GivenUp]
    ) -> None:
        if not given_up:
            return
        GIVEN_UP.labels(joined.model).inc(len(given_up))
        columns = [pa.array(c, pa.string()) for c in zip(*given_up, strict=True)]
        read = joined.read_up_to({**self._read_to, cause.stream: cause.seq + 1})
        for part in _parts(pa.RecordBatch.from_arrays(columns, schema=UNMATCHED)):
            await self._say_unmatched(joined, cause, part, read)

    async def _say_unmatched(
        self, joined: ModelJoin, cause: Delivered, part: pa.RecordBatch, read: Low
    ) -> None:
        message = batch_message(
            subjects.dead(self._bus.service, joined.model),
            part,
            kind="labels.unmatched",
            source=self._bus.service,
            msg_id=f"unmatched:{joined.model}:{joined.last_given_up}:{self._term.id}",
            origin=cause.origin(),
            extra={
                headers.REASON: "labels without a prediction",
                headers.ORIGIN: cause.position,
                headers.READ: read.text(),
            },
        )
        joined.last_given_up = await self._bus.publish_next(message, joined.last_given_up)

    async def _report(self) -> None:
        """Expire what waited too long, and say where each join stands."""
        while not self._term.over.is_set():
            await asyncio.sleep(self._settings.report_seconds)
            async with self._turn:
                for joined in self._joins.values():
                    await self._expire(joined)
                    await self._bus.stat(joined.stats(self._read_to))
                    _count(joined)

    async def _expire(self, joined: ModelJoin) -> None:
        given_up = joined.join.expire(self._clocks["SCORED"], self._clocks["LABELS"])
        if given_up:
            seq = self._read_to["LABELS"] - 1
            at = Delivered(
                subject=subjects.labels(joined.model),
                payload=b"",
                headers={},
                stream="LABELS",
                seq=seq,
            )
            await self._say_given_up(joined, at, given_up)


def _hear(joined: ModelJoin, message: Delivered, batch: pa.RecordBatch) -> Joined:
    join, said = joined.join, joined.said(message.stream, message.seq)
    if message.stream == "SCORED":
        return join.add_scored(batch, message.seq, message.time, said)
    if message.stream == "LABELS":
        return join.add_labels(batch, message.seq, message.time, said)
    return Joined(None, join.refuse(batch.column(0).to_pylist(), message.seq))


def _count(joined: ModelJoin) -> None:
    """Count what has come again, or was given up, since the last time."""
    before, now = joined.counted, (joined.join.duplicates, joined.join.expired_predictions)
    DUPLICATES.labels(joined.model).inc(now[0] - before[0])
    EXPIRED.labels(joined.model).inc(now[1] - before[1])
    joined.counted = now


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Rows in batches that a message can carry, however long their reasons are."""
    if batch.num_rows > 1 and batch.nbytes > GIVEN_UP_BYTES:
        half = batch.num_rows // 2
        yield from _parts(batch.slice(0, half))
        yield from _parts(batch.slice(half))
    else:
        yield batch


def _newest(outcomes: pa.RecordBatch) -> int:
    return int(outcomes.column(EVENT_TIME.name).cast(pa.int64()).to_numpy().max())
