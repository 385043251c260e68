"""What was acknowledged is on the disk with `sync_interval: always`, and is not by default."""

import asyncio
from pathlib import Path

import httpx
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts import subjects
from driftloop.ingest.app import SERVICE
from driftloop.local.nats import NatsServer
from tests.support.faults import Record
from tests.support.flows import rain_row, rain_spec, register, running
from tests.support.ledger import in_log
from tests.support.unsynced import copy_synced, why_not

BATCH = 100
BATCHES = 60
PATH = "/v1/models/rain/rows"


async def accepted(server: NatsServer) -> list[str]:
    """Send rows until the server is killed amidst them; the ids of those it had acknowledged."""
    taken: list[str] = []
    bus = await Bus.open(server.url, "test", layout=Layout(log_gb=0.5))
    await register(bus, rain_spec())
    await bus.close()

    async with running(SERVICE, server.url, publish_seconds=0.5) as (_, http):
        await asyncio.gather(*(_produce(server, http, producer, taken) for producer in range(4)))
    return taken


async def _produce(
    server: NatsServer, http: httpx.AsyncClient, producer: int, taken: list[str]
) -> None:
    """Batches one after the other, until the power goes."""
    for batch in range(producer, 10_000, 4):
        rows = [rain_row(batch * BATCH + at) for at in range(BATCH)]
        headers = {"idempotency-key": f"b{batch}"}
        answer = await http.post(PATH, json=rows, headers=headers)
        if answer.status_code != 202:
            assert not server.alive(), answer.text
            return
        taken += [row["event_id"] for row in rows]
        if len(taken) >= BATCH * BATCHES and server.alive():
            server.kill()


async def after_power_loss(folder: Path, sync: str) -> tuple[list[str], set[str], int]:
    """What was acknowledged, what is there afterwards, and the pages that were lost."""
    before = NatsServer(folder / "before", port=0, sync_interval=sync)
    before.start()
    try:
        taken = await accepted(before)
    finally:
        before.stop()
    left_out = copy_synced(folder / "before", folder / "after")
    after = NatsServer(folder / "after", port=0, sync_interval=sync)
    after.start()
    try:
        bus = await Bus.open(after.url, "test", layout=Layout(log_gb=0.5))
        found = await in_log(bus, "ROWS", subjects.rows("rain", "received", "*"))
        await bus.close()
    finally:
        after.stop()
    return taken, set(found), left_out


@pytest.fixture(autouse=True)
def told(tmp_path: Path) -> None:
    """Without the kernel's word there is nothing to test."""
    if reason := why_not(tmp_path):
        pytest.skip(reason)


@pytest.mark.fault(15, "power is lost, sync_interval: always")
async def test_what_was_acknowledged_is_on_the_disk_when_each_write_is_synced(
    tmp_path: Path, record: Record
) -> None:
    taken, found, _ = await after_power_loss(tmp_path, "always")
    assert len(taken) >= BATCH * BATCHES
    record(rows=len(taken), lost=len(set(taken) - found))
    assert set(taken) - found == set()


@pytest.mark.fault(15, "power is lost, sync_interval: 2m (the default loses what it acknowledged)")
async def test_what_was_acknowledged_may_be_lost_by_default(tmp_path: Path, record: Record) -> None:
    taken, found, left_out = await after_power_loss(tmp_path, "2m")
    record(rows=len(taken), lost=len(set(taken) - found))
    assert left_out > 0
    assert set(taken) - found, "the default has become safe: say so in docs/how-to/durability.md"
