"""Hears events and measurements, reads the models' states, and carries orders to the registry."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.console.domain.board import Board
from driftloop.console.domain.view import View, part, view
from driftloop.console.hub import Hub, Models
from driftloop.console.settings import ConsoleSettings
from driftloop.contracts import codec, requests, subjects
from driftloop.contracts.errors import DriftloopError, Reject
from driftloop.contracts.facts import Fact, fact
from driftloop.contracts.state import ModelState
from driftloop.runtime import metrics
from driftloop.runtime.settings import SERVICES

log = logging.getLogger(__name__)

CROWNING = ("model.promoted", "model.rolled_back")
COMMAND_SECONDS = 15.0
AT_ONCE = 16
"""Look-ups in the log at a time."""
_UNREAD = metrics.counter("console_unread", "Messages the console could not read")


class Console:
    """The board, kept up to date, and the pages that watch it."""

    def __init__(self, bus: Bus, settings: ConsoleSettings) -> None:
        self._bus = bus
        self._settings = settings
        self.board = Board(settings.events_kept, settings.points_kept)
        self.hub = Hub(settings.clients, bus.stopping)
        self._states: dict[str, ModelState] = {}
        self._changes = bus.models.changes()

    async def hear_events(self) -> None:
        """Fold the control events, from the newest that fit on."""
        last = await self._bus.log.last_seq("EVENTS")
        names = await self._bus.specs.keys()
        for name in names:
            self.board.know(name)
        for at in range(0, len(names), AT_ONCE):
            await asyncio.gather(*map(self._crowned, names[at : at + AT_ONCE]))
        start = last - self._settings.events_kept + 1
        follow = self._bus.follow("EVENTS", ("events.>",), start)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                told = _fact(message)
                if told is not None:
                    self.board.tell(told)
                    if told.seq > last:
                        self.hub.send("said", partial(_told, told))

    async def hear_stats(self) -> None:
        """Fold the measurements, from some minutes ago on."""
        start = await self._bus.log.last_seq("STATS") - self._settings.stats_replayed + 1
        kinds = ("service", "evidence", "join")
        wanted = tuple(f"stats.{kind}.*" for kind in kinds)
        follow = self._bus.follow("STATS", wanted, start)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                try:
                    stat = codec.decode_stat(message.payload)
                except Reject:
                    _UNREAD.inc()
                else:
                    self.board.measure(_at(message), stat)

    async def refresh(self) -> None:
        """Send the state to the open pages, over and over."""
        while not self._bus.stopping.is_set():
            try:
                await self._read_states()
                if len(self.hub):
                    self.hub.send("state", self._encoded(self.view()))
            except Exception as error:
                log.warning("state: %s", error)
            await asyncio.sleep(self._settings.state_seconds)

    @staticmethod
    def _encoded(whole: View) -> Callable[[Models], bytes]:
        return lambda models: msgspec.json.encode(part(whole, models))

    def view(self) -> View:
        """The page as it is now."""
        problem = self._bus.connection.problem()
        return view(self.board, self._states, SERVICES, time.time(), problem)

    async def order(self, model: str, command: requests.Command) -> requests.Done:
        """Send a command to the registry; raises what the registry raises."""
        await self._bus.spec(model)
        payload = msgspec.msgpack.encode(command)
        reply = await self._bus.ask(requests.command(model), payload, timeout=COMMAND_SECONDS)
        return msgspec.msgpack.decode(reply.payload, type=requests.Done)

    async def _read_states(self) -> None:
        for name, state in (await self._changes.next()).items():
            if state is None:
                self._states.pop(name, None)
            else:  # what only the registry needs would be most of the memory
                self._states[name] = msgspec.structs.replace(state, seen=(), outbox=())

    async def _crowned(self, model: str) -> None:
        for kind in CROWNING:
            message = await self._bus.log.last("EVENTS", subjects.event(model, kind))
            told = _fact(message) if message is not None else None
            if told is not None:
                self.board.crown(told)


def _fact(message: Delivered) -> Fact | None:
    try:
        return fact(message.seq, message.headers, message.event())
    except DriftloopError as error:
        _UNREAD.inc()
        log.warning("%s: %s", message.position, error)
        return None


def _told(told: Fact, models: Models) -> bytes:
    return msgspec.json.encode(told) if models is None or told.model in models else b""


def _at(message: Delivered) -> float:
    """When a measurement was made, by the clock of who made it."""
    try:
        return datetime.fromisoformat(message.headers.get("ce-time", "")).timestamp()
    except ValueError:
        return time.time()
