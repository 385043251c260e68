"""What the demo sees of the running system: its events, its outcomes, and the labels it gave up."""

import asyncio
from collections import deque

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.contracts import subjects
from driftloop.contracts.codec import decode_stat
from driftloop.contracts.events import (
    AnyEvent,
    CandidateTrained,
    ModelPromoted,
    ModelRolledBack,
    RetrainRequested,
    RunEvent,
    RunFinished,
    ShadowStarted,
)
from driftloop.contracts.stats import Evidence
from driftloop.local.demo.quality import Quality

BUSY = ("retrain.requested", "training.started", "candidate.trained")


class Watch:
    """Follows the logs of one model while the replay goes on."""

    def __init__(self, bus: Bus, model: str) -> None:
        self._bus = bus
        self._model = model
        self._artifacts = Artifacts(bus)
        self.quality = Quality()
        self.events: list[tuple[AnyEvent, Delivered]] = []
        self.feed: deque[AnyEvent] = deque(maxlen=8)
        self.outcomes = 0
        self.unmatched = 0
        self.champion = 0
        self.stage = "waiting for the first model"
        self.run: RetrainRequested | None = None
        self.evidence: Evidence | None = None
        self.promotions: list[int] = []
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._moved = asyncio.Event()

    @property
    def settled(self) -> int:
        """Labels that have come out of the join, one way or the other."""
        return self.outcomes + self.unmatched

    async def follow(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._events())
            tasks.create_task(self._outcomes())
            tasks.create_task(self._given_up())
            tasks.create_task(self._evidence())

    async def moved(self, limit: float) -> None:
        """Wait until something came out of the join, at most `limit` seconds."""
        self._moved.clear()
        try:
            await asyncio.wait_for(self._moved.wait(), limit)
        except TimeoutError:
            return

    async def _events(self) -> None:
        follow = self._bus.follow("EVENTS", (subjects.event(self._model, ">"),), 1)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                event = message.event()
                self.events.append((event, message))
                self.feed.append(event)
                await self._heard(event)

    async def _heard(self, event: AnyEvent) -> None:
        if event.kind in BUSY:
            self.quiet.clear()
        elif isinstance(event, RunEvent):
            self.quiet.set()
        if isinstance(event, RetrainRequested):
            self.run, self.stage = event, "training"
        elif isinstance(event, CandidateTrained):
            self.stage = "offline gate"
        elif isinstance(event, ShadowStarted):
            self.stage = "shadow" if event.role == "challenger" else "probation"
        elif isinstance(event, RunFinished):
            self.run, self.evidence, self.stage = None, None, "watching"
        elif isinstance(event, ModelPromoted | ModelRolledBack):
            await self._crowned(event)

    async def _crowned(self, event: ModelPromoted | ModelRolledBack) -> None:
        if not self.champion:
            trained = next(
                e
                for e, _ in self.events
                if isinstance(e, CandidateTrained) and e.version == event.version
            )
            model = await self._artifacts.get(event.model_sha256)
            self.quality.freeze(model, trained.manifest.metrics["baseline_1"])
        self.champion = event.version
        self.promotions.append(event.data_time)

    async def _outcomes(self) -> None:
        follow = self._bus.follow("OUTCOMES", (subjects.outcomes(self._model),), 1)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                batch = message.batch()
                self.quality.add(batch)
                self.outcomes += batch.num_rows
            self._moved.set()

    async def _evidence(self) -> None:
        follow = self._bus.follow("STATS", (subjects.stats(Evidence.kind, self._model),), 1)
        async for group in follow.groups(self._bus.stopping):
            stat = decode_stat(group[-1].payload)
            self.evidence = stat if isinstance(stat, Evidence) else None

    async def _given_up(self) -> None:
        follow = self._bus.follow("DEAD", (subjects.dead("feedback", self._model),), 1)
        async for group in follow.groups(self._bus.stopping):
            self.unmatched += sum(int(m.headers.get("dl-rows", "0")) for m in group)
            self._moved.set()
