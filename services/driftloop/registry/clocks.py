"""When each model wants to be looked at by the wall's clock: read from the changes of its state.

So a tick costs two requests to the broker, however many models there are.
"""

import math
from typing import NamedTuple

from driftloop.bus.bus import Bus
from driftloop.contracts.state import ModelState, Run
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Registered
from driftloop.registry.counting import Standing


class _Standing(NamedTuple):
    """What the clock can change of a model: its run or shadows; its schedule, if `since` is finite.

    `deadline` is the first of these (seconds since 1970), `cause` the event that set it.
    """

    run: Run | None
    since: float
    deadline: float
    cause: str


class Clocks:
    """Deadlines of runs and challengers, and schedules, of all models."""

    def __init__(self, bus: Bus) -> None:
        self._states = bus.models.changes()
        self._specs = bus.specs.changes()
        self._standing: dict[str, _Standing] = {}
        self._every: dict[str, float] = {}
        self._gauges = Standing()

    async def read(self) -> None:
        """Take in what changed; raises `Retry` when the broker does not answer."""
        for model, state in (await self._states.next()).items():
            self._standing.pop(model, None)
            self._gauges.now(model, state)
            if state is not None:
                self._standing[model] = _standing(state)
        for model, registered in (await self._specs.next()).items():
            self._every.pop(model, None)
            if registered is not None:
                self._every[model] = _every(registered)

    def late(self, now: float) -> list[tuple[str, str]]:
        """Models with something at its deadline at `now` (seconds since 1970), and its cause."""
        all_models = self._standing.items()
        return [(model, its.cause) for model, its in all_models if now >= its.deadline]

    def scheduled(self, now: float) -> list[str]:
        """Models without a run whose schedule is due at `now`."""
        return [
            model
            for model, its in self._standing.items()
            if its.run is None and now >= its.since + self._every.get(model, math.inf)
        ]


def _standing(state: ModelState) -> _Standing:
    """A schedule waits for the first champion, lets an alarm that waits go first, and may be
    paused.
    """
    waits = state.champion and state.deferred is None and state.paused is None
    since = state.last_run_wall_time if waits else math.inf
    ends = [(shadow.deadline, shadow.started_id) for shadow in state.shadows if shadow.deadline]
    if state.run is not None:
        ends.append((state.run.deadline, state.run.cause))
    return _Standing(state.run, since, *min(ends, default=(math.inf, "")))


def _every(registered: Registered) -> float:
    its = registered.spec.triggers
    return durations.seconds(its.every) if "schedule" in its.on else math.inf
