"""One visit: a server is stopped, the log filled, the server let go and timed until it is done."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.local.bench import processes
from driftloop.local.bench.processes import Meter
from driftloop.local.bench.stages.stage import MODEL, Server, Size
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
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
LOG_GB: Final = 16.0


Register = Callable[[Bus], Awaitable[None]]
"""Makes the model known."""


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
    """Visits servers, one after the other, each with a NATS server of its own."""

    def __init__(self, register: Register, folder: Path) -> None:
        self._register = register
        self._folder = folder
        self._visits = 0

    async def visit(self, server: Server, size: Size, model: Path) -> Drained:
        """Start the server, warm it up, measure it, end it; raises `RuntimeError`."""
        self._visits += 1
        folder = self._folder / f"visit-{self._visits}"
        nats = NatsServer(folder / "nats", port=0)
        nats.start()
        try:
            bus = await Bus.open(nats.url, "bench", layout=Layout(log_gb=LOG_GB))
            try:
                await self._register(bus)
                return await _Visit(nats, bus, server, folder).result(server.size or size, model)
            finally:
                await bus.close()
        finally:
            nats.stop()
            shutil.rmtree(folder, ignore_errors=True)


class _Visit:
    """One server, and the log it drains."""

    def __init__(self, nats: NatsServer, bus: Bus, server: Server, folder: Path) -> None:
        self._nats = nats
        self._bus = bus
        self._server = server
        self._folder = folder
        self._port = free_port()
        self._base = f"http://127.0.0.1:{self._port}"
        self._log = folder / "server.log"

    async def result(self, size: Size, model: Path) -> Drained:
        """All of it."""
        settings = {
            f"{PREFIX}NATS_URL": self._nats.url,
            f"{PREFIX}PORT": str(self._port),
            f"{PREFIX}LOG_LEVEL": "warning",
            f"{PREFIX}TELEMETRY_PATH": str(self._folder / "clickhouse"),
        }
        process = processes.start(self._server.command(self._nats.url, model), self._log, settings)
        try:
            if self._server.service:
                await self._ready()
            warm = Size(WARM, size.rows)
            await self._publish(warm, "warm")
            await self._done(warm)
            processes.pause(process.pid, paused=True)
            await self._publish(size, "run")
            return await self._timed(size, process.pid)
        finally:
            processes.stop(process)

    async def _timed(self, size: Size, pid: int) -> Drained:
        done = Size(size.batches + WARM, size.rows)
        assert self._nats.process is not None
        meter, nats = Meter(pid), Meter(self._nats.process.pid)
        processes.pause(pid, paused=False)
        began = time.perf_counter()
        await self._done(done)
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

    async def _publish(self, size: Size, run: str) -> None:
        window = []
        for message in self._server.feed(MODEL, size, run):
            window.append(message)
            if len(window) == PUBLISHED:
                await self._bus.publish(window)
                window = []
        if window:
            await self._bus.publish(window)

    async def _ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while (why := await asyncio.to_thread(unready, self._base)) is not None:
            if time.monotonic() > deadline:
                words = processes.last_words(self._log)
                raise RuntimeError(f"{self._server.name} is not ready: {why}; {words}")
            await asyncio.sleep(0.05)

    async def _done(self, size: Size) -> None:
        """Wait until so much is handled in all."""
        deadline = time.monotonic() + DRAIN_SECONDS
        wanted = size.batches * size.rows
        while (handled := await self._handled()) < wanted:
            if time.monotonic() > deadline:
                told = f"{handled} of {wanted} rows after {DRAIN_SECONDS:g} s"
                words = processes.last_words(self._log)
                raise RuntimeError(f"{self._server.name}: {told}; {words}")
            await asyncio.sleep(self._server.handled.pause)

    async def _handled(self) -> int:
        try:
            return await self._server.handled.rows(self._bus, self._base)
        except OSError as error:
            words = processes.last_words(self._log)
            raise RuntimeError(f"{self._server.name}: {error}; {words}") from error
