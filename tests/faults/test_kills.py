"""`kill -9` of each service, and of the broker, while a replay goes on: nothing is lost or doubled.

The moments are random; `--seed` gives the same ones again.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
import pyarrow as pa
import pytest
import pytest_asyncio

from driftloop.client.client import Client
from driftloop.local.child import Child
from driftloop.local.nats import NatsServer
from driftloop.local.system import System
from tests.support.faults import Record
from tests.support.processes import services_of
from tests.support.replaying import Replaying, audit, of_kind, replaying, said
from tests.support.world import world

ROWS, CHANGE = 12_000, 3_000
KILLS = 3
HELD_UP = 400
"""Rows held up by a fault: enough for a verdict."""
MODULE = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.slow
KILLED = {
    "ingest": 1,
    "validation": 2,
    "inference": 6,
    "feedback": 2,
    "drift": 7,
    "trainer": 3,
    "registry": 5,
    "telemetry": 8,
    "console": 8,
}
"""Which fault of the list it is."""
OWN_WORK = {
    "trainer": ("retrain.requested", "training.started"),
    "validation": ("candidate.trained", "shadow.started"),
    "registry": ("retrain.requested", "candidate.trained", "candidate.approved"),
    "drift": ("model.promoted",),
}
ANY_WORK = ("retrain.requested", "training.started", "candidate.trained", "shadow.started")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The whole system; each test replays a model of its own through it."""
    made = System(
        tmp_path_factory.mktemp("system"),
        base_port=0,
        nats_port=0,
        environment={
            "DRIFTLOOP_FEEDBACK_REPORT_SECONDS": "0.2",
            "DRIFTLOOP_INFERENCE_ACK_SECONDS": "3",
        },
    )
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@MODULE
@pytest.mark.parametrize(
    "service",
    [
        pytest.param(service, marks=pytest.mark.fault(number, f"{service} is killed in a replay"))
        for service, number in KILLED.items()
    ],
)
async def test_a_replay_is_accounted_for_though_a_service_is_killed(
    system: System, service: str, rng: random.Random, record: Record
) -> None:
    rows = await _replay_and_kill(system, service, rng, lambda: system.children[service])

    assert _left_behind(system) == []
    record(injections=KILLS, rows=rows, lost=0, doubled=0)


@MODULE
@pytest.mark.fault(11, "NATS is killed in a replay")
async def test_a_replay_is_accounted_for_though_the_broker_is_killed(
    system: System, rng: random.Random, record: Record
) -> None:
    rows = await _replay_and_kill(system, "nats", rng, lambda: system.nats)

    record(injections=KILLS, rows=rows, lost=0, doubled=0)


@MODULE
@pytest.mark.fault(21, "rows of before a change come late, while the new champion is on probation")
async def test_rows_held_up_since_before_a_change_do_not_take_the_promotion_back(
    system: System,
) -> None:
    """What a dead service had in its hands comes late, and shows a world that is no more."""
    async with replaying(system.url, "held-up", rows=ROWS, change=CHANGE, keys=system.keys) as done:
        sending = asyncio.create_task(_send_late(system, done))
        await asyncio.gather(done.replay.run(), sending)

    told = [(run.verdict, run.reason) for run in of_kind(done, "run.finished")]
    assert told[1][0] == "promoted", told
    assert "late rows of before its start were left out" in told[1][1]


async def _send_late(system: System, done: Replaying) -> None:
    """As soon as the second version answers, rows and labels of before the change."""
    await said(done.watch, "model.promoted", 2)
    late = world(CHANGE, CHANGE).slice(CHANGE - HELD_UP)
    ids = pa.array([f"late-{name}" for name in late["event_id"].to_pylist()])
    late = late.set_column(0, "event_id", ids)
    row = {"x": 0.0, "y": 0.0, "place": "coast"}
    async with Client(system.url, key=system.key()) as client:
        while True:
            if (await client.predict(done.model, [row])).version == 2:
                break
            await asyncio.sleep(0.01)
        await client.send_rows(done.model, late.drop_columns(["label", "label_time"]))
        await client.send_labels(done.model, late.select(["event_id", "label", "label_time"]))


async def _replay_and_kill(
    system: System, name: str, moments: random.Random, victim: Callable[[], Child | NatsServer]
) -> int:
    """Replay, kill `KILLS` times, audit; returns the rows and labels that were sent."""
    async with replaying(
        system.url, f"world-{name}", rows=ROWS, change=CHANGE, keys=system.keys
    ) as done:
        killing = asyncio.create_task(_kill_at(_moments(done, name, moments), victim))
        try:
            await done.replay.run()
        except BaseException:
            killing.cancel()
            raise
        killed = await asyncio.wait_for(killing, 5)
        await system.ready()
        await audit(done)
        finished = of_kind(done, "run.finished")
        told = [(run.trigger, run.verdict) for run in finished[:2]]
        promoted = [("bootstrap", "promoted"), ("degraded", "promoted")]
        assert told == promoted, [run.reason for run in finished]
        assert len(set(killed)) == KILLS
        return done.progress.rows + done.progress.labels


def _moments(done: Replaying, name: str, moments: random.Random) -> list[Awaitable[None]]:
    """One while there is work that only this service does, the others anywhere in the replay."""
    kind = moments.choice(OWN_WORK.get(name, ANY_WORK))
    times = 1 if kind == "shadow.started" else moments.choice((1, 2))
    rows = [moments.randrange(ROWS * 9 // 10) for _ in range(KILLS - 1)]
    delays = [moments.uniform(0, 0.4), *(moments.uniform(0, 0.05) for _ in rows)]
    print(f"kill {name}: after {kind} {times} and rows {rows}, delays {delays}")  # noqa: T201
    return [
        _after(said(done.watch, kind, times), delays[0]),
        *(_after(_sent(done, at), delay) for at, delay in zip(rows, delays[1:], strict=True)),
    ]


async def _after(moment: Awaitable[None], seconds: float) -> None:
    await moment
    await asyncio.sleep(seconds)


async def _sent(done: Replaying, rows: int) -> None:
    while True:
        if done.progress.rows >= rows:
            return
        await asyncio.sleep(0.005)


async def _kill_at(
    moments: list[Awaitable[None]], victim: Callable[[], Child | NatsServer]
) -> list[int]:
    killed: list[int] = []
    for moment in asyncio.as_completed(moments):
        await moment
        killed.append(await _kill_once(victim, killed))
    return killed


async def _kill_once(victim: Callable[[], Child | NatsServer], before: list[int]) -> int:
    while True:
        process = victim().process
        if process is not None and process.poll() is None and process.pid not in before:
            process.kill()
            return process.pid
        await asyncio.sleep(0.01)  # it is not up again from the kill before


def _left_behind(system: System) -> list[str]:
    """Processes that a killed service had started and that still run without it."""
    owners = {child.process.pid for child in system.children.values() if child.process}
    found: list[str] = []
    for process in services_of(system.url):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) not in owners:
                found.append(" ".join(process.cmdline()))
    return found
