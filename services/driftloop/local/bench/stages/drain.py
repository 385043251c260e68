"""One visit: a server is stopped, the log filled, the server let go and timed until it is done."""

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from driftloop.bus.bus import Bus
from driftloop.local.bench import processes
from driftloop.local.bench.processes import Meter
from driftloop.local.bench.stages.stage import MODEL, Server, Size, Stage
from driftloop.local.nats import NatsServer, free_port
from driftloop.local.readiness import unready
from driftloop.runtime.settings import PREFIX

READY_SECONDS: Final = 60.0
DRAIN_SECONDS: Final = 60.0
TICK: Final = 0.01
"""Seconds in which the system counts CPU."""
WARM: Final = 8
"""Batches before the clock starts."""
PUBLISHED: Final = 64
"""Messages published at once."""
STREAMS: Final = ("ROWS", "LABELS", "SCORED", "OUTCOMES", "DEAD", "STATS", "EVENTS")


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """What one visit gave; CPU seconds of the server and of NATS, resident MB after it."""

    rows: int
    seconds: float
    cpu_seconds: float
    nats_cpu_seconds: float
    rss_mb: float
    other_cores: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def rate_core(self) -> float:
        """Rows a second of the server's CPU."""
        return self.rows / max(self.cpu_seconds, TICK)


class Drain:
    """Visits servers, one after the other, with one NATS server."""

    def __init__(self, nats: NatsServer, bus: Bus, folder: Path) -> None:
        self._nats = nats
        self._bus = bus
        self._folder = folder
        self._visits = 0

    async def visit(self, stage: Stage, server: Server, size: Size, model: Path) -> Drained:
        """Start the server, warm it up, measure it, end it; raises `RuntimeError`."""
        self._visits += 1
        size = server.size or size
        await self._empty()
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        folder = self._folder / f"visit-{self._visits}"
        folder.mkdir()
        log = folder / "server.log"
        settings = {
            f"{PREFIX}NATS_URL": self._nats.url,
            f"{PREFIX}PORT": str(port),
            f"{PREFIX}LOG_LEVEL": "warning",
            f"{PREFIX}TELEMETRY_PATH": str(folder / "clickhouse"),
        }
        process = processes.start(server.command(self._nats.url, model), log, settings)
        try:
            if server.service:
                await self._ready(base, log)
            warm = Size(WARM, size.rows)
            await self._publish(server, warm, f"warm-{self._visits}")
            await self._done(server, warm, base, log)
            processes.pause(process.pid, paused=True)
            await self._publish(server, size, f"run-{self._visits}")
            return await self._timed(server, size, base, log, process.pid)
        finally:
            processes.stop(process)

    async def _timed(self, server: Server, size: Size, base: str, log: Path, pid: int) -> Drained:
        done = Size(size.batches + WARM, size.rows)
        assert self._nats.process is not None
        meter, nats = Meter(pid), Meter(self._nats.process.pid)
        processes.pause(pid, paused=False)
        began = time.perf_counter()
        await self._done(server, done, base, log)
        seconds = time.perf_counter() - began
        used, its = meter.read(), nats.read()
        return Drained(
            rows=size.batches * size.rows,
            seconds=seconds,
            cpu_seconds=used.cpu_seconds or 0.0,
            nats_cpu_seconds=its.cpu_seconds or 0.0,
            rss_mb=(used.rss_bytes or 0) / 2**20,
            other_cores=used.other_cores or 0.0,
        )

    async def _empty(self) -> None:
        for stream in STREAMS:
            await self._bus.connection.js.purge_stream(stream)
            for consumer in await self._bus.connection.js.consumers_info(stream):
                await self._bus.connection.js.delete_consumer(stream, consumer.name)

    async def _publish(self, server: Server, size: Size, run: str) -> None:
        window = []
        for message in server.feed(MODEL, size, run):
            window.append(message)
            if len(window) == PUBLISHED:
                await self._bus.publish(window)
                window = []
        if window:
            await self._bus.publish(window)

    async def _ready(self, base: str, log: Path) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while (why := await asyncio.to_thread(unready, base)) is not None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{base} is not ready: {why}; {processes.last_words(log)}")
            await asyncio.sleep(0.05)

    async def _handled(self, server: Server, base: str, log: Path) -> int:
        try:
            return await server.handled.rows(self._bus, base)
        except OSError as error:
            words = processes.last_words(log)
            raise RuntimeError(f"{server.name}: {error}; {words}") from error

    async def _done(self, server: Server, size: Size, base: str, log: Path) -> None:
        """Wait until so much is handled in all."""
        deadline = time.monotonic() + DRAIN_SECONDS
        wanted = size.batches * size.rows
        while (handled := await self._handled(server, base, log)) < wanted:
            if time.monotonic() > deadline:
                told = f"{handled} of {wanted} rows after {DRAIN_SECONDS:g} s"
                raise RuntimeError(f"{server.name}: {told}; {processes.last_words(log)}")
            await asyncio.sleep(server.handled.pause)
