"""Streams and disks that are full: new work is refused, old work is kept, and all goes on after."""

import asyncio
import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from driftloop.contracts import subjects
from driftloop.contracts.batches import encode
from driftloop.contracts.headers import ARROW
from driftloop.local.readiness import unready
from driftloop.local.system import System
from driftloop.modelspec.rows import from_dicts
from tests.support.faults import Record
from tests.support.flows import rain_row, rain_spec, register
from tests.support.ledger import in_log
from tests.support.rig import ROW, rig, until

BATCH = 200


@pytest.mark.fault(19, "a stream is full, since telemetry stands still")
@pytest.mark.slow
async def test_rows_nobody_has_handled_are_kept_and_more_are_refused(
    tmp_path: Path, rng: random.Random, record: Record
) -> None:
    """ROWS has room for 1.6 MB; predictions go on meanwhile, and the books close."""
    async with rig(tmp_path, environment={"DRIFTLOOP_NATS_LOG_GB": "0.012"}) as its:
        ingest = its.system.http("ingest")
        rows = f"{ingest}/v1/models/{its.model}/rows"
        async with its.busy(each=rng.randint(800, 1_200), pause=0.0) as asking:
            with its.paused("telemetry"):
                await until(lambda: _refuses(its.http, rows), "ingest refuses")
                assert await asyncio.to_thread(unready, ingest), "it is not ready, then"
                before, asking.failed = sum(asking.versions.values()), []
                refused = [(await its.http.post(rows, json=ROW)).status_code for _ in range(10)]

                async def answered() -> bool:
                    return sum(asking.versions.values()) > before + 20

                await until(answered, "predictions go on")
                first = await its.bus.log.first_seq("ROWS")
                handled = await its.bus.log.reached("ROWS", "telemetry-rows")
                assert first <= handled.acknowledged + 1, "what telemetry has not read is there"
            seconds = await until(lambda: _takes(ingest), "ingest is ready again")
            await its.send(100)
        assert 503 in refused
        assert not asking.failed
        counts = await its.check()
        assert await its.bus.log.first_seq("ROWS") > 1, "room was made"
    record(rows=its.ledger.size, refused=refused.count(503), seconds=seconds, **counts)


async def _refuses(http: httpx.AsyncClient, url: str) -> bool:
    """Whether ten in a row are refused: when it does not know, it refuses some before it must."""
    answers = [await http.post(url, json=ROW) for _ in range(10)]
    return all(a.status_code == 503 and "of ROWS are taken" in a.text for a in answers)


async def _takes(address: str) -> bool:
    return await asyncio.to_thread(unready, address) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small disk needs the right to mount: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.fault(18, "the disk is full, and has room again")
async def test_a_full_disk_loses_nothing_that_was_acknowledged(
    small_disk: Path, record: Record
) -> None:
    log_gb = {"DRIFTLOOP_NATS_LOG_GB": "0.02", "DRIFTLOOP_INGEST_PUBLISH_SECONDS": "1"}
    system = System(small_disk, base_port=0, nats_port=0, services=("ingest",), environment=log_gb)
    taken: list[str] = []
    statuses: list[int] = []
    try:
        await system.start()
        async with system.bus("registry") as registry:
            await register(registry, rain_spec())
        async with system.bus() as bus, httpx.AsyncClient(timeout=10) as http:
            url = f"{system.http('ingest')}/v1/models/rain/rows"

            async def send() -> int:
                rows = [rain_row(len(statuses) * BATCH + at) for at in range(BATCH)]
                content = encode(from_dicts(rows))
                answer = await http.post(url, content=content, headers={"content-type": ARROW})
                statuses.append(answer.status_code)
                if answer.status_code == 202:
                    taken.extend(row["event_id"] for row in rows)
                return answer.status_code

            while len(taken) < 10 * BATCH:
                assert await send() == 202
            filler = small_disk / "filler"
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            while await send() == 202:  # into what room is left in a page of the log
                continue
            assert [await send() for _ in range(3)] == [503] * 3
            began = time.monotonic()
            filler.unlink()

            async def again() -> bool:
                return await send() == 202

            await until(again, "rows are taken again")
            seconds = time.monotonic() - began
            found = await in_log(bus, "ROWS", subjects.rows("rain", "received", "*"))
            assert await bus.log.first_seq("ROWS") == 1
    finally:
        await system.stop()
    assert set(statuses) == {202, 503}
    lost, doubled = set(taken) - set(found), sum(found.values()) - len(found)
    record(
        rows=len(taken), refused=statuses.count(503), seconds=seconds, lost=len(lost),
        doubled=doubled,
    )  # fmt: skip
    assert (lost, doubled) == (set(), 0)
