"""Fairness: a trickle of many models alone, and beside a flood of one."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from driftloop.local.bench import processes
from driftloop.local.bench.many.asking import ask
from driftloop.local.bench.many.flow import Flow, Ledger, Piece, send
from driftloop.local.bench.many.models import Known
from driftloop.local.bench.many.services import Fleet

Kind = Literal["rows", "http"]

OTHERS: Final = 20
RATE: Final = 50.0
"""Batches or requests a second, of all others together."""
ROWS: Final = 10
"""Rows of one batch of the trickle."""
FLOOD_ROWS: Final = {"rows": 8192, "http": 256}
IN_FLIGHT: Final = {"rows": 4, "http": 16}


class Trickle(msgspec.Struct, frozen=True, kw_only=True):
    """The others' latencies (ms), with or without the flood, and the flood's rows a second."""

    kind: Kind
    flood: bool
    p50_ms: float
    p99_ms: float
    flood_rows_per_s: float
    asked: int
    failed: int
    problem: str = ""


async def trickle(
    fleet: Fleet, kind: Kind, models: Sequence[Known], seconds: float, *, flooded: bool
) -> Trickle:
    """Rows or requests of `OTHERS` models; the first model is the one that floods."""
    others = list(models[1 : 1 + OTHERS])
    if not flooded:
        return await _trickle(fleet, kind, others, seconds, flood=None)
    async with _flood(fleet, kind) as taken:
        await asyncio.sleep(1.0)
        return await _trickle(fleet, kind, others, seconds, flood=taken)


async def _trickle(
    fleet: Fleet, kind: Kind, others: Sequence[Known], seconds: float, flood: list[int] | None
) -> Trickle:
    began, before = time.monotonic(), flood[-1] if flood else 0
    count = int(seconds * RATE)
    if kind == "rows":
        made = await _rows(fleet, others, count)
        p50, p99, failed, problem = made.p50_ms, made.p99_ms, made.lost, made.problem
    else:
        turn = [others[at % len(others)] for at in range(count)]
        asked = await asyncio.to_thread(ask, fleet.addresses["inference"], turn, pause=1 / RATE)
        taken = asked.ms or [0.0]
        p50, p99 = float(np.percentile(taken, 50)), float(np.percentile(taken, 99))
        failed, problem = asked.failed + asked.wrong, asked.problem
    took = time.monotonic() - began
    return Trickle(
        kind=kind,
        flood=flood is not None,
        p50_ms=p50,
        p99_ms=p99,
        flood_rows_per_s=((flood[-1] if flood else 0) - before) / took,
        asked=count,
        failed=failed,
        problem=problem,
    )


async def _rows(fleet: Fleet, others: Sequence[Known], count: int) -> Flow:
    """Batches at an even rate, each sent without waiting for the one before."""
    bus, ledger = fleet.bus, Ledger(others)
    run, began = f"trickle-{time.time_ns()}", time.perf_counter()
    subjects = tuple(f"scored.{model.name}.*" for model in others)
    follow = bus.follow("SCORED", subjects, await bus.log.last_seq("SCORED") + 1)
    await follow.read(timeout=0.01)
    done = False

    async def listen() -> None:
        heard = time.monotonic()
        while not done or ledger.left:
            for message in await follow.read(most=256, timeout=0.2):
                ledger.heard(message)
                heard = time.monotonic()
            if time.monotonic() - heard > 30.0:
                break
        await follow.close()

    listening = asyncio.create_task(listen())
    async with asyncio.TaskGroup() as tasks:
        for at in range(count):
            piece: Piece = (others[at % len(others)], f"{run}-{at}", ROWS, at)
            tasks.create_task(send(bus, ledger, piece))
            await asyncio.sleep(max(0.0, began + (at + 1) / RATE - time.perf_counter()))
    done = True
    await listening
    return ledger.result(count * ROWS, time.perf_counter() - began)


@contextlib.asynccontextmanager
async def _flood(fleet: Fleet, kind: Kind) -> AsyncIterator[list[int]]:
    """A flood of the first model beside the block; the rows it has had taken so far."""
    address = fleet.url if kind == "rows" else fleet.addresses["inference"]
    arguments = (kind, address, 0, FLOOD_ROWS[kind], IN_FLIGHT[kind])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "driftloop.local.bench.many.flood",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    taken = [0]
    assert process.stdout is not None
    lines = process.stdout

    async def read() -> None:
        async for line in lines:
            taken[0] = int(line)

    reading = asyncio.create_task(read())
    try:
        yield taken
    finally:
        for one in processes.family(process.pid):
            one.kill()
        await process.wait()
        await reading
