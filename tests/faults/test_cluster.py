"""Three NATS servers, of which one or two are killed while rows come in."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from driftloop.bus.bus import Bus
from driftloop.contracts.batches import encode
from driftloop.contracts.headers import ARROW
from driftloop.modelspec.rows import from_dicts
from tests.support.cluster import Cluster, cluster
from tests.support.faults import Record
from tests.support.flows import Process, process, rain_row, rain_spec, register
from tests.support.ledger import in_log
from tests.support.rig import until

BATCH = 50
PATIENCE = 2.0
"""Seconds that ingest waits for the log."""
REPLICAS = {"DRIFTLOOP_NATS_REPLICAS": "3", "DRIFTLOOP_NATS_LOG_GB": "1"}
WAITS = {"DRIFTLOOP_INGEST_PUBLISH_SECONDS": f"{PATIENCE:g}"}


class Load:
    """Producers that send batches without a pause, under a key, and again until they are taken."""

    def __init__(self, door: Process) -> None:
        self._url = f"{door.base}/v1/models/rain/rows"
        self._sent = 0
        self._stop = asyncio.Event()
        self.taken: list[str] = []
        self.at: list[float] = []
        """When each batch was acknowledged."""
        self.refused: list[float] = []
        """Seconds until a 503 came."""

    async def run(self, producers: int = 4) -> None:
        """Send until `end`."""
        async with httpx.AsyncClient(timeout=30) as http:
            await asyncio.gather(*(self._produce(http) for _ in range(producers)))

    def end(self) -> None:
        """What is under way is sent to its end, unless it is refused."""
        self._stop.set()

    async def _produce(self, http: httpx.AsyncClient) -> None:
        while not self._stop.is_set():
            first, self._sent = self._sent, self._sent + BATCH
            rows = [rain_row(first + at) for at in range(BATCH)]
            content = encode(from_dicts(rows))
            while not await self._post(http, content, f"batch-{first}"):
                if self._stop.is_set():
                    return
                await asyncio.sleep(0.05)
            self.taken += [row["event_id"] for row in rows]
            self.at.append(time.monotonic())

    async def _post(self, http: httpx.AsyncClient, content: bytes, key: str) -> bool:
        began = time.monotonic()
        headers = {"content-type": ARROW, "idempotency-key": key}
        answer = await http.post(self._url, content=content, headers=headers)
        if answer.status_code == 202:
            return True
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
        self.refused.append(time.monotonic() - began)
        return False

    def gap(self) -> float:
        """Longest time without an acknowledgement."""
        return max(later - at for at, later in pairwise(self.at))

    async def more(self, rows: int) -> None:
        """Wait until so many more rows are taken."""
        wanted = len(self.taken) + rows

        async def taken() -> bool:
            return len(self.taken) >= wanted

        await until(taken, f"{rows} more rows are taken")


@contextlib.asynccontextmanager
async def loaded(folder: Path) -> AsyncIterator[tuple[Cluster, Bus, Load]]:
    """A cluster, ingest and validation beside it, and producers at work."""
    async with cluster(folder / "nats") as (its, bus):
        await register(bus, rain_spec())
        with (
            process("ingest", its.urls, folder, **REPLICAS, **WAITS) as door,
            process("validation", its.urls, folder, **REPLICAS),
        ):
            load = Load(door)
            running = asyncio.create_task(load.run())
            try:
                await load.more(1_000)
                yield its, bus, load
            finally:
                load.end()
                await running


async def audit(bus: Bus, load: Load) -> dict[str, int]:
    """Every acknowledged row was received and found valid, once."""
    lost = doubled = 0
    for state in ("received", "valid"):
        subject = f"rows.rain.{state}.*"

        async def there(subject: str = subject) -> bool:
            return not set(load.taken) - set(await in_log(bus, "ROWS", subject))

        with contextlib.suppress(AssertionError):
            await until(there, f"all rows are {state}")
        found = await in_log(bus, "ROWS", subject)
        lost += len(set(load.taken) - set(found))
        doubled += sum(found.values()) - len(found)
    return {"lost": lost, "doubled": doubled}


@pytest.mark.fault(12, "the leader of three NATS servers is killed under load, and comes back")
@pytest.mark.slow
async def test_a_killed_leader_loses_no_acknowledged_row(
    tmp_path: Path, rng: random.Random, record: Record
) -> None:
    kills = 2
    async with loaded(tmp_path) as (its, bus, load):
        for _ in range(kills):
            leader = await its.leader(bus, "ROWS")
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            leader.kill()
            await load.more(2_000)
            leader.start()
            await its.agreed()
        load.end()
        counts = await audit(bus, load)
    record(injections=kills, rows=len(load.taken), seconds=load.gap(), **counts)
    assert counts == {"lost": 0, "doubled": 0}


@pytest.mark.fault(13, "two of three NATS servers are killed under load, and come back")
@pytest.mark.slow
async def test_without_a_majority_nothing_is_acknowledged_and_all_goes_on_by_itself(
    tmp_path: Path, rng: random.Random, record: Record
) -> None:
    async with loaded(tmp_path) as (its, bus, load):
        await asyncio.sleep(rng.uniform(0.0, 0.5))
        two = rng.sample(its.nodes, 2)
        for node in two:
            node.kill()
        at_once, when = len(load.refused), len(load.at)

        async def refused() -> bool:
            return len(load.refused) >= at_once + 40

        await until(refused, "producers are refused")
        answered = load.at[when:]
        for node in two:
            node.start()
        began = time.monotonic()
        await its.agreed()
        await load.more(2_000)
        seconds = time.monotonic() - began
        load.end()
        counts = await audit(bus, load)
    waits = sorted(load.refused)
    record(rows=len(load.taken), seconds=seconds, refused=len(waits), **counts)
    assert counts == {"lost": 0, "doubled": 0}
    assert len(answered) <= 4, "what was under way; nothing else was acknowledged by one of three"
    assert waits[-1] < 5 * PATIENCE, "nobody waits for ever for a log that does not answer"
    assert waits[len(waits) // 2] < PATIENCE, "most are told at once"
