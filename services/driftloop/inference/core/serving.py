"""What answers for each model, ready for the request path to look up without waiting."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import DriftloopError, Reject, Retry
from driftloop.inference.core.call import Served
from driftloop.inference.domain.lineup import misfit
from driftloop.inference.domain.plan import Plan
from driftloop.inference.versions import Champion, Live, Versions
from driftloop.modelspec.spec import Registered

log = logging.getLogger(__name__)


class Serving:
    """Plans and champions by model: looked up at once, kept current in the background."""

    def __init__(self, bus: Bus, versions: Versions) -> None:
        self._bus = bus
        self._versions = versions
        self._plans: dict[str, Plan] = {}
        self._served: dict[str, Served] = {}
        versions.changed.append(self._swapped)

    def looker(self, model: str, version: int) -> Callable[[], Served | None]:
        """`now` of one model, as a function that costs nearly nothing for the champion."""
        if version:
            return partial(self.now, model, version)
        return partial(self._served.get, model)

    def now(self, model: str, version: int = 0) -> Served | None:
        """Who answers now, if that is known without waiting; 0 is the champion."""
        if not version:
            return self._served.get(model)
        plan = self._plans.get(model)
        champion = self._versions.loaded(model, version)
        if plan is None or champion is None or misfit(champion.manifest, plan.spec):
            return None
        return Served(plan, champion)

    def plan(self, model: str) -> Plan | None:
        """The plan of a model that was asked for before, whether anybody answers or not."""
        return self._plans.get(model)

    async def of(self, model: str, version: int = 0) -> Served:
        """Who answers, read and loaded if need be.

        Raises `UnknownModel`, or `Retry` while there is no version that fits the spec.
        """
        plan = self._plan(await self._bus.spec(model))
        live = await self._versions.of(model)
        self._versions.check_loaded(model)
        if version:
            return _fitting(plan, await self._versions.pinned(model, version))
        self._served[model] = served = _fitting(plan, _champion(model, live))
        return served

    async def keep_current(self, every: float) -> None:
        """Look now and then whether a spec has changed under the plans in use."""
        while not self._bus.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bus.stopping.wait(), every)
            for model in list(self._plans):
                await self._look_again(model)

    async def _look_again(self, model: str) -> None:
        try:
            registered = await self._bus.spec(model)
        except Retry:
            return  # the broker is away: what answers goes on answering
        except Reject as error:
            log.warning("%s: requests are not answered any more: %s", model, error)
            self._plans.pop(model, None)
            self._served.pop(model, None)
            return
        before = self._plans.get(model)
        if self._plan(registered) is not before:
            self._swapped(model)

    def _swapped(self, model: str) -> None:
        """The versions or the spec changed: show who answers now, or nobody."""
        plan, live = self._plans.get(model), self._versions.live(model)
        if self._served.pop(model, None) is None or plan is None or live is None:
            return
        with contextlib.suppress(DriftloopError):  # the next request is told why
            self._versions.check_loaded(model)
            self._served[model] = _fitting(plan, _champion(model, live))

    def _plan(self, registered: Registered) -> Plan:
        """The plan of a spec, the one in use if that is of the same revision."""
        name = registered.spec.name
        plan = self._plans.get(name)
        if plan is None or plan.revision != registered.revision:
            self._plans[name] = plan = Plan(registered)
        return plan


def _champion(model: str, live: Live) -> Champion:
    if live.champion is None:
        why = live.problem or f"{model}: no model has been promoted yet"
        raise Retry(f"{why}; try again later", delay=5.0)
    return live.champion


def _fitting(plan: Plan, champion: Champion) -> Served:
    why = misfit(champion.manifest, plan.spec)
    if why:
        raise Retry(f"{plan.spec.name}: {why}; a new version has to be trained", delay=30.0)
    return Served(plan, champion)


def new_ids() -> Iterator[str]:
    """Event ids for requests that bring none: unique over processes, and cheap to make."""
    return map(f"{secrets.token_hex(6)}-%x".__mod__, count(1))
