"""A small running system, and what the audit says of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from driftloop.bus.audit.report import Report, audit, settled
from driftloop.bus.bus import Bus
from tests.support.flows import Process, rain_row
from tests.support.processes import driftloop

SERVICES = ("ingest", "validation", "inference", "feedback", "registry", "telemetry")
SETTLE_SECONDS = 30.0

Rows = list[dict[str, Any]]


@asynccontextmanager
async def system(
    url: str, folder: Path, names: tuple[str, ...] = SERVICES, keys: str = ""
) -> AsyncIterator[dict[str, Process]]:
    """Services as processes, with the tables of telemetry in `folder`."""
    environment = {
        "DRIFTLOOP_TELEMETRY_PATH": str(folder / "clickhouse"),
        "DRIFTLOOP_TELEMETRY_FLUSH_SECONDS": "0.05",
        "DRIFTLOOP_FEEDBACK_REPORT_SECONDS": "0.1",
        "DRIFTLOOP_INFERENCE_ACK_SECONDS": "2",
        "DRIFTLOOP_INFERENCE_GRPC_PORT": "-1",
        "DRIFTLOOP_KEYS": keys,
    }
    made = {name: Process(name, url, folder / f"{name}.log", environment) for name in names}
    async with AsyncExitStack() as stack:
        for its in made.values():
            its.start()
            stack.callback(its.stop)
        await ready(made)
        yield made


async def ready(services: dict[str, Process]) -> None:
    """Wait until all are ready; on a busy machine many at once take their time."""
    for its in services.values():
        for patience in (2, 1, 0):
            try:
                await asyncio.to_thread(its.wait)
                break
            except AssertionError:
                if not patience:
                    raise


def rows(first: int, last: int, prefix: str = "e", **changes: Any) -> Rows:
    """Rows of the model `rain`, by their numbers."""
    return [rain_row(at, **{"event_id": f"{prefix}{at}", **changes}) for at in range(first, last)]


def labels(first: int, last: int, label: str = "1", prefix: str = "e") -> Rows:
    """Their labels."""
    return [{"event_id": f"{prefix}{at}", "label": label} for at in range(first, last)]


async def audited(bus: Bus, model: str, since: float = 0.0) -> Report:
    """The audit of a model once nothing is on its way."""
    await settled(bus, [model], SETTLE_SECONDS)
    return await audit(bus, [model], since)


def parts(report: Report, name: str) -> dict[str, int]:
    """The parts of one sum that are not 0."""
    [found] = [one for one in report.sums if one.name == name]
    return {part: count for part, count in found.parts.items() if count}


def broken(report: Report) -> dict[str, tuple[int, int]]:
    """What is missing and what is extra of each sum that does not close."""
    return {one.name: (one.missing, one.extra) for one in report.sums if not one.closes}


async def told(url: str, *arguments: str | Path, keys: str = "") -> tuple[int, Any]:
    """The exit code and the JSON document of a command."""
    code, out, err = await driftloop(url, *arguments, "--json", keys=keys)
    assert out, err
    return code, json.loads(out)
