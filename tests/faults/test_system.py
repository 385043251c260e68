"""Faults in a whole system under traffic, with somebody who asks for predictions all the time."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from nats.js import api

from tests.support.faults import Record
from tests.support.ledger import Asking
from tests.support.replaying import audit, of_kind, replaying
from tests.support.rig import Rig, rig, until

MODULE = pytest.mark.asyncio(loop_scope="module")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ACK_WAIT = 5.0
"""Of validation: what it has in hand comes to another after so many seconds."""
MOST_GAP = 10.0
WINDOW = 0.1
"""Seconds that the streams compare ids for, where the window is to be over."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def its(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    replicas = {"inference": 2, "validation": 2}
    async with rig(tmp_path_factory.mktemp("system"), replicas=replicas) as made:
        yield made


@MODULE
@pytest.mark.fault(10, "a replica of validation and one of inference are paused beyond ack_wait")
async def test_what_a_paused_replica_had_in_hand_is_done_by_another_and_once(
    its: Rig, rng: random.Random, record: Record
) -> None:
    before = its.ledger.size
    async with its.busy() as asking:
        for name in ("validation-2", "inference-2"):
            await asyncio.sleep(rng.uniform(0.2, 0.8))
            with its.paused(name):
                await asyncio.sleep(ACK_WAIT + rng.uniform(0.5, 1.5))
    ended = time.monotonic()
    counts = await its.check()
    answered_throughout(asking)
    record(injections=2, rows=its.ledger.size - before, seconds=time.monotonic() - ended, **counts)


@MODULE
@pytest.mark.fault(11, "NATS is killed under traffic; longest time without an acknowledgement")
async def test_a_killed_broker_is_back_soon_and_nothing_acknowledged_is_lost(
    its: Rig, rng: random.Random, record: Record
) -> None:
    before, its.ledger.gap = its.ledger.size, 0.0
    async with its.busy() as asking:
        for _ in range(3):
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            await its.kill("nats")
        await asyncio.sleep(1.0)
    counts = await its.check()
    answered_throughout(asking)
    assert its.ledger.gap < MOST_GAP
    record(injections=3, rows=its.ledger.size - before, seconds=its.ledger.gap, **counts)


@MODULE
@pytest.mark.fault(16, "telemetry with its ClickHouse is paused while the loop goes round")
async def test_the_loop_and_the_answers_do_not_need_clickhouse(
    its: Rig, record: Record, request: pytest.FixtureRequest
) -> None:
    away = float(request.config.getoption("--away-seconds"))
    stop, asking = asyncio.Event(), its.asking()
    asker = asyncio.create_task(asking.run(stop))
    async with replaying(
        its.system.url, "away", rows=12_000, change=3_000, keys=its.system.keys
    ) as done:
        await until(partial(asked, asking, 200), "an idea of the latency before")
        began, first = time.monotonic(), len(asking.seconds)
        with its.paused("telemetry"):
            await done.replay.run()
            finished = of_kind(done, "run.finished")
            assert [run.verdict for run in finished[:2]] == ["promoted", "promoted"]
            await asyncio.sleep(max(0.0, away - (time.monotonic() - began)))
        before, meanwhile = percentile(asking.seconds[:first]), asking.p99(first)
        ended = time.monotonic()
        await audit(done)
        seconds = time.monotonic() - ended
        sent = done.progress.rows + done.progress.labels
    stop.set()
    await asker
    answered_throughout(asking)
    print(f"p99 before {before * 1e3:.1f} ms, meanwhile {meanwhile * 1e3:.1f} ms")  # noqa: T201
    record(rows=sent, lost=0, doubled=0, seconds=seconds)


@MODULE
@pytest.mark.fault(20, "each batch comes again, within the window of the streams and after it")
async def test_events_that_come_again_change_nothing(
    its: Rig, rng: random.Random, record: Record
) -> None:
    before = its.ledger.size
    first = its.sent
    await its.send(1_000)
    rows = its.table.slice(first, 1_000)
    features = rows.drop_columns(["label", "label_time"])
    labels = rows.select(["event_id", "label", "label_time"])
    keyed = f"again-{rng.random()}"
    for copy in range(2):
        taken = [
            await its.client.send_rows(its.model, features, key=keyed, batch_rows=100),
            await its.client.send_labels(its.model, labels, key=keyed, batch_rows=100),
        ]
        assert [sent.duplicate for sent in taken] == [copy * 1_000] * 2
    streams = ("ROWS", "LABELS", "SCORED", "OUTCOMES", "DEAD")
    windows = {name: await window_of(its, name, WINDOW) for name in streams}
    try:
        await asyncio.sleep(2 * WINDOW)
        taken = [
            await its.client.send_rows(its.model, features, key=keyed, batch_rows=100),
            await its.client.send_labels(its.model, labels, key=keyed, batch_rows=100),
        ]
        assert [sent.duplicate for sent in taken] == [0, 0], "the streams have forgotten the ids"
        counts = await its.check()
    finally:
        for name, seconds in windows.items():
            await window_of(its, name, seconds)
    record(injections=3, rows=its.ledger.size - before, **counts)


async def window_of(its: Rig, stream: str, seconds: float) -> float:
    """Set how long a stream compares ids; how long it did before."""
    info = await its.admin.connection.js.stream_info(stream)
    before, config = info.config.duplicate_window, info.config
    assert isinstance(config, api.StreamConfig)
    config.duplicate_window = seconds
    await its.admin.connection.js.update_stream(config)
    return float(before or 120.0)


def answered_throughout(asking: Asking) -> None:
    """The champion answered every question, and nobody else did."""
    assert asking.failed == []
    assert set(asking.versions) == {1}
    assert asking.versions[1] > 100


async def asked(asking: Asking, times: int) -> bool:
    return len(asking.seconds) >= times


def percentile(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]
