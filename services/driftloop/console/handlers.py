"""Hears events and measurements, reads states and specs, and keeps what pages are shown."""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from driftloop.bus.bus import Bus, unknown
from driftloop.bus.messages import Delivered
from driftloop.console import looks
from driftloop.console.api.shapes.live import Lag
from driftloop.console.api.shapes.model import Model
from driftloop.console.audits import Audits
from driftloop.console.domain.board import Board, LineKey
from driftloop.console.domain.cards import About, Audited
from driftloop.console.domain.cost import price
from driftloop.console.domain.desk import Desk, silence
from driftloop.console.domain.page import page
from driftloop.console.hub import Hub
from driftloop.console.queries.past import Past
from driftloop.console.sender import Sender
from driftloop.console.settings import ConsoleSettings
from driftloop.contracts import codec
from driftloop.contracts.errors import DriftloopError, Overloaded, Reject, Retry
from driftloop.contracts.facts import Fact, fact
from driftloop.contracts.state import ModelState
from driftloop.modelspec.spec import Registered
from driftloop.runtime import metrics
from driftloop.runtime.settings import SERVICES

log = logging.getLogger(__name__)

KNOWN_KINDS: Final = (
    "model.promoted",
    "model.rolled_back",
    "drift.detected",
    "performance.degraded",
    "labels.shifted",
    "run.finished",
)
"""Events a card is made of: the newest of each kind and model is read, however old it is."""
STATELESS: Final = ("data.accumulated",)
"""Events after which the state of a model is what it was."""
QUICK_SECONDS: Final = 0.2
"""States are read at most so often, whatever is said."""
KNOWN_STATS: Final = ("join", "estimate")
"""Measurements of which the newest of each model is read."""
AGAIN_SECONDS: Final = 1.0
RECALL_SECONDS: Final = 3.0
"""How long a page waits for evidence from before the console began."""
_UNREAD: Final = metrics.counter("console_unread", "Messages the console could not read")
_LEFT_OUT: Final = metrics.gauge(
    "console_left_out", "Models, services, detectors and evidence that had no room in the console"
)
_MODELS: Final = metrics.gauge("console_models", "Models the console keeps")


class Console:
    """What pages are shown, kept up to date by the tasks of this class."""

    def __init__(self, bus: Bus, settings: ConsoleSettings) -> None:
        quiet = silence(settings.stats_seconds)
        board = Board(settings.events_kept, settings.points_kept, settings.models_kept, quiet)
        self.desk = Desk(board, SERVICES, quiet, time.time())
        self.hub = Hub(settings.clients, bus.stopping)
        self.past = Past(bus, self.states, price(settings.cpu_hour_price), board.feed)
        self.sender = Sender(self.refresh, self.desk, self.hub, settings.state_seconds)
        self.audits = Audits(bus, settings.audit_seconds, settings.audit_hours, self._joined)
        self._bus = bus
        self._settings = settings
        self._news = asyncio.Event()
        self._states = bus.models.changes()
        self._recalled: set[LineKey] = set()
        self._folded = asyncio.Event()
        self._specs = bus.specs.changes()

    def states(self) -> Mapping[str, ModelState]:
        """The states of all models, but for what only the registry needs of them."""
        return self.desk.states

    def refresh(self) -> None:
        """Make the cards and the outages as they are now."""
        self.desk.nats = self._bus.connection.problem()
        self.desk.refresh(time.time())

    async def model(self, name: str) -> Model:
        """One model as it is now; raises `UnknownModel`."""
        registered = await self._bus.spec(name)
        live = self.desk.board.know(name)
        if live is None:
            most = self._settings.models_kept
            raise Overloaded(f"model: {name} is beyond the {most} models this console keeps")
        if name not in self.desk.about:  # it was registered a moment ago
            self.desk.spec(name, _about(registered))
        self.audits.seen([name])
        self.refresh()
        state = self.desk.states.get(name) or ModelState(model=name)
        await self._recall(state)
        card, lines = self.desk.shown.cards.get(name), self.desk.board.lines
        if card is None:  # it went meanwhile
            raise unknown(name)
        return page(card, live, state, registered, lines, time.time())

    async def _recall(self, state: ModelState) -> None:
        """Read once what telemetry has of the evidence on each shadow, if it answers."""
        keys = [(state.model, its.run, its.role, its.version) for its in state.shadows]
        for key in keys:
            if key in self._recalled:
                continue
            try:
                async with asyncio.timeout(RECALL_SECONDS):
                    self.desk.board.recall(key, await looks.evidence(self.past, key))
            except (DriftloopError, TimeoutError) as error:
                log.debug("evidence of %s: %s", key, error)
            else:
                self._recalled = {*(self._recalled & self.desk.board.lines.keys()), key}

    async def hear_events(self) -> None:
        """Fold the control events: the newest of each kind, and all from some of before on."""
        last, newest = await self._before("EVENTS", [f"events.*.{kind}" for kind in KNOWN_KINDS])
        for message in newest:
            told = _fact(message)
            if told is not None:
                self.desk.board.fold(told)
        self._folded.set()
        start = self.desk.board.feed.begins = max(1, last - self._settings.events_kept + 1)
        follow = self._bus.follow("EVENTS", ("events.>",), start)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                told = _fact(message)
                kept = self.desk.board.tell(told) if told is not None else None
                if kept is not None and kept.seq > last:
                    self.sender.tell(kept)
                    if told is not None and told.kind not in STATELESS:
                        self._news.set()
            await asyncio.sleep(0)

    async def hear_stats(self) -> None:
        """Fold the measurements: the newest of each model, and all from some of before on."""
        await self._folded.wait()  # a promotion makes what was measured before it void
        last, newest = await self._before("STATS", [f"stats.{kind}.*" for kind in KNOWN_STATS])
        for message in newest:
            self._measure(message)
        start = last - self._settings.stats_replayed + 1
        follow = self._bus.follow("STATS", ("stats.>",), start)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                self._measure(message)
            await asyncio.sleep(0)

    async def read_states(self) -> None:
        """Read the states and specs that changed, over and over."""
        while not self._bus.stopping.is_set():
            try:
                for name, spec in (await self._specs.next()).items():
                    self.desk.spec(name, _about(spec) if spec is not None else None)
                for name, state in (await self._states.next()).items():
                    self.desk.state(name, _shortened(state) if state is not None else None)
            except DriftloopError as error:
                log.warning("states: %s", error)
            _MODELS.set(len(self.desk.about))
            _LEFT_OUT.set(self.desk.board.dropped)
            await self._rest()

    async def _rest(self) -> None:
        """Until something was said that may have changed a state, `state_seconds` at most."""
        quick = min(QUICK_SECONDS, self._settings.state_seconds)
        await looks.rest(self._bus, quick)
        try:
            await asyncio.wait_for(self._news.wait(), self._settings.state_seconds - quick)
        except TimeoutError:
            return
        self._news.clear()

    async def send(self) -> None:
        """Tell open pages what is new."""
        await self.sender.run(self._bus.stopping)

    async def look(self) -> None:
        """Look now and then at consumers, latencies and the accounting."""
        bus, desk, settings = self._bus, self.desk, self._settings
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(looks.keep_lags(bus, self._lags, settings.lag_seconds))
            tasks.create_task(
                looks.keep_asking(bus, self.past, desk.board, desk.asked, settings.latency_seconds)
            )
            tasks.create_task(self.audits.run(lambda: list(desk.about), self._audited))

    def _lags(self, found: dict[str, list[Lag]]) -> None:
        self.desk.lag = found

    def _joined(self, model: str) -> object:
        """Where the label join of a model stands: elsewhere once rows or labels came."""
        live = self.desk.board.models.get(model)
        if live is None or live.join is None:
            return None
        its = live.join
        return its.outcomes_total, its.waiting_predictions, its.waiting_labels, its.data_time

    def _audited(self, model: str, found: Audited) -> None:
        self.desk.audited[model] = found
        self.desk.board.changed.add(model)

    async def _before(self, stream: str, subjects: list[str]) -> tuple[int, list[Delivered]]:
        """The last sequence of a stream, and the newest message of each subject up to there, in the
        order of the log. It is asked for until the broker answers, or the service stops.
        """
        while not self._bus.stopping.is_set():
            try:
                last = await self._bus.log.last_seq(stream)
                found = [await self._bus.log.newest(stream, subject) for subject in subjects]
            except Retry as error:
                log.warning("%s, trying again", error)
                await looks.rest(self._bus, AGAIN_SECONDS)
            else:
                return last, sorted((its for part in found for its in part), key=lambda m: m.seq)
        return 0, []

    def _measure(self, message: Delivered) -> None:
        try:
            stat = codec.decode_stat(message.payload)
        except Reject:
            _UNREAD.inc()
        else:
            self.desk.board.measure(_at(message), stat)


def _about(registered: Registered) -> About:
    return About(task=registered.spec.task, loss=registered.spec.loss)


def _shortened(state: ModelState) -> ModelState:
    """A state without what only the registry needs, which would be most of the memory."""
    return msgspec.structs.replace(state, seen=(), outbox=())


def _fact(message: Delivered) -> Fact | None:
    try:
        return fact(message.seq, message.headers, message.event())
    except DriftloopError as error:
        _UNREAD.inc()
        log.warning("%s: %s", message.position, error)
        return None


def _at(message: Delivered) -> float:
    """When a measurement was made, by the clock of who made it."""
    try:
        return datetime.fromisoformat(message.headers.get("ce-time", "")).timestamp()
    except ValueError:
        return time.time()
