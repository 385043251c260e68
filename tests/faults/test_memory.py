"""A flood, and the backlog it leaves, stay within the memory that the settings allow."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from driftloop.bus.bus import Bus
from driftloop.local.system import System
from driftloop.local.up import register
from tests.support.faults import Record
from tests.support.flows import rain_spec
from tests.support.rig import until
from tests.support.telemetry import ask

HELD_MB = 16
BUFFER_MB = 32
PRODUCERS = 12
BODIES = 8
"""Bodies that each producer sends, of some 2 MB; at once they are more than ingest may hold."""
BODY_ROWS = 20_000
SERVICES = ("ingest", "validation", "inference", "feedback", "telemetry", "registry")
LIMITS = {
    "ingest": 120 + 8 * HELD_MB,
    "validation": 300,
    "inference": 300,
    "feedback": 300,
    "telemetry": 700 + 4 * BUFFER_MB,
    "registry": 200,
    "nats": 1_200,
}
"""MiB resident at most; docs/how-to/durability.md says what they are made of."""


@pytest.mark.fault(28, "bodies that together are more than may be held, and their backlog")
@pytest.mark.slow
async def test_a_flood_stays_within_the_memory_it_is_given(tmp_path: Path, record: Record) -> None:
    system = System(
        tmp_path,
        base_port=0,
        nats_port=0,
        services=SERVICES,
        environment={
            "DRIFTLOOP_INGEST_HELD_BYTES": f"{HELD_MB << 20}",
            "DRIFTLOOP_INGEST_MAX_LAG": "40",
            "DRIFTLOOP_TELEMETRY_BUFFER_MB": f"{BUFFER_MB}",
        },
    )
    peaks: dict[str, float] = {}
    try:
        await system.start()
        async with system.bus() as bus:
            await register(bus, [rain_spec()], by="test")
            watching = asyncio.create_task(_watch(system, peaks))
            taken, refused = await _flood(system)
            await until(lambda: _scored(bus, taken), f"all {taken} rows are scored", 60)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    finally:
        await system.stop()
    print({name: round(mib) for name, mib in peaks.items()})  # noqa: T201  # shown when it fails
    assert taken > 0
    assert refused > 0, "there was no flood"
    record(rows=taken, refused=refused)
    assert {name: mib for name, mib in peaks.items() if mib > LIMITS[name]} == {}


async def _watch(system: System, peaks: dict[str, float]) -> None:
    """Note the most that each process has resident, with its children."""
    while True:
        for name, (mib, _) in (await asyncio.to_thread(system.usage)).items():
            peaks[name] = max(peaks.get(name, 0.0), mib)
        await asyncio.sleep(0.02)


async def _flood(system: System) -> tuple[int, int]:
    """Offer more than is taken while validation stands still: the rows that were taken, and the
    requests that were refused.
    """
    validation = system.children["validation"].process
    assert validation is not None
    row = {"event_time": 1_704_067_200_000, "wind": 3.5, "day": 7, "place": "hill", "summer": True}
    body = "\n".join([json.dumps(row)] * BODY_ROWS).encode()
    url = f"{system.http('ingest')}/v1/models/rain/rows"
    headers = {"content-type": "application/x-ndjson"}
    answers: list[int] = []

    async def produce(http: httpx.AsyncClient) -> None:
        for _ in range(BODIES):
            answer = await http.post(url, content=body, headers=headers)
            assert answer.status_code in (202, 503), answer.text
            answers.append(answer.status_code)

    os.kill(validation.pid, signal.SIGSTOP)
    try:
        async with httpx.AsyncClient(timeout=60) as http:
            await asyncio.gather(*(produce(http) for _ in range(PRODUCERS)))
    finally:
        os.kill(validation.pid, signal.SIGCONT)
    return BODY_ROWS * answers.count(202), answers.count(503)


async def _scored(bus: Bus, wanted: int) -> bool:
    sql = "SELECT count() AS n FROM scored FINAL WHERE model = 'rain'"
    return bool((await ask(bus, sql))[0]["n"] == wanted)
