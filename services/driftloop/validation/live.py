"""The live gates: one follower of the outcomes for each shadow, from the row it started at."""

from collections.abc import Hashable
from functools import partial

from driftloop.bus.bus import Bus
from driftloop.contracts import subjects
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import Shadow
from driftloop.runtime import metrics
from driftloop.runtime.keyed import KeyedTasks, Wanted
from driftloop.validation.domain.live import LiveGate

PAIRED = metrics.counter("paired_rows", "Rows both champion and shadow were judged on", ["model"])


class LiveGates:
    """A gate for every shadow in the registry's state.

    A gate's state is a fold over the log: after a crash it is fed the same rows again and comes to
    the same verdict.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._tasks = KeyedTasks(bus, nudge="events.*.shadow.started")

    async def run(self) -> None:
        """Judge until the service stops."""
        await self._tasks.run(self._wanted)

    async def _wanted(self) -> Wanted:
        wanted: dict[Hashable, partial[object]] = {}
        for model in await self._bus.models.keys():
            state = await self._bus.models.get(model)
            for shadow in state.shadows if state is not None else ():
                wanted[model, shadow.run, shadow.role] = partial(self._judge, model, shadow)
        return wanted  # type: ignore[return-value]  # partial hides that the result is a coroutine

    async def _judge(self, model: str, shadow: Shadow) -> None:
        spec = (await self._bus.spec(model)).spec
        gate = LiveGate(spec, shadow)
        follow = self._bus.follow("OUTCOMES", (subjects.outcomes(model),), shadow.from_seq)
        origin = Origin(correlation=shadow.run, causation=shadow.started_id)
        async for group in follow.groups(self._bus.stopping):
            for message in group:
                before = gate.evidence().rows
                if gate.update(message.batch()):
                    PAIRED.labels(model).inc(gate.evidence().rows - before)
                concluded = gate.concluded()
                if concluded is not None:
                    await self._bus.stat(gate.evidence())
                    await self._bus.emit(concluded, origin)
                    await follow.close()
                    return
            await self._bus.stat(gate.evidence())
