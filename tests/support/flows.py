"""A small model, services of this process and of their own, and what a log holds."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.bus.provision import Layout
from driftloop.local.ports import free_port
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.spec import Registered, Spec
from driftloop.runtime.service import Service
from driftloop.runtime.settings import Shared

DEADLINE = 20.0
NOW_MS = 1_704_067_200_000
"""2024-01-01."""

S = TypeVar("S", bound=Shared)


def rain_spec(**changes: Any) -> Spec:
    """A model with a feature of every type."""
    made: dict[str, Any] = {
        "name": "rain",
        "task": "classification",
        "target": {"name": "wet", "classes": ["0", "1"]},
        "features": [
            {"name": "wind", "min": 0, "max": 200},
            {"name": "day", "type": "integer", "nullable": True},
            {"name": "place", "type": "category", "categories": ["coast", "hill", "7"]},
            {"name": "summer", "type": "boolean", "nullable": True},
        ],
    }
    return from_dict(made | changes)


def rain_row(number: int, **changes: Any) -> dict[str, Any]:
    """A row the model accepts."""
    row = {
        "event_id": f"e{number}",
        "event_time": NOW_MS + number,
        "wind": number % 100 + 0.5,
        "day": number % 365,
        "place": ("coast", "hill")[number % 2],
        "summer": number % 2 == 0,
    }
    return row | changes


async def register(bus: Bus, spec: Spec) -> None:
    """Do what the registry does when a spec is registered."""
    revision = (await bus.specs.read(spec.name)).revision
    registered = Registered(spec=spec, revision=revision + 1, by="test", at=0.0)
    await bus.specs.write(spec.name, registered, revision)


@contextlib.asynccontextmanager
async def running(
    service: Service[S], url: str, **settings: Any
) -> AsyncIterator[tuple[Bus, httpx.AsyncClient]]:
    """The service wired in this process: its bus and a client of its HTTP side."""
    bus = await Bus.open(url, service.name, layout=Layout())
    wired = await service.wire(service.settings(nats_url=url, **settings), bus)
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    await bus.start()
    transport = httpx.ASGITransport(app=wired.http or _nothing, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            yield bus, http
    finally:
        bus.stopping.set()
        await asyncio.gather(*tasks)
        await bus.close()


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("this service has no HTTP side of its own")


class Process:
    """A service in a process of its own."""

    def __init__(
        self, name: str, url: str, log: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", f"driftloop.{name}"]
        self._log = log
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DRIFTLOOP_")},
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DRIFTLOOP_NATS_URL": url,
            "DRIFTLOOP_PORT": str(self.port),
            **(settings or {}),
        }

    def start(self) -> None:
        """Start it; it takes a second or two until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command, env=self._environment, stderr=log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def wait(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.base}/readyz", timeout=1).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self._log.read_text()[-2000:]}")

    def log(self) -> str:
        """What it has logged, over all its lives."""
        return self._log.read_text()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and what it takes."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(15)


@contextlib.contextmanager
def process(name: str, url: str, folder: Path, **settings: str) -> Iterator[Process]:
    """A ready service in a process of its own, with these environment variables besides."""
    made = Process(name, url, folder / f"{name}.log", settings)
    made.start()
    try:
        made.wait()
        yield made
    finally:
        made.stop()


async def held(bus: Bus, stream: str, subject: str) -> list[Delivered]:
    """All messages of a subject, in order."""
    last = await bus.log.last(stream, subject)
    if last is None:
        return []
    return [message async for message in bus.log.range(stream, subject, 1, last.seq)]


async def rows_held(bus: Bus, stream: str, subject: str) -> list[dict[str, Any]]:
    """All rows of all batches of a subject, in order."""
    messages = await held(bus, stream, subject)
    return [row for message in messages for row in message.batch().to_pylist()]


async def eventually(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until `true`, at most `DEADLINE` seconds."""
    deadline = time.monotonic() + DEADLINE
    while not await true():
        assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}"
        await asyncio.sleep(0.02)
