"""Feeds the logs into each champion's monitor and says what it finds.

An alarm is published on condition that it comes after the last one known here: an owner that has
been overtaken while it was paused says none.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, event_message
from driftloop.bus.ownership import Term
from driftloop.contracts import subjects
from driftloop.contracts.columns import check_outcomes, check_scored
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import Alarm, DriftDetected, LabelsShifted, PerformanceDegraded
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import run_id
from driftloop.contracts.state import ModelState
from driftloop.contracts.stats import DriftScore
from driftloop.drift.counting import ALARMS, EVIDENCE, LEFT_OUT, OWNED, ROWS
from driftloop.drift.domain.monitor import Found, Monitor
from driftloop.drift.feed import Feed
from driftloop.drift.settings import DriftSettings
from driftloop.drift.store import Snapshots
from driftloop.runtime.keyed import KeyedTasks, Start, Wanted

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often it is looked which champions are to be watched here."""

KINDS = {
    "SCORED": (DriftDetected.kind,),
    "OUTCOMES": (PerformanceDegraded.kind, LabelsShifted.kind),
}
"""What is found in each stream: so the last one said of a kind tells how far that was said."""
CHECKS = {"SCORED": check_scored, "OUTCOMES": check_outcomes}
"""Raise `Reject` for a batch that cannot be one of the stream's."""


@dataclass(slots=True)
class Said:
    """The last alarm of one kind, and its sequence: neither it nor those before are said again."""

    event: Alarm | None
    seq: int


@dataclass(slots=True, eq=False)
class Fed:
    """A monitor, and the next message of each stream that it is to be fed.

    `turn` is held from feeding a message until what it made the monitor find is said: who holds it
    may take a snapshot of the monitor.
    """

    monitor: Monitor
    revision: int
    next_seq: dict[str, int]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, eq=False)
class Watch:
    """A term of owning a partition, and the tasks that watch its models until their event is set.

    Each is cancelled as well, but a cancellation alone may get lost; see `Term`.
    """

    term: Term
    tasks: dict[asyncio.Task[Any], asyncio.Event] = field(default_factory=dict)

    async def end(self) -> None:
        """End all that watches, and wait until it has ended."""
        tasks = dict(self.tasks)
        for task, over in tasks.items():
            over.set()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Drift:
    """A monitor for every champion of the partitions that are owned here.

    A monitor is a fold over the log from the champion's promotion on: after a crash it is fed the
    rows since its last snapshot again, and says only what it had not said.
    """

    def __init__(self, bus: Bus, settings: DriftSettings) -> None:
        self._bus = bus
        self.score_seconds = settings.score_seconds
        self.snapshot_seconds = settings.snapshot_seconds
        self._snapshots = Snapshots(bus)
        self._tasks = KeyedTasks(bus, nudge="events.*.model.*", look_seconds=LOOK_SECONDS)
        self._watches: dict[str, Watch] = {}
        self._changes = bus.models.changes()
        self._champions: dict[str, ModelState] = {}
        self._feeds = {
            "SCORED": Feed(bus, "SCORED", "scored.*.*"),
            "OUTCOMES": Feed(bus, "OUTCOMES", "outcomes.*.*"),
        }
        self._turn = asyncio.Lock()
        """One message at a time, with a pause before each: leases are renewed in time, however
        much there is to read."""

    async def run(self) -> None:
        """Watch until the service stops."""
        async with asyncio.TaskGroup() as tasks:
            for feed in self._feeds.values():
                tasks.create_task(feed.run())
            tasks.create_task(self._tasks.run(self._wanted))

    async def own(self, term: Term) -> None:
        """Watch the models of a partition as long as it is owned."""
        watch = self._watches[term.id] = Watch(term)
        with OWNED.track_inprogress():
            try:
                await term.over.wait()
            finally:
                del self._watches[term.id]
                await watch.end()

    async def _wanted(self) -> Wanted:
        for model, state in (await self._changes.next()).items():
            self._champions.pop(model, None)
            if state is not None and state.champion:
                self._champions[model] = state
        wanted: dict[Hashable, Start] = {}
        watches = list(self._watches.values())
        for model, state in self._champions.items():
            watch = next((w for w in watches if w.term.has(model)), None)
            if watch is not None:
                key = (watch.term.id, model, state.champion, state.champion_since_scored)
                wanted[key] = partial(self._within, watch, state)
        for watch in watches:
            watch.term.ready = True
        return wanted

    async def _within(self, watch: Watch, state: ModelState) -> None:
        """Watch one champion until the term ends."""
        task = asyncio.current_task()
        if task is None or watch.term.id not in self._watches:
            return
        over = watch.tasks[task] = asyncio.Event()
        try:
            await self._watch(state, over)
        finally:
            del watch.tasks[task]
            for gauge in (EVIDENCE, LEFT_OUT):
                gauge.remove_by_labels({"model": state.model})

    async def _watch(self, state: ModelState, over: asyncio.Event) -> None:
        model, registered = state.model, await self._bus.spec(state.model)
        monitor, kept = await self._snapshots.monitor(registered, state.champion)
        starts = {
            "SCORED": max(state.champion_since_scored, kept.get("SCORED", 0)),
            "OUTCOMES": max(state.champion_since_outcomes, kept.get("OUTCOMES", 0)),
        }
        fed = Fed(monitor, registered.revision, starts)
        for kind in chain.from_iterable(KINDS.values()):
            ALARMS.labels(model, kind)  # 0 is told, so that the first one is a rise
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(model, fed, over))
            for stream, subject in (
                ("SCORED", subjects.scored(model)),
                ("OUTCOMES", subjects.outcomes(model)),
            ):
                last = {kind: await self._last_said(model, kind) for kind in KINDS[stream]}
                handle = _Handle(self, fed, stream, last)
                tasks.create_task(self._read(stream, subject, starts[stream], handle, over))

    async def _keep(self, model: str, fed: Fed, over: asyncio.Event) -> None:
        """Keep a snapshot now and then."""
        saved = dict(fed.next_seq)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self.snapshot_seconds)
            if fed.next_seq != saved:
                async with fed.turn:
                    saved = dict(fed.next_seq)
                    made = fed.monitor.snapshot(fed.revision, saved)
                await self._snapshots.save(model, made)

    async def _read(
        self, stream: str, subject: str, start: int, handle: "_Handle", over: asyncio.Event
    ) -> None:
        try:
            await self._feeds[stream].read(subject, start, handle.message, over)
        finally:
            over.set()  # where one ends, both do

    async def look(self, fed: Fed, stream: str, message: Delivered, last: dict[str, Said]) -> None:
        """Feed a message into a monitor, and say what it found."""
        async with fed.turn:
            async with self._turn:
                await asyncio.sleep(0)
                found = _look(fed.monitor, stream, message)
            for kind, said in last.items():
                of_kind = [event for event in found if event.kind == kind]
                await self._say(message, _unsaid(of_kind, message.seq, said.event), said)
            # Only now: rows that are counted are rows whose alarms are said.
            told = message.headers.get("dl-rows", "")
            ROWS.labels(message.model, stream).inc(int(told) if told.isdecimal() else 0)
            fed.next_seq[stream] = message.seq + 1

    async def scores(self, monitor: Monitor, stream: str, at: Delivered) -> None:
        """Say where the signals stand, and what loss is to be expected."""
        estimates = monitor.estimates
        LEFT_OUT.labels(at.model).set(estimates.skipped + estimates.dropped)
        expected = estimates.stat() if stream == "SCORED" else None
        if expected is not None:
            await self._bus.stat(expected)
        for group, share in monitor.evidence(stream):
            EVIDENCE.labels(at.model, group).set(share)
        for standing in monitor.standing(stream):
            await self._bus.stat(
                DriftScore(
                    about=at.model,
                    detector=standing.name,
                    mean=standing.mean,
                    evidence=standing.evidence,
                    rows=standing.rows,
                    seq=at.seq,
                    data_time=0,
                )
            )

    async def _say(self, message: Delivered, found: Iterable[Found], last: Said) -> None:
        """Say alarms; raises `Conflict` when another owner has said one meanwhile."""
        for event in found:
            cause = message.origin()
            origin = Origin(
                correlation=run_id(event.event_id()),
                causation=cause.causation,
                traceparent=cause.traceparent,
            )
            said = event_message(event, source=self._bus.service, origin=origin)
            last.seq = await self._bus.publish_next(said, last.seq)
            ALARMS.labels(event.model, event.kind).inc()

    async def _last_said(self, model: str, kind: str) -> Said:
        last = await self._bus.log.last("EVENTS", subjects.event(model, kind))
        try:
            event = last.event() if last is not None else None
        except Reject as error:  # nobody of ours said that
            log.warning("%s %s: %s", model, kind, error)
            event = None
        known = event if isinstance(event, Alarm) else None
        return Said(known, last.seq if last is not None else 0)


class _Handle:
    """What is done with each message of one stream for one monitor."""

    def __init__(self, drift: Drift, fed: Fed, stream: str, last: dict[str, Said]) -> None:
        self._drift = drift
        self._fed = fed
        self._stream = stream
        self._last = last
        self._scored_at = 0.0

    async def message(self, message: Delivered) -> None:
        await self._drift.look(self._fed, self._stream, message, self._last)
        if time.monotonic() - self._scored_at > self._drift.score_seconds:
            self._scored_at = time.monotonic()
            await self._drift.scores(self._fed.monitor, self._stream, message)


def _look(monitor: Monitor, stream: str, message: Delivered) -> list[Found]:
    try:
        batch = CHECKS[stream](message.batch())
    except Reject as error:
        log.warning("%s is left out: %s", message.position, error)
        return []
    if stream == "SCORED":
        return list(monitor.scored(batch, message.seq))
    return list(monitor.outcomes(batch, message.seq))


def _unsaid(found: list[Found], seq: int, last: Alarm | None) -> list[Found]:
    """What was not said before a restart: the same rows give the same alarms in the same order."""
    if last is None or seq > last.seq:
        return found
    ids = [event.event_id() for event in found]
    return found[ids.index(last.event_id()) + 1 :] if last.event_id() in ids else []
