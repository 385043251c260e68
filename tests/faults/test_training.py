"""Trainings that die, and candidates that are worse or only look better."""

import asyncio
import random
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.contracts import events as e
from driftloop.contracts import headers, subjects
from driftloop.contracts.state import ModelState
from driftloop.local.nats import NatsServer
from tests.integration.test_trainer import FAST, MODEL, asked, feed
from tests.support.faults import Record
from tests.support.flows import Process, eventually, held, process, register
from tests.support.loop import BEGIN_MS, outcomes, spec
from tests.unit.registry.keeper import DAY, Keeper

SLOW = {"max_iter": 400, "early_stopping": False}
PARTS = (0.1, 0.5, 0.9)
AGAIN_SECONDS = 60.0


async def said(bus: Bus, kind: str) -> list[e.AnyEvent]:
    return [m.event() for m in await held(bus, "EVENTS", subjects.event(MODEL, kind))]


async def at_least(bus: Bus, kind: str, count: int) -> bool:
    return len(await said(bus, kind)) >= count


async def within(bus: Bus, kind: str, count: int) -> float:
    """Wait until so many events of a kind were said; seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(AGAIN_SECONDS):
        while not await at_least(bus, kind, count):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.fault(3, "the trainer is killed at 10, 50 and 90 % of a fit")
@pytest.mark.slow
async def test_a_killed_training_is_one_candidate(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    await register(bus, spec(training={**FAST, "parameters": SLOW}))
    await feed(bus, 0, 6)
    with process("trainer", nats_server.url, tmp_path) as service:
        await bus.emit(asked("run-0"))
        await within(bus, "training.started", 1)
        whole = await within(bus, "candidate.trained", 1)
        await bus.emit(asked("run-1"))
        await within(bus, "training.started", 2)
        kills = 0
        for part in PARTS:
            await asyncio.sleep(part * whole)
            if await at_least(bus, "candidate.trained", 2):
                break  # this fit was faster than the first one
            service.kill()
            kills += 1
            service.start()
            await begun_again(bus, service, kills)
        seconds = await within(bus, "candidate.trained", 2)
        await eventually(partial(acknowledged, bus), "the request is acknowledged")
    candidates = [
        c for c in await said(bus, "candidate.trained") if isinstance(c, e.CandidateTrained)
    ]
    assert [candidate.run for candidate in candidates] == ["run-0", "run-1"]
    assert len(await said(bus, "training.started")) == 2
    assert await said(bus, "training.failed") == []
    assert kills >= 2
    record(injections=kills, lost=0, doubled=0, seconds=seconds)


async def begun_again(bus: Bus, service: Process, times: int) -> None:
    """The request has come again, and is fitted again; or it had been answered."""
    async with asyncio.timeout(AGAIN_SECONDS):
        while service.log().count("second attempt at run-1") < times:
            if await at_least(bus, "candidate.trained", 2):
                return
            await asyncio.sleep(0.05)


async def acknowledged(bus: Bus) -> bool:
    return not await bus.log.lag("EVENTS", "trainer")


async def say_outcomes(
    bus: Bus, number: int, truth: NDArray[np.float64], total: int, **columns: object
) -> None:
    rows = len(truth)
    times = [BEGIN_MS + 60_000 * (rows * number + at) for at in range(rows)]
    batch = outcomes(truth, times=times, **columns)
    message = batch_message(
        subjects.outcomes(MODEL),
        batch,
        kind="outcomes",
        source="test",
        msg_id=f"outcomes:{number}",
        extra={headers.TOTAL: str(total)},
    )
    await bus.publish([message])


@pytest.mark.fault(32, "a candidate that is worse than the champion")
@pytest.mark.slow
async def test_a_worse_candidate_is_refused_with_its_reason(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    """The champion knows the label; from the features nothing can be learned."""
    state = await champion(bus)
    drawn = np.random.default_rng(rng.randrange(1 << 30))
    for number in range(8):
        truth = (drawn.random(100) < 0.5).astype(np.float64)
        await say_outcomes(
            bus,
            number,
            truth,
            100 * (number + 1),
            features=drawn.normal(size=(100, 2)),
            version=1,
            chances=np.where(truth == 1, 0.9, 0.1),
        )
    finished = await one_run(bus, nats_server, tmp_path, state)
    assert finished.verdict == "rejected"
    assert "offline gate" in finished.reason
    assert "loss" in finished.reason
    record(refused=1)


@pytest.mark.fault(32, "a candidate that is better only by a leak into its training rows")
@pytest.mark.slow
async def test_a_candidate_that_learned_a_leak_is_refused_by_the_live_gate(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    """In the rows of the log feature `a` is the label; when the shadow is asked it is not yet."""
    state = await champion(bus)
    drawn = np.random.default_rng(rng.randrange(1 << 30))
    for number in range(8):
        truth = (drawn.random(100) < 0.5).astype(np.float64)
        features = np.column_stack([truth, drawn.normal(size=100)])
        served = np.where(truth == 1, 0.6, 0.4)
        its = {"features": features, "version": 1, "chances": served}
        await say_outcomes(bus, number, truth, 100 * (number + 1), **its)
    asking = asyncio.create_task(shadowed(bus, drawn))
    try:
        finished = await one_run(bus, nats_server, tmp_path, state)
    finally:
        asking.cancel()
    assert finished.verdict == "rejected"
    assert "worse" in finished.reason
    assert await said(bus, "candidate.approved"), "the offline gate could not know"
    record(refused=1)


async def champion(bus: Bus) -> ModelState:
    """A champion in office; what it answers is in the outcomes that the test says."""
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 20}}))
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    await bus.models.write(MODEL, keeper.state, 0)
    return keeper.state


async def shadowed(bus: Bus, drawn: np.random.Generator) -> None:
    """Once there is a shadow: outcomes whose shadow answers are those of the leak, now noise."""
    while True:
        state = (await bus.models.read(MODEL)).value
        if state is not None and state.shadows:
            break
        await asyncio.sleep(0.05)
    for number in range(100, 120):
        truth = (drawn.random(100) < 0.5).astype(np.float64)
        guess = np.where(drawn.random(100) < 0.5, 0.95, 0.05)
        await say_outcomes(
            bus,
            number,
            truth,
            800 + 100 * (number - 99),
            version=1,
            chances=np.where(truth == 1, 0.6, 0.4),
            shadows={2: guess},
        )
        await asyncio.sleep(0.05)


async def one_run(bus: Bus, server: NatsServer, folder: Path, state: ModelState) -> e.RunFinished:
    """An alarm, and the run that it starts, to its end; the champion must be as before."""
    keeper = Keeper()
    keeper.state = state
    with (
        process("registry", server.url, folder),
        process("trainer", server.url, folder),
        process("validation", server.url, folder),
    ):
        await bus.emit(keeper.drift(DAY))
        await within(bus, "run.finished", 1)
    (finished,) = await said(bus, "run.finished")
    assert isinstance(finished, e.RunFinished)
    after = (await bus.models.read(MODEL)).value
    assert after is not None
    assert after.champion == 1
    return finished
