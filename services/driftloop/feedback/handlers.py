"""Feeds the logs into the joins and publishes what they say, as the single writer of OUTCOMES."""

import asyncio
import logging
import time

import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.follow import Follow
from driftloop.bus.messages import Delivered, batch_message
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import EVENT_TIME, UNMATCHED
from driftloop.contracts.errors import DriftloopError
from driftloop.feedback.domain.join import GivenUp, Join, Said
from driftloop.feedback.domain.waiting import Low
from driftloop.feedback.settings import FeedbackSettings
from driftloop.feedback.store import ModelJoin, rebuild
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

JOINED = metrics.counter("outcomes_rows", "Rows joined with their label", ["model"])
GIVEN_UP = metrics.counter("labels_unmatched_rows", "Labels given up", ["model"])
DUPLICATES = metrics.gauge("feedback_duplicate_rows", "Rows and labels that came again", ["model"])
EXPIRED = metrics.gauge(
    "feedback_expired_predictions_rows", "Predictions given up without a label", ["model"]
)


class Feedback:
    """The joins of all models, each fed in the order of the logs."""

    def __init__(self, bus: Bus, settings: FeedbackSettings) -> None:
        self._bus = bus
        self._settings = settings
        self._joins: dict[str, ModelJoin] = {}
        self._turn = asyncio.Lock()
        self._clocks: dict[str, float] = {"SCORED": 0.0, "LABELS": 0.0}
        self._read_to: dict[str, int] = {"SCORED": 1, "LABELS": 1, "ROWS": 1}
        self._ready = False

    def problem(self) -> str:
        """Not ready until the state is rebuilt."""
        return "" if self._ready else "rebuilding the join from the log"

    async def run(self) -> None:
        """Rebuild every model's join from the log, then follow it."""
        self._joins = await rebuild(self._bus)
        low = [j.low for j in self._joins.values()]
        self._ready = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                self._follow("SCORED", "scored.*.*", min((w.scored for w in low), default=1))
            )
            tasks.create_task(
                self._follow(
                    "LABELS", "labels.*.received.*", min((w.labels for w in low), default=1)
                )
            )
            tasks.create_task(
                self._follow(
                    "ROWS", "rows.*.quarantined.*", min((w.refused for w in low), default=1)
                )
            )
            tasks.create_task(self._report())

    async def _follow(self, stream: str, subject: str, start: int) -> None:
        follow: Follow = self._bus.follow(stream, (subject,), start)
        while not self._bus.stopping.is_set():
            group = await follow.read(most=64, timeout=0.5)
            async with self._turn:
                for message in group:
                    await self._message(message)
                self._read_to[stream] = follow.next_seq
                self._clocks[stream] = group[-1].time if group else time.time()
        await follow.close()

    async def _message(self, message: Delivered) -> None:
        try:
            joined = await self._join_of(message.model)
            batch = message.batch()
        except DriftloopError as error:
            log.warning("%s is left out: %s", message.position, error)
            return
        if message.seq < joined.start(message.stream):
            return
        said = _hear(joined, message, batch)
        if said.outcomes is not None:
            await self._say_outcomes(joined, message, said.outcomes)
        await self._say_given_up(joined, message, said.given_up)

    async def _join_of(self, model: str) -> ModelJoin:
        joined = self._joins.get(model)
        if joined is None:
            registered = await self._bus.spec(model)
            joined = self._joins[model] = ModelJoin(
                registered.spec, Join(registered.spec), Low(1, 1, 1, 1)
            )
        return joined

    async def _say_outcomes(
        self, joined: ModelJoin, cause: Delivered, outcomes: pa.RecordBatch
    ) -> None:
        """Publish one batch of outcomes, with all a successor needs to go on from here."""
        read_to = {**self._read_to, cause.stream: cause.seq + 1}
        low = joined.join.low(
            Low(read_to["SCORED"], read_to["LABELS"], read_to["ROWS"], joined.last_seq)
        )
        total = joined.total + outcomes.num_rows
        message = batch_message(
            subjects.outcomes(joined.model),
            outcomes,
            kind="outcomes",
            source=self._bus.service,
            msg_id=f"outcomes:{joined.model}:{joined.last_seq}",
            origin=cause.origin(),
            extra={
                headers.INPUT: cause.position,
                headers.TOTAL: str(total),
                headers.LOW: low.text(),
            },
        )
        joined.last_seq = await self._bus.publish_next(message, joined.last_seq)
        before, joined.total = joined.total, total
        joined.data_time = max(joined.data_time, _newest(outcomes))
        JOINED.labels(joined.model).inc(outcomes.num_rows)
        mark = joined.spec.triggers.new_data_rows
        if total // mark > before // mark:
            await self._bus.emit(joined.accumulated(), cause.origin())

    async def _say_given_up(
        self, joined: ModelJoin, cause: Delivered, given_up: list[GivenUp]
    ) -> None:
        if not given_up:
            return
        GIVEN_UP.labels(joined.model).inc(len(given_up))
        columns = list(zip(*given_up, strict=True))
        batch = pa.RecordBatch.from_arrays(
            [pa.array(c, pa.string()) for c in columns], schema=UNMATCHED
        )
        await self._bus.publish(
            [
                batch_message(
                    subjects.dead(self._bus.service, joined.model),
                    batch,
                    kind="labels.unmatched",
                    source=self._bus.service,
                    msg_id=f"unmatched:{cause.position}:{given_up[0].event_id}",
                    origin=cause.origin(),
                    extra={
                        headers.REASON: "labels without a prediction",
                        headers.ORIGIN: cause.position,
                    },
                )
            ]
        )

    async def _report(self) -> None:
        """Expire what waited too long, and say where each join stands."""
        while not self._bus.stopping.is_set():
            await asyncio.sleep(self._settings.report_seconds)
            async with self._turn:
                for joined in self._joins.values():
                    await self._expire(joined)
                    await self._bus.stat(joined.stats(self._read_to))
                    DUPLICATES.labels(joined.model).set(joined.join.duplicates)
                    EXPIRED.labels(joined.model).set(joined.join.expired_predictions)

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


def _hear(joined: ModelJoin, message: Delivered, batch: pa.RecordBatch) -> Said:
    join = joined.join
    if message.stream == "SCORED":
        return join.add_scored(batch, message.seq, message.time, joined.last_seq)
    if message.stream == "LABELS":
        return join.add_labels(batch, message.seq, message.time, joined.last_seq)
    return Said(None, join.refuse(batch.column(0).to_pylist(), message.seq))


def _newest(outcomes: pa.RecordBatch) -> int:
    return int(pa.compute.max(outcomes.column(EVENT_TIME.name).cast(pa.int64())).as_py())
