"""The demo's replay in step with a running system: nothing is sent before all else is dealt with.

A running system works on several things at once, so which rows a new version is the first to answer
hangs on milliseconds. Here each slice of rows is scored, watched and decided on before its labels
are sent, and these are joined, watched, judged and decided on before the next slice.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import numpy as np
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.contracts import subjects
from driftloop.contracts.codec import decode_stat
from driftloop.contracts.state import ModelState
from driftloop.contracts.stats import Evidence, JoinStats, ServiceStats
from driftloop.contracts.subjects import CHECKS
from driftloop.local.demo.options import DemoOptions
from driftloop.local.demo.replay import Replay
from driftloop.local.demo.watch import Watch
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec

STEP_SECONDS = 60.0
WORKS = (*(("ROWS", durable) for durable in CHECKS.values()), ("ROWS", "inference-scored"))
DECIDERS = ("registry", "trainer", "validation")
ENVIRONMENT = {
    "DRIFTLOOP_DRIFT_STATS_SECONDS": "0.02",
    "DRIFTLOOP_FEEDBACK_REPORT_SECONDS": "0.02",
}
"""Settings of the services: they say where they stand at once."""


class Batch(NamedTuple):
    """A batch of a log: its sequence, rows, and newest event time (milliseconds)."""

    seq: int
    rows: int
    newest: int


class Standing:
    """Where the services say that they stand with one model."""

    def __init__(self, bus: Bus, spec: Spec) -> None:
        self._bus, self._model = bus, spec.name
        self.join = JoinStats(
            about=spec.name,
            outcomes_total=0,
            waiting_predictions=0,
            waiting_labels=0,
            scored_seq=0,
            labels_seq=0,
            data_time=0,
        )
        self.drift = {"SCORED": 0.0, "OUTCOMES": 0.0}
        """Rows that drift has looked at, those of earlier champions included."""
        self.evidence: dict[tuple[str, str], int] = {}
        self.batches: dict[str, list[Batch]] = {"SCORED": [], "OUTCOMES": []}

    async def follow(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stats())
            tasks.create_task(self._log("SCORED", subjects.scored(self._model)))
            tasks.create_task(self._log("OUTCOMES", subjects.outcomes(self._model)))

    async def _stats(self) -> None:
        names = (
            subjects.stats(JoinStats.kind, self._model),
            subjects.stats(Evidence.kind, self._model),
            subjects.stats(ServiceStats.kind, "drift"),
        )
        follow = self._bus.follow("STATS", names, 1)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                self._heard(decode_stat(message.payload))

    def _heard(self, stat: object) -> None:
        if isinstance(stat, JoinStats):
            self.join = stat
        elif isinstance(stat, ServiceStats):
            for stream in self.drift:
                name = f"driftloop_drift_rows_total{{model={self._model},stream={stream}}}"
                self.drift[stream] = stat.counters.get(name, 0.0)
        elif isinstance(stat, Evidence):
            self.evidence[stat.run, stat.role] = stat.data_time

    async def _log(self, stream: str, subject: str) -> None:
        follow = self._bus.follow(stream, (subject,), 1)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                times = message.batch().column("event_time").cast(pa.int64()).to_numpy()
                batch = Batch(message.seq, len(times), int(np.max(times)))
                self.batches[stream].append(batch)


class LockstepReplay(Replay):
    """Sends the rows of a slice, and its labels, each when all services are done with the last."""

    def __init__(
        self,
        client: Client,
        watch: Watch,
        spec: Spec,
        table: pa.Table,
        options: DemoOptions,
        *,
        bus: Bus,
        standing: Standing,
        inference: httpx.AsyncClient,
    ) -> None:
        super().__init__(client, watch, spec.name, table, options)
        self._spec, self._bus, self._standing = spec, bus, standing
        self._seen = watch
        self._inference = inference
        self._watched_from: dict[str, int] = {}

    async def _send_rows(self, clock: int) -> None:
        before = self.progress.rows
        await super()._send_rows(clock)
        if self.progress.rows > before:
            await self.settled()

    async def _send_labels(self, clock: int) -> None:
        before = self.progress.labels
        await super()._send_labels(clock)
        if self.progress.labels > before:
            await self.settled()

    async def settled(self) -> None:
        """Wait until every service is done with all there is."""
        deadline = time.monotonic() + STEP_SECONDS
        clean = 0
        while clean < 3:  # a verdict follows its last evidence at once, but after it
            events = await self._bus.log.last_seq("EVENTS")
            why = await self._behind()
            still = events == await self._bus.log.last_seq("EVENTS")
            clean = clean + 1 if not why and still else 0
            assert time.monotonic() < deadline, why
            if why:
                await asyncio.sleep(0.002)

    async def _behind(self) -> str:
        """What is not done yet; empty if all is."""
        log, standing = self._bus.log, self._standing
        for stream, durable in WORKS:
            if await log.lag(stream, durable):
                return durable
        last = {s: await log.last_seq(s) for s in ("SCORED", "LABELS", "OUTCOMES", "EVENTS")}
        joined = (standing.join.scored_seq, standing.join.labels_seq, standing.join.outcomes_total)
        if joined != (last["SCORED"], last["LABELS"], self._seen.outcomes):
            return f"join: {joined} of {last}"
        heard = (self._seen.settled, len(self._seen.events))
        if heard != (self.progress.labels, last["EVENTS"]):
            return f"the watch: {heard}"
        for stream, batches in standing.batches.items():
            if len(batches) != last[stream]:
                return stream
        for durable in DECIDERS:
            if await log.lag("EVENTS", durable):
                return durable
        state = (await self._bus.models.read(self._spec.name)).value
        if state is None:
            return ""
        return next(self._left(state), "") or await self._not_answering(state)

    def _left(self, state: ModelState) -> Iterator[str]:
        if state.champion and not self._watched_from:
            self._watched_from = {
                "SCORED": state.champion_since_scored,
                "OUTCOMES": state.champion_since_outcomes,
            }
        for stream, start in self._watched_from.items():
            batches, seen = self._standing.batches[stream], self._standing.drift[stream]
            rows = sum(batch.rows for batch in batches if batch.seq >= start)
            if seen < rows:
                yield f"drift: {seen:g} of {rows} rows of {stream}"
        for shadow in state.shadows:
            batches = self._standing.batches["OUTCOMES"]
            times = [batch.newest for batch in batches if batch.seq >= shadow.from_seq]
            newest = max((t for t in times if t > shadow.from_time), default=0)
            if self._standing.evidence.get((shadow.run, shadow.role), 0) < newest:
                yield f"live gate of {shadow.version}"
        cooldown = durations.milliseconds(self._spec.triggers.cooldown)
        due = self._standing.join.data_time >= state.last_run_data_time + cooldown
        if state.deferred is not None and state.run is None and due:
            yield "a trigger that waited"
        if state.outbox:
            yield "outbox"

    async def _not_answering(self, state: ModelState) -> str:
        said = (await self._inference.get(f"/v1/models/{self._spec.name}")).json()
        wanted = (state.champion, sorted(shadow.version for shadow in state.shadows))
        found = (said["champion"], sorted(said["shadows"]))
        return "" if found == wanted else f"inference: {found}, not {wanted}"
