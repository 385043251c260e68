"""The ledger: each decision is written with its outbox in one compare-and-set, then said."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.messages import event_message
from driftloop.bus.publish import Conflict
from driftloop.contracts import subjects
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import ModelState
from driftloop.registry.counting import StageClock
from driftloop.registry.domain.decision import Context, Decision
from driftloop.registry.proofs import REFUSED, Proofs, Unproved

R = TypeVar("R")


class Ledger:
    """States of all models, one decision at a time for each."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._proofs = Proofs(bus)
        self._stage_clock = StageClock()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def decide(
        self, model: str, origin: Origin, decide: Callable[[Decision], R], seen: str = ""
    ) -> R | None:
        """Apply `decide` to the model's state, write what became of it, and say what it says.

        `seen` is the id of the event decided on: the second time it changes nothing, but what is
        still in the outbox is said, for the process may have died in between. A promotion is
        countersigned; raises `Unproved` for one that cannot be, after that was said.
        """
        async with self._turns[model]:
            while True:
                state, revision = await self._settled(model)
                if seen and seen in state.seen:
                    return None
                decision = Decision(state, await self._context(model), origin)
                result = decide(decision)
                after, refused = await self._proved(decision, state, seen)
                if after == state:
                    return result
                try:
                    await self._bus.models.write(model, after, revision)
                except Conflict:
                    continue
                self._stage_clock.moved(state, after)
                await self._settled(model)
                if refused is not None:
                    raise refused
                return result

    async def _proved(
        self, decision: Decision, state: ModelState, seen: str
    ) -> tuple[ModelState, Unproved | None]:
        """The state as decided, countersigned; or that of before, with what was refused said."""
        try:
            return await self._proofs.countersigned(state, decision.result(seen)), None
        except Unproved as error:
            REFUSED.labels(state.model, error.event.what).inc()
            return decision.instead(error.event, seen), error

    async def was_said(self, event: AnyEvent) -> bool:
        """Whether this is the last event of its kind: the log forgets ids to compare in time."""
        last = await self._bus.log.last("EVENTS", subjects.event(event.model, event.kind))
        return last is not None and last.event_id == event.event_id()

    async def settle(self) -> None:
        """At start: say whatever was written and perhaps not said."""
        states = await self._bus.models.changes().next()
        for model in [model for model, state in states.items() if state and state.outbox]:
            async with self._turns[model]:
                await self._settled(model)

    async def _settled(self, model: str) -> tuple[ModelState, int]:
        """The state with an empty outbox, and its revision: what is in the outbox is said first."""
        entry = await self._bus.models.read(model)
        state = entry.value or ModelState(model=model)
        if not state.outbox:
            return state, entry.revision
        unsaid = [p for p in state.outbox if not await self.was_said(p.event)]
        await self._bus.publish(
            [event_message(p.event, source=self._bus.service, origin=p.origin) for p in unsaid]
        )
        said = msgspec.structs.replace(state, outbox=())
        return said, await self._bus.models.write(model, said, entry.revision)

    async def _context(self, model: str) -> Context:
        return Context(
            registered=await self._bus.spec(model),
            now=time.time(),
            scored_seq=await self._bus.log.last_seq("SCORED"),
            outcomes_seq=await self._bus.log.last_seq("OUTCOMES"),
        )
