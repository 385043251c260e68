"""The state machine of the registry under any events, in any order, as often as they like."""

import math
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from driftloop.contracts import events as e
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.requests import Command
from driftloop.contracts.state import ModelState
from tests.support.loop import spec
from tests.support.thorough import examples
from tests.unit.registry.keeper import DAY, MODEL, Keeper

COMMANDS = [name for name in get_args(Command.__annotations__["command"]) if name != "register"]
ABOUT_THE_RUN = (Keeper.started, Keeper.failed, Keeper.trained, Keeper.approved, Keeper.rejected)
verdicts: st.SearchStrategy[e.LiveVerdict] = st.sampled_from(["better", "worse", "undecided"])
roles: st.SearchStrategy[e.Role] = st.sampled_from(["challenger", "probation"])
versions = st.integers(0, 4)
days = st.integers(0, 12)
HAS_APPROVAL = "approval" in type(spec()).__struct_fields__


class Registry(RuleBasedStateMachine):
    """One model; what was said and heard so far is kept, to be said again and compared."""

    def __init__(self) -> None:
        super().__init__()
        self.keeper = Keeper()
        self.heard: list[e.AnyEvent] = []
        self.said: list[e.AnyEvent] = []
        self.champion = 0
        self.paused = False

    @initialize(approval=st.booleans(), undecided=st.sampled_from(["reject", "promote"]))
    def begin(self, approval: bool, undecided: str) -> None:
        changes: dict[str, Any] = {
            "triggers": {"on": ["drift", "degraded", "new_data", "schedule"], "cooldown": "1d"},
            "shadow": {"min_rows": 50, "max_rows": 400, "undecided": undecided},
        }
        if HAS_APPROVAL:
            changes["approval"] = "required" if approval else "none"
        self.keeper.respecify(**changes)

    # what the machine hears

    @rule(day=days)
    def data(self, day: int) -> None:
        self._hear(self.keeper.accumulated(100 * (1 + day), day * DAY))

    @rule(day=days, seq=st.integers(3_000, 6_000))
    def alarm(self, day: int, seq: int) -> None:
        self._hear(self.keeper.drift(day * DAY, seq))

    @rule(day=days, seq=st.integers(2_000, 6_000))
    def degraded(self, day: int, seq: int) -> None:
        self._hear(self.keeper.degraded(day * DAY, seq))

    @precondition(lambda self: self.keeper.state.run is not None)
    @rule(made=st.sampled_from(ABOUT_THE_RUN))
    def about_the_run(self, made: Any) -> None:
        self._hear(made(self.keeper))

    @precondition(lambda self: self.keeper.state.run is not None)
    @rule()
    def onwards(self) -> None:
        """What brings a run to its shadow, one step after the other."""
        stage = self.keeper.run.stage
        if stage in ("training", "gating"):
            self._hear(self.keeper.trained() if stage == "training" else self.keeper.approved())

    @precondition(lambda self: self.keeper.state.run is not None)
    @rule(role=roles, verdict=verdicts)
    def concluded(self, role: e.Role, verdict: e.LiveVerdict) -> None:
        self._hear(self.keeper.concluded(role, verdict))

    @precondition(lambda self: self.keeper.state.run is not None)
    @rule(made=st.sampled_from(ABOUT_THE_RUN), version=versions, other=st.booleans())
    def foreign(self, made: Any, version: int, other: bool) -> None:
        """About another version than that of the run, or about another run."""
        event = msgspec.structs.replace(made(self.keeper), version=version)
        self._hear(self.keeper.of_another_run(event) if other else event)

    @precondition(lambda self: self.keeper.state.run is not None)
    @rule(role=roles, verdict=verdicts, version=versions)
    def foreign_verdict(self, role: e.Role, verdict: e.LiveVerdict, version: int) -> None:
        concluded = self.keeper.concluded(role, verdict)
        self._hear(msgspec.structs.replace(concluded, version=version))

    @precondition(lambda self: any(s.deadline for s in self.keeper.state.shadows))
    @rule(verdict=verdicts)
    def beside(self, verdict: e.LiveVerdict) -> None:
        shadow = next(s for s in self.keeper.state.shadows if s.deadline)
        self._hear(self.keeper.beside(shadow.version, verdict))

    @precondition(lambda self: bool(self.heard))
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """What was heard before changes nothing, and nothing is said of it."""
        before = self.keeper.state
        event = data.draw(st.sampled_from(self.heard))
        if event.event_id() in before.seen:
            assert self.keeper.hear(event) == []
            assert self.keeper.state == before

    @rule(
        command=st.sampled_from(COMMANDS), version=versions, by=st.sampled_from(["ann", "bob", ""])
    )
    def command(self, command: str, version: int, by: str) -> None:
        self._order(command, by, version=version)

    @rule(
        detector=st.sampled_from(["", "a", "loss", "x" * 201]),
        seconds=st.sampled_from([-1.0, 0.0, 60.0, 86_400.0, 1e9, math.inf, math.nan]),
    )
    def silence(self, detector: str, seconds: float) -> None:
        """It changes what is heard, and nothing else."""
        before = self.keeper.state
        done = self._order("silence", "ann", detector=detector, seconds=seconds)
        after = self.keeper.state
        assert msgspec.structs.replace(after, silences=before.silences) == before
        if done:
            now = self.keeper.now
            assert (after.silenced(detector or "a", now) is not None) >= (seconds > 0)
            assert all(its.until > now for its in after.silences)

    @rule(command=st.sampled_from(["pause", "resume"]), by=st.sampled_from(["ann", "bob"]))
    def hold(self, command: str, by: str) -> None:
        """It changes who may start a run, and nothing else."""
        before = self.keeper.state
        done = self._order(command, by)
        after = self.keeper.state
        assert msgspec.structs.replace(after, paused=before.paused) == before
        assert done == ((before.paused is None) == (command == "pause"))
        assert not done or (after.paused is not None) == (command == "pause")

    @rule(day=days)
    def clock(self, day: int) -> None:
        self._keep(self.keeper.clock(day * DAY))

    @rule(days=st.sampled_from([0.1, 40]))
    def later(self, days: float) -> None:
        self.keeper.now += days * DAY / 1_000
        self._keep(self.keeper.deadline())
        self._keep(self.keeper.schedule())

    # what holds

    @invariant()
    def one_champion_of_a_known_version(self) -> None:
        state = self.keeper.state
        crowned = [v for v, known in state.versions.items() if known.stage == "champion"]
        assert crowned == ([state.champion] if state.champion else [])
        assert state.champion or not self.champion
        assert not {*state.past_champions} - state.versions.keys()
        assert state.champion not in state.past_champions
        self.champion = state.champion

    @invariant()
    def shadows_are_known_versions_beside_the_champion(self) -> None:
        state = self.keeper.state
        numbers = [shadow.version for shadow in state.shadows]
        assert len(set(numbers)) == len(numbers)
        assert not set(numbers) - state.versions.keys()
        assert all(shadow.champion == state.champion for shadow in state.shadows)
        assert state.champion not in numbers
        own = [shadow for shadow in state.shadows if not shadow.deadline]
        assert len(own) <= 1
        assert all(state.run is not None and s.run == state.run.id for s in own)

    @invariant()
    def every_run_ends_in_one_verdict_with_a_reason(self) -> None:
        """Runs begin with a request, or with the promotion of a challenger beside them."""
        ended = [event for event in self.said if isinstance(event, e.RunFinished)]
        assert len({event.run for event in ended}) == len(ended)
        assert all(event.reason for event in ended)
        asked = [event.run for event in self.said if isinstance(event, e.RetrainRequested)]
        assert len(set(asked)) == len(asked)
        run = self.keeper.state.run
        done = {event.run for event in ended}
        assert {r for r in asked if r not in done} <= ({run.id} if run else set())
        assert run is None or run.id not in done
        history = self.keeper.state.history
        assert [r.id for r in history] == [event.run for event in ended][-50:]
        assert all(r.verdict and r.outcome and r.finished for r in history)

    @invariant()
    def what_was_said_is_what_is(self) -> None:
        state = self.keeper.state
        kinds = (e.ModelPromoted, e.ModelRolledBack)
        crowned = [event.version for event in self.said if isinstance(event, kinds)]
        assert (crowned[-1] if crowned else 0) == state.champion
        ids = [event.event_id() for event in self.said]
        assert len(set(ids)) == len(ids)
        shadowed = {e_.version for e_ in self.said if isinstance(e_, e.ShadowStarted)}
        assert {shadow.version for shadow in state.shadows} <= shadowed

    @invariant()
    def a_pause_counts_what_it_declined(self) -> None:
        paused = self.keeper.state.paused
        told = [event for event in self.said if isinstance(event, e.TriggerDeclined)]
        because = [event for event in told if event.reason.startswith("paused by")]
        assert paused is None or paused.declined <= len(because)

    @invariant()
    def the_state_survives_its_way_into_the_bucket(self) -> None:
        state = self.keeper.state
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ModelState) == state
        assert state.model == MODEL
        assert len(state.seen) <= 512

    # how it is fed

    def _hear(self, event: e.AnyEvent) -> None:
        self.heard.append(event)
        self._keep(self.keeper.hear(event))

    def _order(self, command: str, by: str, **more: Any) -> bool:
        """Whether it was carried out; what is refused changes nothing."""
        before = self.keeper.state
        try:
            _, said = self.keeper.command(command, by=by, **more)
        except InvalidInput:
            assert self.keeper.state == before
            return False
        assert isinstance(said[0], e.OperatorRequested)
        assert (said[0].by, said[0].command) == (by, command)
        self._keep(said)
        return True

    def _keep(self, said: list[e.AnyEvent]) -> None:
        self.said += said
        if self.paused and self.keeper.state.paused is not None:
            asked = [event.trigger for event in said if isinstance(event, e.RetrainRequested)]
            assert set(asked) <= {"operator"}, "only an operator starts a run of a paused loop"
        self.paused = self.keeper.state.paused is not None


Registry.TestCase.settings = examples(60, stateful_step_count=40)
TestRegistry = Registry.TestCase
