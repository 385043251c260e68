"""What telemetry keeps: the buffer before ClickHouse, its views, and whether it can be reached."""

import asyncio
import logging
from typing import Final

import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Reject, Retry
from driftloop.runtime import metrics
from driftloop.telemetry.buffer import Buffer
from driftloop.telemetry.domain.views import views
from driftloop.telemetry.engine import Engine
from driftloop.telemetry.settings import TelemetrySettings

log = logging.getLogger(__name__)

REACHABLE = metrics.gauge("telemetry_clickhouse_up", "Whether ClickHouse answers (1) or not (0)")
FREE = metrics.gauge("telemetry_disk_free_bytes", "Room left on ClickHouse's fullest disk")
DISK = metrics.gauge("telemetry_disk_bytes", "Size of that disk")

AGAIN_SECONDS: Final = 1.0
PING_SECONDS: Final = 5.0
ASK_SECONDS: Final = 2.0
"""How long a question waits for ClickHouse, and for the views of the models."""


class Store:
    """The tables: kept open, up to date, and asked when what waits is inserted."""

    def __init__(self, settings: TelemetrySettings, bus: Bus) -> None:
        self._bus = bus
        self._most_rows = settings.query_rows
        self.engine = Engine(settings)
        self.buffer = Buffer(
            self.engine,
            rows=settings.flush_rows,
            seconds=settings.flush_seconds,
            limit=settings.buffer_mb << 20,
        )
        self._up = asyncio.Event()
        self._reason = "has not been opened yet"
        self._viewed = asyncio.Event()
        self._views: dict[str, str] = {}

    def problem(self) -> str:
        """Why rows cannot be kept now, or an empty text."""
        if not self._up.is_set():
            return f"ClickHouse ({self.engine.place}): {self._reason}"
        return "the buffer before ClickHouse is full" if self.buffer.full else ""

    async def keep_open(self) -> None:
        """Open the tables, and again whenever ClickHouse came back, until the service stops."""
        stopping = self._bus.stopping
        while not stopping.is_set():
            try:
                if self._up.is_set():
                    await self.engine.ping()
                    await self._look_at_disk()
                    await self._make_due_views()
                else:
                    await self._open()
                    await self._look_at_disk()
            except Retry as error:
                self.lost(error)
            await _first(PING_SECONDS if self._up.is_set() else AGAIN_SECONDS, stopping)

    async def _look_at_disk(self) -> None:
        free, size = await self.engine.disk()
        FREE.set(free)
        DISK.set(size)

    def lost(self, error: Retry) -> None:
        """ClickHouse failed: nothing more is tried until it has been opened again."""
        if self._up.is_set() or str(error) != self._reason:
            log.warning("%s: %s", self.engine.place, error)
        self._reason = str(error)
        self._up.clear()
        REACHABLE.set(0)

    async def available(self, seconds: float) -> None:
        """Return as soon as ClickHouse can be reached; raises `Retry` after `seconds`."""
        if not self._up.is_set() and seconds:
            await _first(seconds, self._up, self._bus.stopping)
        if not self._up.is_set():
            raise Retry(self.problem(), delay=3.0)

    async def ask(self, sql: str, most: int) -> pa.Table:
        """The first `most` rows of an answer, over everything received so far."""
        await self.available(ASK_SECONDS)
        if not self._viewed.is_set():
            await _first(ASK_SECONDS, self._viewed, self._bus.stopping)
        if not self._viewed.is_set():
            raise Retry("the views of the models are being made", delay=2.0)
        if not await self.buffer.flush():
            raise Retry("what was received could not be inserted yet", delay=2.0)
        answer = await self.engine.ask(sql)
        return answer.slice(0, max(0, min(most, self._most_rows)))

    async def spec_changed(self, model: str) -> None:
        """Make the views of a model as its spec is now."""
        await self.available(PING_SECONDS)
        await self._make_views(model)

    async def close(self) -> None:
        """Insert what waits, and close the tables."""
        await self.buffer.flush()
        await self.engine.close()

    async def _open(self) -> None:
        await self.engine.open()
        self._views = await self.engine.views()
        self._viewed.clear()
        self._up.set()
        REACHABLE.set(1)
        log.info("%s: open", self.engine.place)
        await self._make_due_views()

    async def _make_due_views(self) -> None:
        """Make the views of all models; later, if NATS does not say now which there are."""
        if self._viewed.is_set():
            return
        try:
            for model in await self._bus.specs.keys():
                try:
                    await self._make_views(model)
                except Reject as error:
                    log.warning("views of %s: %s", model, error)
            self._viewed.set()
        except Exception as error:
            log.warning("views: %s, trying again", error or type(error).__name__)

    async def _make_views(self, model: str) -> None:
        """Make those of one model that are not there as its spec is now."""
        for view in views((await self._bus.spec(model)).spec):
            if self._views.get(view.name) != view.digest:
                await self.engine.command(view.statement)
                self._views[view.name] = view.digest


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Return when one of `events` is set, or after `seconds`."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
