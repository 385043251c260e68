"""The services as processes of their own: started one by one, measured, ended."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.local.bench import processes
from driftloop.local.bench.many.fill import fill
from driftloop.local.bench.many.models import Known
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.local.readiness import unready
from driftloop.runtime.settings import PREFIX

LOG_GB: Final = 16.0
READY_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 0.02
NATS: Final = "nats"


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What a process takes when nothing is sent: MiB, and share of a core; and its start (s)."""

    name: str
    ready_s: float
    rss_mb: float
    pss_mb: float
    cores: float


class Fleet:
    """NATS and services; `addresses` of those that have started."""

    def __init__(self, nats: NatsServer, bus: Bus, folder: Path) -> None:
        self.bus = bus
        self.addresses: dict[str, str] = {}
        self._nats = nats
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ready: dict[str, float] = {}

    @property
    def url(self) -> str:
        """Address of the NATS server."""
        return self._nats.url

    async def start(self, name: str, settings: Mapping[str, str]) -> float:
        """Start a service; the seconds until it was ready. Raises `RuntimeError` if it is not."""
        port, log = free_port(), self._folder / f"{name}.log"
        own = {
            f"{PREFIX}NATS_URL": self._nats.url,
            f"{PREFIX}NATS_LOG_GB": str(LOG_GB),
            f"{PREFIX}PORT": str(port),
            f"{PREFIX}LOG_LEVEL": "warning",
            f"{PREFIX}TELEMETRY_PATH": str(self._folder / "clickhouse"),
        }
        began = time.monotonic()
        command = (sys.executable, "-m", f"driftloop.{name}")
        process = processes.start(command, log, own | dict(settings))
        self._processes[name] = process
        self.addresses[name] = f"http://127.0.0.1:{port}"
        while why := await asyncio.to_thread(unready, self.addresses[name]):
            if process.poll() is not None or time.monotonic() - began > READY_SECONDS:
                said = processes.last_words(log)
                raise RuntimeError(f"{name}: is not ready: {why}; {said}")
            await asyncio.sleep(LOOK_SECONDS)
        self._ready[name] = time.monotonic() - began
        return self._ready[name]

    async def idle(self, seconds: float) -> list[Idle]:
        """What each process takes over so many seconds."""
        pids = {name: process.pid for name, process in self._processes.items()}
        if self._nats.process is not None:
            pids[NATS] = self._nats.process.pid
        before, began = {name: _cpu(pid) for name, pid in pids.items()}, time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        found = []
        for name, pid in pids.items():
            memory = psutil.Process(pid).memory_full_info()
            made = Idle(
                name=name,
                ready_s=self._ready.get(name, 0.0),
                rss_mb=memory.rss / 2**20,
                pss_mb=memory.pss / 2**20,
                cores=(_cpu(pid) - before[name]) / took,
            )
            found.append(made)
        return found

    def resident(self, name: str) -> float:
        """Resident MiB of a service now."""
        return float(psutil.Process(self._processes[name].pid).memory_info().rss / 2**20)

    def logged(self) -> dict[str, int]:
        """Lines in the log of each service."""
        files = {name: self._folder / f"{name}.log" for name in self._processes}
        return {name: len(file.read_bytes().splitlines()) for name, file in files.items()}

    def stop(self) -> None:
        """End all services."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            processes.stop(process)


@contextlib.asynccontextmanager
async def fleet(models: Sequence[Known], folder: Path) -> AsyncIterator[Fleet]:
    """NATS with all models registered and no service yet; everything is ended at the end."""
    nats = NatsServer(folder / NATS, port=0)
    nats.start()
    try:
        bus = await Bus.open(nats.url, "bench", layout=Layout(log_gb=LOG_GB))
        made = Fleet(nats, bus, folder)
        try:
            await fill(bus, models)
            yield made
        finally:
            made.stop()
            await bus.close()
    finally:
        nats.stop()


def _cpu(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)
