"""Replays a world through a running system, and audits what the system made of it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.bus.rights import CLIENT, OPERATOR
from driftloop.cli.models import health
from driftloop.client.client import Client
from driftloop.contracts import headers, subjects
from driftloop.contracts.errors import Retry
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.state import ModelState
from driftloop.local.demo import report
from driftloop.local.demo.options import DemoOptions
from driftloop.local.demo.replay import Progress, Replay
from driftloop.local.demo.run import DURABLES
from driftloop.local.demo.watch import Watch
from driftloop.local.up import register
from tests.support.flows import held
from tests.support.telemetry import Row, ask
from tests.support.world import BOOTSTRAP_ROWS, world, world_spec

STEP_SECONDS = 60.0
DRAIN_SECONDS = 45.0
JUDGED_SECONDS = 0.2
"""Pause after each slice while a shadow is judged: which version answers changes in wall time, and
rows must be left to judge by when a service that was killed is back.
"""

Step = tuple[int, str, int]
"""After so many rows the replay waits until a kind of event has been said so many times."""


def steps(change: int) -> list[Step]:
    """Where the loop needs wall time, which a fast replay has to leave it.

    The first model comes from `BOOTSTRAP_ROWS` labelled rows; the second run begins two days (2,880
    rows) after the first one began, and has then enough rows since the change.
    """
    return [
        (BOOTSTRAP_ROWS + 300, "run.finished", 1),
        (change + 600, "performance.degraded", 1),
        (BOOTSTRAP_ROWS + 300 + 2_880 + 120, "shadow.started", 1),
    ]


class SteppedReplay(Replay):
    """A replay that waits for the loop at some rows, so that it goes alike on any machine."""

    def __init__(
        self,
        bus: Bus,
        client: Client,
        watch: Watch,
        model: str,
        table: pa.Table,
        wait_for: Sequence[Step],
    ) -> None:
        super().__init__(client, watch, model, table, DemoOptions(slice_hours=2.0))
        self._bus = bus
        self._named = model
        self._seen = watch
        self._steps = list(wait_for)

    async def run(self) -> None:
        """Replay everything, and see the second run through to its end."""
        await super().run()
        await said(self._seen, "run.finished", 2)

    async def _hold(self) -> None:
        await super()._hold()
        while self._steps and self.progress.rows >= self._steps[0][0]:
            await said(self._seen, *self._steps.pop(0)[1:])
            await answers(self._bus, self._named)
        if not self._steps and times(self._seen, "run.finished") < 2:
            await asyncio.sleep(JUDGED_SECONDS)


async def said(watch: Watch, kind: str, often: int) -> None:
    """Wait until events of this kind have been said so often."""
    deadline = time.monotonic() + STEP_SECONDS
    while times(watch, kind) < often:
        heard = dict(Counter(event.kind for event, _ in watch.events))
        what = f"{kind} {often} times within {STEP_SECONDS:g} s"
        assert time.monotonic() < deadline, f"not {what}: {heard}"
        await asyncio.sleep(0.02)


async def answers(bus: Bus, model: str) -> None:
    """Wait until inference has loaded a version of the model: a promotion is said before that."""
    deadline = time.monotonic() + STEP_SECONDS
    async with httpx.AsyncClient() as http:
        while True:
            # The service or the broker may be the one that is killed just now.
            with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, Retry):
                its = await health(bus, "inference")
                if (await http.get(f"{its.url}/v2/models/{model}/ready")).status_code == 200:
                    return
            assert time.monotonic() < deadline, f"nobody answers within {STEP_SECONDS:g} s"
            await asyncio.sleep(0.02)


def times(watch: Watch, kind: str) -> int:
    """How often events of this kind have been said."""
    return sum(event.kind == kind for event, _ in watch.events)


@dataclass(slots=True)
class Replaying:
    """A replay under way or done: what was sent, and what came of it."""

    model: str
    bus: Bus
    watch: Watch
    replay: SteppedReplay

    @property
    def progress(self) -> Progress:
        """Rows and labels sent."""
        return self.replay.progress

    @property
    def events(self) -> list[AnyEvent]:
        """The control events in order."""
        return [event for event, _ in self.watch.events]


@asynccontextmanager
async def replaying(
    url: str, model: str, *, rows: int, change: int, registered: bool = False, keys: str = ""
) -> AsyncIterator[Replaying]:
    """A replay of `world` that is ready to run, with somebody watching."""
    bus = await Bus.open(url, "test", layout=Layout(), keys=keys, user=OPERATOR)
    if not registered:
        await register(bus, [world_spec(model)], by="test")
    watch = Watch(bus, model)
    watching = asyncio.create_task(watch.follow())
    try:
        async with Client(url, key=keys and f"{keys}/{CLIENT}.nk", timeout=1.0) as client:
            replay = SteppedReplay(bus, client, watch, model, world(rows, change), steps(change))
            yield Replaying(model, bus, watch, replay)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await bus.close()


async def drained(bus: Bus) -> None:
    """Wait until telemetry has written everything."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for stream, durable in DURABLES:
        while left := await bus.log.lag(stream, durable):
            assert time.monotonic() < deadline, f"{durable} has {left} messages left"
            await asyncio.sleep(0.1)


async def audit(done: Replaying) -> dict[str, int]:
    """Check that everything is accounted for; returns the counts of ClickHouse."""
    await drained(done.bus)
    found = await report.counts(done.bus, done.model)
    logged = {
        "valid": await _rows(done.bus, "ROWS", subjects.rows(done.model, "valid", "*")),
        "quarantined": await _rows(done.bus, "ROWS", subjects.rows(done.model, "quarantined", "*")),
        "scored": await _rows(done.bus, "SCORED", subjects.scored(done.model)),
        "outcomes": await _rows(done.bus, "OUTCOMES", subjects.outcomes(done.model)),
    }
    assert {name: found[name] for name in logged} == logged
    sent = done.progress
    assert sent.rows == sent.total == found["valid"] + found["quarantined"]
    assert found["scored"] == found["valid"]
    assert sent.labels == done.watch.outcomes + done.watch.unmatched
    assert (found["outcomes"], found["pending"]) == (done.watch.outcomes, 0)
    assert report.closes(sent, done.watch, found)
    await _audit_outcomes(done)
    await _audit_events(done)
    assert await dead_letters(done.bus, done.model) == []
    return found


async def dead_letters(bus: Bus, model: str) -> list[Row]:
    """The messages some service could not use."""
    return await ask(bus, f"SELECT * FROM dead FINAL WHERE model = '{model}'")


async def _rows(bus: Bus, stream: str, subject: str) -> int:
    return sum(int(message.headers[headers.ROWS]) for message in await held(bus, stream, subject))


async def _audit_outcomes(done: Replaying) -> None:
    """Each row is joined once, and the running totals are those of the rows."""
    total, ids = 0, list[str]()
    for message in await held(done.bus, "OUTCOMES", subjects.outcomes(done.model)):
        batch = message.batch()
        total += batch.num_rows
        ids += batch.column("event_id").to_pylist()
        assert int(message.headers[headers.TOTAL]) == total, message.position
    assert len(set(ids)) == len(ids) == total


async def _audit_events(done: Replaying) -> None:
    """Each fact is in the audit trail once, each run ends in one verdict, one version answers."""
    deadline = time.monotonic() + STEP_SECONDS
    while True:  # a run in progress, whose next event may be on its way, does not end here
        state = await state_of(done.bus, done.model)
        messages = await held(done.bus, "EVENTS", subjects.event(done.model, ">"))
        ids = [message.event_id for message in messages]
        watched = [message.event_id for _, message in done.watch.events]
        if (watched, state.outbox) == (ids, ()) and state == await state_of(done.bus, done.model):
            break
        assert time.monotonic() < deadline, (watched, ids, state.outbox)
        await asyncio.sleep(0.05)
    assert [e for e, times in Counter(ids).items() if times > 1] == []
    runs = Counter[str]()
    for event in (message.event() for message in messages):
        if event.kind in ("retrain.requested", "run.finished"):
            runs[f"{event.kind} {getattr(event, 'run', '')}"] += 1
    assert set(runs.values()) == {1}
    asked, ended = (
        {name.split()[1] for name in runs if name.startswith(kind)} for kind in ("retrain", "run.")
    )
    in_progress = {state.run.id} if state.run else set()
    assert asked - ended == in_progress
    assert ended <= asked
    _audit_champion(done, state)


def _audit_champion(done: Replaying, state: ModelState) -> None:
    """One version is the champion, and all agree on which; shadows belong to a run in progress."""
    champions = [v for v, version in state.versions.items() if version.stage == "champion"]
    assert champions == [state.champion] == [done.watch.champion]
    in_progress = {state.run.id} if state.run else set()
    assert {shadow.run for shadow in state.shadows} <= in_progress


async def state_of(bus: Bus, model: str) -> ModelState:
    """The registry's state of a model."""
    state = (await bus.models.read(model)).value
    assert state is not None
    return state


def of_kind(done: Replaying, kind: str) -> list[Any]:
    """The events of one kind."""
    return [event for event in done.events if event.kind == kind]
