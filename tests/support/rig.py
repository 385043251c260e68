"""The whole system with a champion and steady traffic, for faults that are brought about in it."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.rights import ADMIN
from driftloop.client.client import Client
from driftloop.contracts.errors import DriftloopError
from driftloop.local.system import System
from driftloop.local.up import register
from driftloop.modelspec.spec import Spec
from tests.support.ledger import Asking, Ledger, one_champion, runs_end
from tests.support.world import BOOTSTRAP_ROWS, world, world_spec

ROW = {"x": 0.5, "y": -0.5, "place": "coast"}
ROWS = 200_000
"""Rows of the world, unless it is said otherwise; it does not change."""


@dataclass
class Rig:
    """A running system, what was sent to its one model, and connections to it."""

    system: System
    bus: Bus
    """Reads every log."""
    admin: Bus
    """May change what it reads."""
    client: Client
    http: httpx.AsyncClient
    ledger: Ledger
    table: pa.Table
    sent: int = 0

    @property
    def model(self) -> str:
        """The model's name."""
        return self.ledger.model

    async def send(self, rows: int) -> None:
        """The next rows of the world, then their labels."""
        part = self.table.slice(self.sent, rows).combine_chunks().to_batches()[0]
        self.sent += rows
        features = part.drop_columns(["label", "label_time"])
        labels = part.select(["event_id", "label", "label_time"])
        await self.ledger.send(self.client, features, labels)

    async def traffic(self, stop: asyncio.Event, each: int = 100, pause: float = 0.05) -> None:
        """Batches of rows and labels, one after another, until `stop` is set."""
        self.ledger.rest()
        while not stop.is_set():
            await self.send(each)
            await asyncio.sleep(pause)

    def asking(self, name: str = "inference") -> Asking:
        """Asks a process of inference over HTTP."""
        return Asking.over_http(self.http, self.system.http(name), self.model, ROW)

    async def answers(self) -> bool:
        """Whether the model is loaded wherever it is asked for: a promotion is said before that."""
        names = [name for name in self.system.children if name.startswith("inference")]
        urls = [f"{self.system.http(name)}/v2/models/{self.model}/ready" for name in names]
        return all([(await self.http.get(url)).status_code == 200 for url in urls])

    @contextlib.asynccontextmanager
    async def busy(self, each: int = 100, pause: float = 0.05) -> AsyncIterator[Asking]:
        """Traffic, and somebody who asks for predictions, while the fault is brought about."""
        stop, asking = asyncio.Event(), self.asking()
        tasks = [
            asyncio.create_task(self.traffic(stop, each, pause)),
            asyncio.create_task(asking.run(stop)),
        ]
        try:
            yield asking
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    def process(self, name: str) -> psutil.Process:
        """The process of a replica, or of NATS."""
        child = self.system.nats if name == "nats" else self.system.children[name]
        assert child.process is not None
        return psutil.Process(child.process.pid)

    async def kill(self, name: str) -> float:
        """SIGKILL; seconds until all of the system is ready again."""
        began, before = time.monotonic(), self.process(name).pid
        self.process(name).kill()

        async def another() -> bool:
            with contextlib.suppress(psutil.Error):
                return self.process(name).pid != before
            return False

        await until(another, f"{name} is started again")
        await self.system.ready()
        return time.monotonic() - began

    @contextlib.contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        process = self.process(name)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    async def check(self, *, champion: int = 1) -> dict[str, int]:
        """All invariants at once; the counts for the table. 0 is any champion, as long as it is
        the only one.
        """
        books = (await self.ledger.settled(self.bus)).require()
        assert await one_champion(self.bus, self.model) == champion or not champion
        await runs_end(self.bus, self.model)
        return books.counts


@contextlib.asynccontextmanager
async def rig(
    folder: Path,
    *,
    spec: Spec | None = None,
    replicas: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    table: pa.Table | None = None,
) -> AsyncIterator[Rig]:
    """A system with a first champion that it has trained itself."""
    system = System(
        folder,
        base_port=0,
        nats_port=0,
        replicas=replicas or {},
        hang_seconds=0.0,  # to stand still is one of the faults; who ends that has its own tests
        environment={
            "DRIFTLOOP_FEEDBACK_REPORT_SECONDS": "0.2",
            "DRIFTLOOP_INFERENCE_ACK_SECONDS": "3",
            **(environment or {}),
        },
    )
    try:
        await system.start()
        async with contextlib.AsyncExitStack() as stack:
            bus = await stack.enter_async_context(system.bus())
            admin = await stack.enter_async_context(system.bus(ADMIN))
            client = await stack.enter_async_context(
                Client(system.url, key=system.key(), timeout=1.0)
            )
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=5.0))
            wanted = spec or world_spec("world")
            rows = world(ROWS, ROWS) if table is None else table
            made = Rig(system, bus, admin, client, http, Ledger(wanted.name), rows)
            await register(bus, [wanted], by="test")
            await made.send(BOOTSTRAP_ROWS + 300)
            await until(lambda: _promoted(bus, wanted.name), "the first champion")
            await until(made.answers, "each process of inference has loaded it")
            yield made
    finally:
        await system.stop()


async def _promoted(bus: Bus, model: str) -> bool:
    state = (await bus.models.read(model)).value
    return state is not None and state.champion == 1 and state.run is None


async def until(true: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0) -> float:
    """Wait until `true`, at most so long; seconds it took. While nobody answers, it is not."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(DriftloopError, httpx.HTTPError):
            if await true():
                return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)
