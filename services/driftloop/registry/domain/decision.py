"""A decision under way: the state as it becomes, and the events it says."""

from typing import Any, NamedTuple

import msgspec

from driftloop.contracts.events import AnyEvent, ModelRetired, RunFinished, Verdict
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import run_id
from driftloop.contracts.state import ModelState, Pending, Run, Shadow, Stage, Version
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Registered, Spec

HISTORY = 50
SEEN = 512
PAST_CHAMPIONS = 10
VERSIONS = 100


class Context(NamedTuple):
    """What a decision may know besides the state: the spec, the time, where the logs stand."""

    registered: Registered
    now: float
    scored_seq: int
    outcomes_seq: int

    @property
    def spec(self) -> Spec:
        """The model's spec."""
        return self.registered.spec


class Decision:
    """Collects changes of one model's state and the events that tell of them."""

    def __init__(self, state: ModelState, context: Context, origin: Origin) -> None:
        self.state = self._before = state
        self.context = context
        self._origin = origin
        self._said: list[Pending] = []

    @property
    def spec(self) -> Spec:
        """The model's spec."""
        return self.context.spec

    def change(self, **fields: Any) -> None:
        """Replace fields of the state."""
        self.state = msgspec.structs.replace(self.state, **fields)

    def say(self, event: AnyEvent) -> None:
        """Add an event to the outbox."""
        self._said.append(Pending(event=event, origin=self._origin))

    def begin_with(self, event: AnyEvent) -> None:
        """Say an event that all the others of this decision answer."""
        self.say(event)
        self._origin = Origin(correlation=run_id(event.event_id()), causation=event.event_id())

    def result(self, seen: str = "") -> ModelState:
        """The state to be written, outbox included."""
        ids = (*self.state.seen, seen)[-SEEN:] if seen else self.state.seen
        versions = self._kept_versions()
        return msgspec.structs.replace(
            self.state, outbox=tuple(self._said), seen=ids, versions=versions
        )

    def instead(self, event: AnyEvent, seen: str = "") -> ModelState:
        """The state of before with `event` to be said, and nothing of what was decided."""
        decision = Decision(self._before, self.context, self._origin)
        decision.say(event)
        return decision.result(seen)

    def _kept_versions(self) -> dict[int, Version]:
        """The newest versions and those still needed; the log of events holds all of them."""
        state = self.state
        run = state.run.version if state.run else 0
        needed = {state.champion, *state.past_champions, run, *(s.version for s in state.shadows)}
        newest = sorted(state.versions)[-VERSIONS:]
        return {v: kept for v, kept in state.versions.items() if v in needed or v >= newest[0]}

    def stage(self, stage: Stage) -> None:
        """The run enters a stage, with its deadline on the wall clock."""
        assert self.state.run is not None
        limit = {
            "shadowing": self.spec.shadow.max_duration,
            "approval": self.spec.limits.approval_deadline,
            "probation": self.spec.probation.max_duration,
        }.get(stage, self.spec.limits.stage_deadline)
        deadline = self.context.now + durations.seconds(limit)
        self.change(run=msgspec.structs.replace(self.state.run, stage=stage, deadline=deadline))

    def version_stage(self, version: int, stage: str, **fields: Any) -> None:
        """A version gets as far as `stage`."""
        known = self.state.versions.get(version)
        if known is not None:
            changed = msgspec.structs.replace(known, stage=stage, **fields)
            self.change(versions={**self.state.versions, version: changed})

    def retire(self, version: int, reason: str, run: str = "") -> None:
        """A version answers no more; `run` is the one it belonged to, else that in progress."""
        now = self.state.run
        self.change(shadows=tuple(s for s in self.state.shadows if s.version != version))
        self.version_stage(version, "retired")
        self.say(
            ModelRetired(
                model=self.state.model,
                run=run or (now.id if now else ""),
                version=version,
                reason=reason,
            )
        )

    def finish(self, verdict: Verdict, reason: str) -> None:
        """The run ends; its shadows, if any are left, end with it."""
        run = self.state.run
        assert run is not None
        ended = msgspec.structs.replace(
            run, verdict=verdict, outcome=reason, finished=self.context.now
        )
        kept: tuple[Shadow, ...] = tuple(s for s in self.state.shadows if s.run != run.id)
        history: tuple[Run, ...] = (*self.state.history, ended)[-HISTORY:]
        self.change(run=None, shadows=kept, history=history, waiting=None)
        self.say(
            RunFinished(
                model=self.state.model,
                run=run.id,
                trigger=run.trigger,
                version=run.version,
                verdict=verdict,
                reason=reason,
            )
        )
