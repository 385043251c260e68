"""Telemetry in this process and as a process of its own, on a real NATS server and a real chDB."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts import batches, requests
from driftloop.local.ports import free_port
from driftloop.runtime.service import Wired
from driftloop.telemetry.app import wire
from driftloop.telemetry.settings import TelemetrySettings

SECONDS = 20.0
Row = dict[str, Any]


@asynccontextmanager
async def telemetry(
    url: str, folder: Path, *, ready: bool = True, **other: Any
) -> AsyncIterator[Wired]:
    """The service wired in this process, and by default ready; chDB lets it be one at a time."""
    given: dict[str, Any] = {"path": str(folder), "flush_seconds": 0.05} | other
    settings = TelemetrySettings(nats_url=url, **given)
    bus = await Bus.open(url, "telemetry", layout=Layout())
    wired = await wire(settings, bus)
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    await bus.start()

    async def is_ready() -> bool:
        return not wired.problem()

    try:
        if ready:
            await eventually(is_ready, "telemetry is ready")
        yield wired
    finally:
        bus.stopping.set()
        await asyncio.gather(*tasks)
        assert wired.close is not None
        await wired.close()
        await bus.close()


@contextmanager
def telemetry_process(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process; killed at the end if it still runs."""
    environment = os.environ | {
        "DRIFTLOOP_NATS_URL": url,
        "DRIFTLOOP_PORT": str(free_port()),
        "DRIFTLOOP_TELEMETRY_PATH": str(folder),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    process = subprocess.Popen([sys.executable, "-m", "driftloop.telemetry"], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def ask(bus: Bus, sql: str, most: int = 1_000) -> list[Row]:
    """The rows of an answer."""
    query = msgspec.msgpack.encode(requests.SqlQuery(sql=sql, max_rows=most))
    reply = await bus.ask(requests.QUERY_SQL, query, timeout=SECONDS)
    found: list[Row] = batches.decode(reply.payload).to_pylist()
    return found


async def count(bus: Bus, table: str) -> int:
    """The rows of a table, each counted once."""
    return int((await ask(bus, f"SELECT count() AS n FROM {table} FINAL"))[0]["n"])


async def eventually(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return once `check` holds; fail after `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if await check():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {SECONDS:g} s: {what}")


async def all_kept(bus: Bus) -> None:
    """Wait until telemetry has acknowledged all that is in the streams."""
    durables = {
        "ROWS": "rows",
        "LABELS": "labels",
        "SCORED": "scored",
        "OUTCOMES": "outcomes",
        "EVENTS": "events",
        "STATS": "stats",
        "DEAD": "dead",
    }

    async def done() -> bool:
        lags = [await bus.log.lag(stream, f"telemetry-{d}") for stream, d in durables.items()]
        return not any(lags)

    await eventually(done, "all messages are acknowledged")
