"""Alarms at once, and with every batch: one run at a time, one a cool-down, each with an end."""

import asyncio
import random
from itertools import pairwise
from pathlib import Path

import pytest

from driftloop.bus.bus import Bus
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.contracts.state import ModelState
from driftloop.contracts.stats import JoinStats
from driftloop.local.nats import NatsServer
from tests.support.faults import Record
from tests.support.flows import eventually, held, process, register
from tests.support.loop import spec
from tests.unit.registry.keeper import DAY, MODEL, Keeper

HOUR = DAY // 24
DAYS = 4
NOTHING = dict.fromkeys(
    ("outcomes_total", "waiting_predictions", "waiting_labels", "scored_seq", "labels_seq"), 0
)


async def live(bus: Bus) -> Keeper:
    """A model with a first champion, whose cool-down is over."""
    await register(bus, spec())
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    await bus.models.write(MODEL, keeper.state, 0)
    return keeper


async def state_of(bus: Bus) -> ModelState:
    found = (await bus.models.read(MODEL)).value
    assert found is not None
    return found


async def asked(bus: Bus) -> list[e.RetrainRequested]:
    said = await held(bus, "EVENTS", subjects.event(MODEL, e.RetrainRequested.kind))
    return [found for found in (m.event() for m in said) if isinstance(found, e.RetrainRequested)]


async def handled(bus: Bus) -> bool:
    return not await bus.log.lag("EVENTS", "registry")


@pytest.mark.fault(33, "alarms of drift and of performance come at once, some of them twice")
async def test_alarms_at_once_start_one_run(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    keeper = await live(bus)
    alarms: list[e.AnyEvent] = [keeper.drift(DAY, seq=5_000 + at) for at in range(5)]
    alarms += [keeper.degraded(DAY, seq=6_000 + at) for at in range(5)]
    alarms *= 2
    rng.shuffle(alarms)
    with process("registry", nats_server.url, tmp_path):
        await asyncio.gather(*(bus.emit(alarm) for alarm in alarms))
        await eventually(lambda: handled(bus), "all alarms are decided on")
    (request,) = await asked(bus)
    state = await state_of(bus)
    assert state.run is not None
    assert (state.run.id, state.champion) == (request.run, 1)
    record(injections=len(alarms), doubled=0)


@pytest.mark.fault(34, "an alarm with every batch, for days; every run fails")
async def test_a_storm_of_alarms_starts_at_most_one_run_a_cool_down(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    keeper = await live(bus)
    ended = set[str]()
    with process("registry", nats_server.url, tmp_path):
        for hour in range(24, (DAYS + 1) * 24 + 1):
            now = hour * HOUR
            await bus.emit(keeper.drift(now, seq=5_000 + hour))
            clock = JoinStats(about=MODEL, data_time=now, **NOTHING)
            await bus.stat(clock)
            await eventually(lambda: handled(bus), "the alarm is decided on")
            state = await state_of(bus)
            if state.run is not None and state.run.id not in ended:
                ended.add(state.run.id)
                failed = e.TrainingFailed(
                    model=MODEL,
                    run=state.run.id,
                    version=state.run.version,
                    reason="training: the test wants no candidate",
                )
                await bus.emit(failed)
                await eventually(lambda: handled(bus), "the run has ended")
    begun = [request.data_time for request in await asked(bus)]
    assert DAYS <= len(begun) <= DAYS + 1
    assert all(later - before >= DAY for before, later in pairwise(begun))
    said = [m.event() for m in await held(bus, "EVENTS", subjects.event(MODEL, "run.finished"))]
    told = [found for found in said if isinstance(found, e.RunFinished)]
    assert len(told) == len(begun)
    assert {found.verdict for found in told} == {"failed"}
    assert {found.reason for found in told} == {"training: the test wants no candidate"}
    assert (await state_of(bus)).champion == 1
    declined = await held(bus, "EVENTS", subjects.event(MODEL, "trigger.declined"))
    assert declined, "an alarm that starts nothing is told, with the reason"
    record(injections=DAYS * 24 + 1)
