"""The label join on the real bus: nothing lost and nothing twice, however often it dies."""

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.log import rows_total
from driftloop.bus.messages import batch_message
from driftloop.contracts import subjects
from driftloop.contracts.batches import QUARANTINED
from driftloop.feedback.app import SERVICE
from driftloop.local.nats import NatsServer
from tests.support.flows import Process, eventually, held, process, register, rows_held, running
from tests.support.loop import labels, scored, spec

MODEL = "tide"
OUTCOMES = subjects.outcomes(MODEL)
DEAD = subjects.dead("feedback", MODEL)


async def say_scored(bus: Bus, name: str, ids: list[str]) -> None:
    batch = scored(ids, version=1, chances=[0.5] * len(ids))
    said = batch_message(
        subjects.scored(MODEL), batch, kind="scored", source="test", msg_id=f"scored:{name}"
    )
    await bus.publish([said])


async def say_labels(bus: Bus, name: str, given: list[tuple[str, str | None]]) -> None:
    said = batch_message(
        subjects.labels(MODEL), labels(given), kind="labels", source="test", msg_id=f"labels:{name}"
    )
    await bus.publish([said])


async def joined_rows(bus: Bus) -> int:
    last = await bus.log.last("OUTCOMES", OUTCOMES)
    return rows_total(last) if last is not None else 0


async def settled(bus: Bus, outcomes: int, given_up: int) -> None:
    async def true() -> bool:
        dead = await held(bus, "DEAD", DEAD)
        gone = sum(int(m.headers["dl-rows"]) for m in dead)
        return await joined_rows(bus) >= outcomes and gone >= given_up

    await eventually(true, f"{outcomes} outcomes and {given_up} labels given up")


@pytest.mark.fault(22, "labels come before their rows")
async def test_rows_are_joined_with_early_and_late_labels_once(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    async with running(SERVICE, nats_server.url, report_seconds=0.2):
        await say_labels(bus, "1", [("e1", "yes"), ("e2", "?"), ("bad", "no")])
        await say_scored(bus, "1", ["e0", "e1", "e2"])
        refused = pa.RecordBatch.from_pylist(
            [{"event_id": "bad", "reason": "wind: is missing"}], schema=QUARANTINED
        )
        subject = subjects.rows(MODEL, "quarantined")
        said = batch_message(
            subject, refused, kind="rows.quarantined", source="test", msg_id="quarantined:1"
        )
        await bus.publish([said])
        await say_labels(bus, "2", [("e0", "no"), ("e1", "no"), ("e0", "no")])
        await settled(bus, 2, 2)
    rows = await rows_held(bus, "OUTCOMES", OUTCOMES)
    assert sorted((row["event_id"], row["label"]) for row in rows) == [("e0", 0.0), ("e1", 1.0)]
    dead = await rows_held(bus, "DEAD", DEAD)
    assert {row["event_id"]: row["reason"] for row in dead} == {
        "e2": "label: '?' is not accepted; accepted: no, yes",
        "bad": "its row was quarantined",
    }


async def test_many_labels_at_once_become_several_batches_of_outcomes(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    ids = [f"e{at}" for at in range(2_800)]
    async with running(SERVICE, nats_server.url):
        await say_scored(bus, "1", ids)
        await say_labels(bus, "1", [(e, "yes") for e in ids])
        await settled(bus, 2_800, 0)
    messages = await held(bus, "OUTCOMES", OUTCOMES)
    assert [rows_total(m) for m in messages] == [1_024, 2_048, 2_800]
    marks = [
        m.event() for m in await held(bus, "EVENTS", subjects.event(MODEL, "data.accumulated"))
    ]
    assert [getattr(mark, "rows", 0) for mark in marks] == [1_000, 2_000, 2_800]


async def test_another_revision_of_the_spec_is_heard_of_at_once(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    async with running(SERVICE, nats_server.url) as (own, _):
        await say_scored(bus, "1", ["e1", "e2"])
        await say_labels(bus, "1", [("e1", "yes")])
        await settled(bus, 1, 0)
        await register(bus, spec(target={"classes": ["no", "yes", "maybe"]}))
        own.specs.forget(MODEL)
        await say_labels(bus, "2", [("e2", "maybe")])
        await settled(bus, 2, 0)
    rows = await rows_held(bus, "OUTCOMES", OUTCOMES)
    assert [row["label"] for row in rows] == [1.0, 2.0]


async def feed(bus: Bus, batches: int, rows: int) -> tuple[int, int]:
    """Rows and their labels, a tenth of them early and a tenth late, some wrong and some twice."""
    drawn = np.random.default_rng(0)
    late: list[tuple[str, str | None]] = []
    wrong = 0
    for number in range(batches):
        ids = [f"b{number}-{at}" for at in range(rows)]
        now: list[tuple[str, str | None]] = [(e, "yes") for e in ids if drawn.random() < 0.9]
        late += [(e, "no") for e in ids if (e, "yes") not in now]
        now += [(e, "no") for e in ids[:3]] + [(f"w{number}", "?")]
        wrong += 1
        said = [say_scored(bus, str(number), ids), say_labels(bus, str(number), now)]
        for saying in said if number % 3 else reversed(said):
            await saying
        await asyncio.sleep(0.005)
    await say_labels(bus, "late", late)
    return batches * rows, wrong


@pytest.mark.fault(2, "feedback is killed again and again in mid-join")
async def test_killed_again_and_again_in_mid_join_the_outcomes_are_exact(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, spec())
    with process("feedback", nats_server.url, tmp_path) as service:
        feeding = asyncio.create_task(feed(bus, 150, 20))
        for target in (200, 900, 1_700):
            await _kill_at(bus, service, target)
        rows, wrong = await feeding
        await settled(bus, rows, wrong)
    messages = await held(bus, "OUTCOMES", OUTCOMES)
    ids = Counter(e for m in messages for e in m.batch().column(0).to_pylist())
    assert len(ids) == rows
    assert ids.most_common(1)[0][1] == 1
    total = 0
    for message in messages:
        total += message.batch().num_rows
        assert rows_total(message) == total
    given_up = [row["event_id"] for row in await rows_held(bus, "DEAD", DEAD)]
    assert sorted(given_up) == sorted(f"w{number}" for number in range(wrong))


async def _kill_at(bus: Bus, service: Process, target: int) -> None:
    async def reached() -> bool:
        return await joined_rows(bus) >= target

    await eventually(reached, f"{target} outcomes")
    service.kill()
    service.start()
