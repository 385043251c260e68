"""Finds the highest rate that the chain keeps up, and the latency below it."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from driftloop.bus.bus import Bus
from driftloop.local.bench import ours
from driftloop.local.bench.chain.load import ChainJob, ChainTold
from driftloop.local.bench.models import Fitted, fitted
from driftloop.local.system import System

SERVICES: Final = (
    "ingest",
    "validation",
    "inference",
    "feedback",
    "drift",
    "telemetry",
    "registry",
)
"""Those that rows pass, and the registry, which makes room in the log."""
MODULE: Final = "driftloop.local.bench.chain.load"
MODEL: Final = "bench"
STREAMS: Final = ("ROWS", "LABELS", "SCORED", "OUTCOMES")
SHARES: Final = (0.1, 0.5, 0.9)
"""Of the highest rate, at which latency is measured."""
SPIKE: Final = 10.0
"""Times the highest rate, offered for `spike_seconds`."""
POISONED: Final = 0.9
"""Of the highest rate, kept up with bad input too, or not."""
BAD: Final = 0.01
"""Share of rows that break the contract in it."""
CORRUPT: Final = 1_000
"""One batch in so many cannot be read."""
SPIKE_DRAIN_SECONDS: Final = 300.0
LEAST: Final = 0.05
"""Of the first rate: a chain that does not even keep up this is broken."""
STEPS: Final = 4
"""Halvings of the interval in which the highest rate lies."""
GRACE_SECONDS: Final = 60.0
BEHIND_SECONDS: Final = 1.0
READ_SECONDS: Final = 300.0
PEAK_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 3.0
"""At a rate that is kept up everything is read by every service so soon after the last row."""

Tell = Callable[[str], None]


class ChainOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench is told."""

    rows: int = 1_024
    """Of a batch."""
    first_rate: float = 20_000.0
    """Rows a second to begin with."""
    most_rate: float = 4e6
    """Rows a second above which nothing is tried."""
    probe_seconds: float = 8.0
    confirm_seconds: float = 60.0
    latency_seconds: float = 15.0
    spike_seconds: float = 60.0
    folder: Path = Path(".driftloop/bench")


class ChainPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One run at one rate: whether the chain kept up, and what each process used."""

    rate: float
    seconds: float
    kept_up: bool
    told: ChainTold
    drain_seconds: float
    """From the last row sent until every service had read all there was."""
    cores: dict[str, float]
    megabytes: dict[str, float]
    """The most at any time."""


class ChainResult(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate kept up for `confirm_seconds`, the latency at shares of it, what became of
    `SPIKE` times as much, and of bad input at `POISONED` of it.
    """

    highest: ChainPoint
    latency: dict[str, ChainPoint]
    spike: ChainPoint
    probes: list[ChainPoint]
    poisoned: ChainPoint | None = None
    """None in what was measured before there was such a run."""


def run_chain(options: ChainOptions, tell: Tell) -> ChainResult:
    """All of it; raises `RuntimeError` where the chain keeps up with no rate."""
    model = fitted("logreg", options.folder)
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
        return asyncio.run(_run(options, model, Path(folder), tell))


async def _run(options: ChainOptions, model: Fitted, folder: Path, tell: Tell) -> ChainResult:
    system = System(folder, base_port=0, nats_port=0, services=SERVICES, secure=False)
    try:
        await system.start()
        bus = await Bus.open(system.url, "bench")
        try:
            await ours.register(bus, MODEL, [model.path.read_bytes()])
            return await _Chain(options, system, bus, tell).result()
        finally:
            await bus.close()
    finally:
        await system.stop()


class _Chain:
    """The running chain."""

    def __init__(self, options: ChainOptions, system: System, bus: Bus, tell: Tell) -> None:
        self._options = options
        self._bus = bus
        self._system = system
        self._tell = tell
        self._runs = count()
        self._probes: list[ChainPoint] = []

    async def result(self) -> ChainResult:
        """Search, confirm, and measure below."""
        options = self._options
        await self._at(options.first_rate / 4, 3.0)
        low, high = 0.0, options.first_rate
        while high <= options.most_rate and (await self._probe(high)).kept_up:
            low, high = high, 2 * high
        for _ in range(STEPS if high <= options.most_rate else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if (await self._probe(middle)).kept_up else (low, middle)
        highest = await self._confirmed(low)
        latency = {
            f"{share:.0%}": await self._at(share * highest.rate, options.latency_seconds)
            for share in SHARES
        }
        poisoned = await self._at(POISONED * highest.rate, options.confirm_seconds, poisoned=True)
        spike = await self._at(SPIKE * highest.rate, options.spike_seconds, spike=True)
        return ChainResult(
            highest=highest, latency=latency, spike=spike, poisoned=poisoned, probes=self._probes
        )

    async def _confirmed(self, rate: float) -> ChainPoint:
        while rate >= self._options.first_rate * LEAST:
            point = await self._at(rate, self._options.confirm_seconds)
            if point.kept_up:
                return point
            self._probes.append(point)
            rate *= 0.9
        raise RuntimeError("chain: keeps up with no rate; see its logs")

    async def _probe(self, rate: float) -> ChainPoint:
        point = await self._at(rate, self._options.probe_seconds)
        self._probes.append(point)
        return point

    async def _at(
        self, rate: float, seconds: float, *, spike: bool = False, poisoned: bool = False
    ) -> ChainPoint:
        self._tell(f"chain: {rate:,.0f} rows/s for {seconds:g} s")
        before = self._system.usage()
        peak = asyncio.create_task(self._peak())
        job = self._job(rate, seconds, spike=spike)
        if poisoned:
            job = msgspec.structs.replace(job, bad=BAD, corrupt=CORRUPT)
        told = await asyncio.to_thread(load, job)
        drain = told.drain_seconds + await self._read_by_all()
        after = self._system.usage()
        peak.cancel()
        kept_up = (
            not told.refused and told.behind_seconds < BEHIND_SECONDS and drain < DRAIN_SECONDS
        )
        self._tell(
            f"chain: {'kept up' if kept_up else 'fell behind'}, p99 {told.p99_ms:.1f} ms, "
            f"all read {drain:.1f} s after the last row"
        )
        return ChainPoint(
            rate=rate,
            seconds=seconds,
            kept_up=kept_up,
            told=told,
            drain_seconds=drain,
            cores={
                name: (used[1] - before.get(name, (0, 0))[1]) / seconds
                for name, used in after.items()
            },
            megabytes=self._megabytes,
        )

    def _job(self, rate: float, seconds: float, *, spike: bool) -> ChainJob:
        return ChainJob(
            url=self._system.url,
            model=MODEL,
            rate=rate,
            rows=self._options.rows,
            seconds=seconds,
            run=f"r{next(self._runs)}",
            drain=SPIKE_DRAIN_SECONDS if spike else 30.0,
            spike=spike,
        )

    async def _peak(self) -> None:
        """Keep the most memory that each process has had."""
        self._megabytes: dict[str, float] = {}
        while True:
            for name, (megabytes, _) in self._system.usage().items():
                self._megabytes[name] = max(megabytes, self._megabytes.get(name, 0.0))
            await asyncio.sleep(PEAK_SECONDS)

    async def _read_by_all(self) -> float:
        """Seconds until no consumer of the data streams has anything left to read."""
        began = time.perf_counter()
        while time.perf_counter() - began < READ_SECONDS:
            left = 0
            for stream in STREAMS:
                for consumer in await self._bus.connection.js.consumers_info(stream):
                    left += (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            if not left:
                return time.perf_counter() - began
            await asyncio.sleep(0.05)
        return float("inf")


def load(job: ChainJob) -> ChainTold:
    """Send and hear in a process of its own; raises `RuntimeError` with its last words."""
    made = subprocess.run(
        [sys.executable, "-m", MODULE],
        check=False,
        input=msgspec.json.encode(job),
        capture_output=True,
        timeout=job.seconds + job.drain + GRACE_SECONDS,
    )
    if made.returncode or not made.stdout:
        words = made.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"chain: {' '.join(words) or f'exit code {made.returncode}'}")
    return msgspec.msgpack.decode(made.stdout, type=ChainTold)
