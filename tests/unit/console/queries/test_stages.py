import msgspec

from driftloop.console.queries.stages import run_of, stages
from driftloop.contracts import events as e
from driftloop.contracts.facts import Fact
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn


def clocked(facts: list[Fact]) -> list[Fact]:
    """Events a minute apart."""
    return [
        msgspec.structs.replace(told, time=f"2026-01-01T00:{at:02d}:00.000+00:00")
        for at, told in enumerate(facts)
    ]


FACTS = clocked(syn.facts(list(syn.promotion("flights", 3))))
"""An alarm, the run's beginning, the fit, the candidate, the gate, the shadow (2), the crown."""
AT = 1_767_225_600.0
"""2026-01-01."""


def test_each_stage_begins_where_the_one_before_ended() -> None:
    run = msgspec.structs.replace(syn.run(3, "probation"), verdict="promoted")
    made = {its.name: its for its in stages(run, FACTS, AT)}
    assert [its.seconds for its in made.values()] == [60.0, 120.0, 60.0, 60.0, 0.0, None]
    assert made["gate"].started == made["train"].ended == FACTS[3].time
    assert made["shadow"].text.startswith("version 3 (challenger) is better")
    assert [len(its.facts) for its in made.values()] == [2, 2, 1, 2, 1, 0]


def test_the_stage_in_progress_goes_on_until_now() -> None:
    made = {its.name: its for its in stages(syn.run(3, "training"), FACTS[:3], AT + 600)}
    assert (made["train"].state, made["train"].ended, made["train"].seconds) == ("now", "", 540.0)
    assert (made["gate"].state, made["gate"].seconds) == ("open", None)


def test_a_stage_that_nobody_has_begun_to_work_on_is_timed_all_the_same() -> None:
    made = {its.name: its for its in stages(syn.run(3, "gating"), FACTS[:4], AT + 240)}
    assert (made["gate"].state, made["gate"].seconds, made["gate"].text) == ("now", 60.0, "")


def test_a_run_that_failed_ended_where_it_stood() -> None:
    ended = e.RunFinished(
        model="flights",
        run="run-0003",
        trigger="drift",
        version=3,
        verdict="failed",
        reason="too late",
    )
    facts = clocked([*FACTS[:3], *syn.facts([(ended, Origin())], 50)])
    run = msgspec.structs.replace(syn.run(3, "training"), verdict="failed")
    made = {its.name: its for its in stages(run, facts, AT)}
    assert (made["train"].state, made["train"].seconds) == ("failed", 120.0)
    assert made["train"].text.endswith("version 3, too late")


def test_a_run_is_told_by_its_events() -> None:
    found = run_of(FACTS[1:], "run-0003")
    assert (found.trigger, found.version, found.stage) == ("drift", 3, "shadowing")
    assert (found.cause, found.verdict) == (FACTS[0].id, None)


def test_what_an_operator_promotes_at_once_is_over_at_once() -> None:
    asked = e.OperatorRequested(
        model="flights", command="rollback", version=2, by="ana", reason="3 a.m.", request="r"
    )
    back = e.ModelRolledBack(
        model="flights", run="run-x", version=2, previous=3, model_sha256="02" * 32, reason="ana"
    )
    at = Origin(causation=asked.event_id(), correlation="run-x")
    found = run_of(clocked(syn.facts([(asked, Origin(correlation="run-x")), (back, at)])), "run-x")
    assert (found.trigger, found.verdict, found.asked_by) == ("operator", "rolled_back", "ana")
    assert (found.version, found.reason) == (2, "3 a.m.")
