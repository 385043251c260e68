"""A whole system through which real flights are replayed, as far as a test wants them to go."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.bus.bus import Bus
from driftloop.bus.rights import ADMIN
from driftloop.client.client import Client
from driftloop.contracts import tokens
from driftloop.contracts.tokens import Scope
from driftloop.local.demo.options import DemoOptions
from driftloop.local.demo.replay import HOUR_MS, Replay
from driftloop.local.demo.run import DURABLES
from driftloop.local.demo.watch import Watch
from driftloop.local.flights import load_flights
from driftloop.local.system import System
from driftloop.local.up import register
from driftloop.local.watcher import watch
from driftloop.modelspec import check
from driftloop.modelspec.spec import Spec
from tests.support.access import made

SPEC = check.load(Path(__file__).with_name("flights.toml"))
FROM = datetime(2013, 11, 28, tzinfo=UTC)
UNTIL = datetime(2013, 12, 18, tzinfo=UTC)
LEFT_OUT = ["dest"]
"""A hundred categories that the small model does without."""
FIRST_ROWS = 5_000
"""Within so many flights there are labels enough for the first version."""
SNOW_ROW = 6_300
"""About the first flight of 5 December, when it began to snow."""
SECONDS = 60.0


class Player(Replay):
    """A replay that goes on when it is told to, `slice_hours` of flights at a time."""

    slice_hours = 2.0

    async def play(self, rows: int, until: Callable[[], bool] = lambda: False) -> None:
        """Send flights, and labels as they land, up to so many flights or until it is so."""
        progress = self.progress
        progress.clock = progress.clock or int(self._times[0])
        while progress.rows < min(rows, progress.total) and not until():
            await self._slice(progress.clock + int(self.slice_hours * HOUR_MS))
            await self._keep_pace(self._options.in_flight)
            await self._hold()

    def first(self, rows: int) -> pa.RecordBatch:
        """The first flights, without their labels."""
        return self._features.slice(0, rows).combine_chunks().to_batches()[0]

    async def settle(self) -> None:
        """Wait until all labels that were sent have come out of the join."""
        await self._keep_pace(0)


@dataclass
class Played:
    """A model and its flights."""

    name: str
    player: Player
    watch: Watch

    def times(self, kind: str) -> int:
        """How often events of this kind have been said."""
        return sum(event.kind == kind for event, _ in self.watch.events)

    async def said(self, kind: str, often: int = 1) -> None:
        """Wait until events of this kind have been said so often."""

        def enough() -> bool:
            return self.times(kind) >= often

        def heard() -> str:
            return f"{kind} {often} times: {[event.kind for event, _ in self.watch.events]}"

        await until(enough, heard)

    async def play_until(self, kind: str, often: int, rows: int) -> None:
        """Play until an event has been said so often, for so many flights at most."""
        await self.player.play(rows, lambda: self.times(kind) >= often)
        await self.said(kind, often)


@dataclass
class Story:
    """The running system, its models, and connections to it."""

    system: System
    bus: Bus
    admin: Bus
    api: httpx.AsyncClient
    """The operator API, with a token that may do all."""
    played: dict[str, Played] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the console."""
        return self.system.http("console")

    async def token(self, name: str, *scopes: Scope, models: Iterable[str] = ("*",)) -> str:
        """The secret of a new token."""
        token, header = made(name, *scopes, models=tuple(models))
        await self.bus.ask(tokens.ask("create"), msgspec.msgpack.encode(token))
        secret = header["authorization"].removeprefix("Bearer ")
        await until_async(lambda: self._known(secret), f"the console knows the token {name}")
        return secret

    async def _known(self, secret: str) -> bool:
        async with httpx.AsyncClient(base_url=self.url) as http:
            header = {"authorization": f"Bearer {secret}"}
            return (await http.get("/api/overview", headers=header)).status_code != 401

    async def get(self, path: str, **query: Any) -> Any:
        """What the operator API says."""
        answer = await self.api.get(path, params=query)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    async def told(self) -> None:
        """Wait until telemetry has written everything."""
        for stream, durable in DURABLES:

            async def written(stream: str = stream, durable: str = durable) -> bool:
                return not await self.bus.log.lag(stream, durable)

            await until_async(written, f"{durable} has written {stream}")

    @contextlib.asynccontextmanager
    async def away(self, name: str) -> AsyncIterator[None]:
        """SIGKILL to a service, or to `nats`, which is started again at the end and not before."""
        watcher = self.system._watcher
        assert watcher is not None
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        child = self.system.nats if name == "nats" else self.system.children[name]
        assert child.process is not None
        child.process.kill()
        try:
            yield
        finally:
            self.system._watcher = asyncio.create_task(watch(self.system))

    async def predict(self, model: str, rows: int) -> None:
        """Ask for predictions of a model's first flights, one at a time."""
        table = self.played[model].player.first(rows)
        names = [its.name for its in SPEC.features]
        url = f"{self.system.http('inference')}/v1/models/{model}/predict"
        async with httpx.AsyncClient() as http:
            for row in table.select(names).to_pylist():
                (await http.post(url, json=row)).raise_for_status()


def flights(name: str = "flights", **changes: Any) -> Spec:
    """The spec of the small model, under another name and with other fields."""
    return check.check(msgspec.structs.replace(SPEC, name=name, **changes))


def december(*, airport: str = "") -> pa.Table:
    """The flights from `FROM` on, of one airport or of all."""
    table = _all()
    found = pc.and_(
        pc.greater_equal(table["event_time"], pa.scalar(FROM, table["event_time"].type)),
        pc.less(table["event_time"], pa.scalar(UNTIL, table["event_time"].type)),
    )
    if airport:
        found = pc.and_(found, pc.equal(table["origin"], airport))
    return table.filter(found).drop_columns(LEFT_OUT).combine_chunks()


@cache
def _all() -> pa.Table:
    return load_flights()


@contextlib.asynccontextmanager
async def story(
    folder: Path,
    models: dict[str, tuple[Spec, pa.Table]],
    who: str = "tests",
) -> AsyncIterator[Story]:
    """A system whose console asks for tokens; the flights of each model are ready to be played.

    `who` names the token that the story's own requests carry.
    """
    system = System(
        folder,
        base_port=0,
        nats_port=0,
        hang_seconds=0.0,
        environment={
            "DRIFTLOOP_CONSOLE_TOKENS": "required",
            "DRIFTLOOP_CONSOLE_AUDIT_SECONDS": "5",
            "DRIFTLOOP_CONSOLE_LATENCY_SECONDS": "2",
            "DRIFTLOOP_FEEDBACK_REPORT_SECONDS": "0.2",
        },
    )
    try:
        await system.start()
        async with contextlib.AsyncExitStack() as stack:
            bus = await stack.enter_async_context(system.bus())
            admin = await stack.enter_async_context(system.bus(ADMIN))
            client = await stack.enter_async_context(Client(system.url, key=system.key()))
            api = await stack.enter_async_context(
                httpx.AsyncClient(base_url=system.http("console"), timeout=30.0)
            )
            told = Story(system, bus, admin, api)
            secret = await told.token(who, "read", "operate")
            api.headers["authorization"] = f"Bearer {secret}"
            await register(bus, [spec for spec, _ in models.values()], by="tests")
            for name, (_, table) in models.items():
                watch = Watch(bus, name)
                task = asyncio.create_task(watch.follow())
                stack.push_async_callback(_ended, task)
                player = Player(client, watch, name, table, DemoOptions())
                told.played[name] = Played(name, player, watch)
            yield told
    finally:
        await system.stop()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(
    true: Callable[[], bool], what: Callable[[], str] | str, seconds: float = SECONDS
) -> None:
    """Wait until it is so."""

    async def so() -> bool:
        return true()

    await until_async(so, what, seconds)


async def until_async(
    true: Callable[[], Any], what: Callable[[], str] | str, seconds: float = SECONDS
) -> None:
    """Wait until what is asked is so, at most so long; while nobody answers, it is not."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if await true():
                return
        told = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {told}"
        await asyncio.sleep(0.05)
