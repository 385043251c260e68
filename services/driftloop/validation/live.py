"""The live gates: one follower of the outcomes for each shadow, from the row it started at."""

import logging
from collections.abc import Hashable, Sequence
from functools import partial

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.contracts import subjects
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import ShadowConcluded
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import Shadow
from driftloop.runtime import metrics
from driftloop.runtime.keyed import KeyedTasks, Start, Wanted
from driftloop.validation.domain.live import LiveGate

log = logging.getLogger(__name__)

PAIRED = metrics.counter("paired_rows", "Rows both champion and shadow were judged on", ["model"])
LATE = metrics.counter(
    "late_rows", "Rows a live gate left out: they happened before its shadow's start", ["model"]
)


class LiveGates:
    """A gate for every shadow in the registry's state.

    A gate's state is a fold over the log: after a crash it is fed the same rows again and comes to
    the same verdict.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._tasks = KeyedTasks(bus, nudge="events.*.shadow.started")
        self._changes = bus.models.changes()
        self._shadows: dict[str, tuple[Shadow, ...]] = {}

    async def run(self) -> None:
        """Judge until the service stops."""
        await self._tasks.run(self._wanted)

    async def _wanted(self) -> Wanted:
        for model, state in (await self._changes.next()).items():
            self._shadows.pop(model, None)
            if state is not None and state.shadows:
                self._shadows[model] = state.shadows
        wanted: dict[Hashable, Start] = {}
        for model, shadows in self._shadows.items():
            for shadow in shadows:
                wanted[model, shadow.run, shadow.role] = partial(self._judge, model, shadow)
        return wanted

    async def _judge(self, model: str, shadow: Shadow) -> None:
        spec = (await self._bus.spec(model)).spec
        gate = LiveGate(spec, shadow)
        follow = self._bus.follow("OUTCOMES", (subjects.outcomes(model),), shadow.from_seq)
        origin = Origin(correlation=shadow.run, causation=shadow.started_id)
        try:
            async for group in follow.groups(self._bus.stopping):
                concluded = _hear(gate, group)
                if concluded is not None:  # said first: who sees the last evidence finds it
                    await self._bus.emit(concluded, origin)
                await self._bus.stat(gate.evidence())
                if concluded is not None:
                    return
        finally:
            await follow.close()


def _hear(gate: LiveGate, group: Sequence[Delivered]) -> ShadowConcluded | None:
    """Feed messages until there is a verdict."""
    for message in group:
        before, late = gate.evidence().rows, gate.late
        try:
            gate.update(message.batch())
        except Reject as error:
            log.warning("%s is left out: %s", message.position, error)
        PAIRED.labels(message.model).inc(gate.evidence().rows - before)
        LATE.labels(message.model).inc(gate.late - late)
        concluded = gate.concluded()
        if concluded is not None:
            return concluded
    return None
