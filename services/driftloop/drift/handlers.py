"""Feeds the logs into each champion's monitor and says what it finds."""

import asyncio
import logging
import time
from collections.abc import Hashable, Iterable
from functools import partial

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.contracts import subjects
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import DriftDetected, PerformanceDegraded
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import run_id
from driftloop.contracts.state import ModelState
from driftloop.contracts.stats import DriftScore
from driftloop.drift.domain.monitor import Monitor
from driftloop.drift.settings import DriftSettings
from driftloop.runtime import metrics
from driftloop.runtime.keyed import KeyedTasks, Start, Wanted

log = logging.getLogger(__name__)

ROWS = metrics.counter("drift_rows", "Rows looked at", ["model", "stream"])
ALARMS = metrics.counter("drift_alarms", "Alarms said", ["model", "detector"])

Found = DriftDetected | PerformanceDegraded


class Drift:
    """A monitor for every champion.

    A monitor is a fold over the log from the champion's promotion on: after a crash it is fed the
    same rows, and says only what it had not said.
    """

    def __init__(self, bus: Bus, settings: DriftSettings) -> None:
        self._bus = bus
        self._settings = settings
        self._tasks = KeyedTasks(bus, nudge="events.*.model.*")

    async def run(self) -> None:
        """Watch until the service stops."""
        await self._tasks.run(self._wanted)

    async def _wanted(self) -> Wanted:
        wanted: dict[Hashable, Start] = {}
        for model in await self._bus.models.keys():
            state = await self._bus.models.get(model)
            if state is not None and state.champion:
                key = (model, state.champion, state.champion_since_scored)
                wanted[key] = partial(self._watch, state)
        return wanted

    async def _watch(self, state: ModelState) -> None:
        model = state.model
        monitor = Monitor((await self._bus.spec(model)).spec, state.champion)
        last = {
            "SCORED": await self._last_said(model, DriftDetected.kind),
            "OUTCOMES": await self._last_said(model, PerformanceDegraded.kind),
        }
        async with asyncio.TaskGroup() as tasks:
            for stream, subject, start in (
                ("SCORED", subjects.scored(model), state.champion_since_scored),
                ("OUTCOMES", subjects.outcomes(model), state.champion_since_outcomes),
            ):
                tasks.create_task(self._follow(monitor, stream, subject, start, last[stream]))

    async def _follow(
        self, monitor: Monitor, stream: str, subject: str, start: int, last: Found | None
    ) -> None:
        follow = self._bus.follow(stream, (subject,), start)
        scored_at = 0.0
        try:
            async for group in follow.groups(self._bus.stopping):
                for message in group:
                    found = _unsaid(_look(monitor, stream, message), message.seq, last)
                    ROWS.labels(message.model, stream).inc(int(message.headers.get("dl-rows", "0")))
                    await self._say(message, found)
                if time.monotonic() - scored_at > self._settings.score_seconds:
                    scored_at = time.monotonic()
                    await self._scores(monitor, stream, group[-1])
        finally:
            await follow.close()

    async def _say(self, message: Delivered, found: Iterable[Found]) -> None:
        for event in found:
            ALARMS.labels(event.model, event.detector).inc()
            cause = message.origin()
            origin = Origin(
                correlation=run_id(event.event_id()),
                causation=cause.causation,
                traceparent=cause.traceparent,
            )
            await self._bus.emit(event, origin)

    async def _last_said(self, model: str, kind: str) -> Found | None:
        """The last alarm that was said: neither it nor those before it are said again."""
        last = await self._bus.log.last("EVENTS", subjects.event(model, kind))
        event = last.event() if last is not None else None
        return event if isinstance(event, DriftDetected | PerformanceDegraded) else None

    async def _scores(self, monitor: Monitor, stream: str, at: Delivered) -> None:
        for detector in monitor.detectors():
            if (detector.name == "loss") == (stream == "OUTCOMES"):
                await self._bus.stat(
                    DriftScore(
                        about=at.model,
                        detector=detector.name,
                        mean=detector.mean,
                        rows=detector.rows,
                        seq=at.seq,
                        data_time=0,
                    )
                )


def _look(monitor: Monitor, stream: str, message: Delivered) -> list[Found]:
    try:
        batch = message.batch()
    except Reject as error:
        log.warning("%s is left out: %s", message.position, error)
        return []
    if stream == "SCORED":
        return list(monitor.scored(batch, message.seq))
    return list(monitor.outcomes(batch, message.seq))


def _unsaid(found: list[Found], seq: int, last: Found | None) -> list[Found]:
    """What was not said before a restart: the same rows give the same alarms in the same order."""
    if last is None or seq > last.seq:
        return found
    ids = [event.event_id() for event in found]
    return found[ids.index(last.event_id()) + 1 :] if last.event_id() in ids else []
