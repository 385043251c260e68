"""Replicas that share a durable consumer: killed again and again, no row is lost or doubled.

Services run as `driftloop up` starts them. The moments are drawn from `SEED`.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.contracts import subjects
from driftloop.contracts.batches import matrix_column
from driftloop.local.child import Child
from driftloop.local.readiness import unready
from driftloop.local.system import System
from tests.support.flows import eventually, rain_row, rain_spec, register, rows_held
from tests.support.loop import scored
from tests.support.replicas import kill, metric, system
from tests.support.serving import MIXED, matrix_of_rows, mixed_rows, serve_mixed

SEED = 23


class Flow:
    """Valid rows of one model, as validation says them, until it is stopped."""

    def __init__(self, bus: Bus) -> None:
        self.sent: list[str] = []
        self.stop = asyncio.Event()
        self._bus = bus

    async def run(self) -> None:
        rows = mixed_rows(20, SEED)
        matrix = matrix_of_rows(rows)
        for number in range(100_000):
            if self.stop.is_set():
                return
            ids = [f"b{number}-{at}" for at in range(len(rows))]
            batch = scored(ids).select(["event_id", "event_time", "key"])
            batch = batch.append_column("features", matrix_column(matrix))
            subject, msg_id = subjects.rows(MIXED, "valid"), f"rows.valid:test:{number}"
            await self._bus.publish(
                [batch_message(subject, batch, kind="rows.valid", source="test", msg_id=msg_id)]
            )
            self.sent += ids
            await asyncio.sleep(0.01)


@pytest.mark.fault(6, "a replica of inference is killed again and again")
async def test_rows_are_scored_once_though_one_of_two_replicas_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    drawn = random.Random(SEED)
    async with system(tmp_path, "inference", DRIFTLOOP_INFERENCE_ACK_SECONDS="1") as (its, bus):
        await serve_mixed(bus)
        flow = Flow(bus)
        flowing = asyncio.create_task(flow.run())
        children = list(its.children.values())
        for child in children:
            await _working(its, child, "scored_rows_total")
        for _ in range(3):
            victim = drawn.choice(children)
            await _working(its, victim, "scored_rows_total")
            await _reached(lambda: len(flow.sent), len(flow.sent) + drawn.randrange(400))
            await kill(victim)
        flow.stop.set()
        await flowing

        async def all_scored() -> bool:
            rows = await rows_held(bus, "SCORED", subjects.scored(MIXED))
            return len({row["event_id"] for row in rows}) == len(flow.sent)

        await eventually(all_scored, "all rows are scored")
        rows = await rows_held(bus, "SCORED", subjects.scored(MIXED))
        assert Counter(row["event_id"] for row in rows) == Counter(flow.sent)
        assert rows[-1]["version"] == 1


async def _working(its: System, child: Child, counter: str) -> None:
    async def true() -> bool:
        if await asyncio.to_thread(unready, its.http(child.name)) is not None:
            return False
        return await metric(its, child, counter) > 0

    await eventually(true, f"{child.name} has done something")


async def _reached(count: Callable[[], int], target: int) -> None:
    async def true() -> bool:
        return count() >= target

    await eventually(true, f"{target} rows")


@pytest.mark.fault(2, "replicas of ingest and validation are killed")
async def test_rows_sent_to_either_ingest_are_checked_once_though_a_replica_is_killed(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, "ingest", "validation") as (its, bus):
        await register(bus, rain_spec())
        doors = [its.http(name) for name in ("ingest", "ingest-2")]
        sent: list[str] = []

        async def send(batches: int) -> None:
            async with httpx.AsyncClient() as http:
                for _ in range(batches):
                    rows = [rain_row(at) for at in range(len(sent), len(sent) + 10)]
                    key = {"Idempotency-Key": f"batch-{len(sent)}"}
                    for door in doors:  # the same batch at both doors is one batch
                        url = f"{door}/v1/models/rain/rows"
                        assert (await http.post(url, json=rows, headers=key)).is_success
                    sent.extend(row["event_id"] for row in rows)

        for victim in ("validation", "validation-2"):
            await send(30)
            await _working(its, its.children[victim], "validation_rows_total")
            sending = asyncio.create_task(send(30))
            await kill(its.children[victim])
            await sending

        async def all_valid() -> bool:
            return len(await rows_held(bus, "ROWS", subjects.rows("rain", "valid"))) >= len(sent)

        await eventually(all_valid, "all rows are valid")
        rows = await rows_held(bus, "ROWS", subjects.rows("rain", "valid"))
        assert Counter(row["event_id"] for row in rows) == Counter(sent)
