"""The registry of one model without a bus: decision after decision, each said at once."""

from collections.abc import Callable
from typing import Final

import msgspec

from driftloop.contracts.events import Alarm, AnyEvent, DataAccumulated, RunEvent
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import ModelState
from driftloop.modelspec.spec import Registered, Spec
from driftloop.registry.domain import stages, triggers
from driftloop.registry.domain.decision import Context, Decision

REVISION: Final = 1


class Keeper:
    """Holds the state of the model; `scored_seq` and `outcomes_seq` are where its logs stand.

    `clock` is event time in milliseconds: it stands for the wall's clock, so schedules go by it.
    """

    def __init__(self, spec: Spec) -> None:
        alone = msgspec.structs.replace(spec, approval="none")  # there is nobody to ask
        self.registered = Registered(spec=alone, revision=REVISION, by="backtest", at=0.0)
        self.state = ModelState(model=spec.name)
        self.clock = 0
        self.scored_seq = 0
        self.outcomes_seq = 0

    def hear(self, event: AnyEvent) -> list[AnyEvent]:
        """What is said about an alarm, new data, or a fact about the run in progress."""
        origin = Origin(correlation=getattr(event, "run", ""), causation=event.event_id())
        if isinstance(event, Alarm | DataAccumulated):
            fired = triggers.fired(event)
            return self._decide(lambda d: triggers.on_trigger(d, fired), origin, event.event_id())
        assert isinstance(event, RunEvent)
        return self._decide(lambda d: stages.on_run_event(d, event), origin, event.event_id())

    def data_clock(self, data_time: int) -> list[AnyEvent]:
        """The join says how far the data's clock is: a trigger that waits may start its run."""
        if self.state.deferred is None or self.state.run is not None:
            return []
        return self._decide(lambda d: triggers.on_clock(d, data_time))

    def schedule(self) -> list[AnyEvent]:
        """The spec's `triggers.every` may have passed, by event time."""
        if self.state.run is not None or "schedule" not in self.registered.spec.triggers.on:
            return []
        return self._decide(triggers.on_schedule)

    def _decide(
        self, decide: Callable[[Decision], None], origin: Origin | None = None, seen: str = ""
    ) -> list[AnyEvent]:
        if seen and seen in self.state.seen:
            return []
        context = Context(self.registered, self.clock / 1000, self.scored_seq, self.outcomes_seq)
        decision = Decision(self.state, context, origin or Origin())
        decide(decision)
        after = decision.result(seen)
        self.state = msgspec.structs.replace(after, outbox=())
        return [pending.event for pending in after.outbox]
