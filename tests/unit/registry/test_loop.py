"""One run of the loop after the other, as pure decisions."""

import msgspec
import pytest

from driftloop.contracts import events as e
from driftloop.contracts.errors import InvalidInput
from driftloop.registry.domain.decision import VERSIONS
from tests.unit.registry.keeper import DAY, Keeper


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def live(keeper: Keeper) -> Keeper:
    """A model whose first version is the champion."""
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    return keeper


def test_the_first_labelled_rows_start_the_first_run(keeper: Keeper) -> None:
    said = keeper.hear(keeper.accumulated(100))
    (asked,) = said
    assert isinstance(asked, e.RetrainRequested)
    assert (asked.trigger, asked.version, asked.spec_revision) == ("bootstrap", 1, 7)
    assert keeper.run.id == asked.run


def test_too_few_labelled_rows_start_nothing(keeper: Keeper) -> None:
    assert keeper.hear(keeper.accumulated(99)) == []
    assert keeper.state.run is None


def test_drift_before_there_is_a_model_starts_nothing(keeper: Keeper) -> None:
    assert keeper.hear(keeper.drift()) == []
    assert keeper.state.run is None


def test_the_first_approved_candidate_is_promoted_at_once(keeper: Keeper) -> None:
    keeper.hear(keeper.accumulated(100))
    keeper.hear(keeper.trained())
    promoted, finished = keeper.hear(keeper.approved())
    assert isinstance(promoted, e.ModelPromoted)
    assert (promoted.version, promoted.previous) == (1, 0)
    assert promoted.model_sha256 == keeper.state.versions[1].manifest.model_sha256
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "promoted"
    assert keeper.state.champion == 1
    assert keeper.state.champion_since_scored == keeper.scored_seq + 1
    assert keeper.state.versions[1].stage == "champion"
    assert keeper.state.run is None


@pytest.mark.parametrize("trigger", ["drift", "degraded", "new_data"])
def test_each_trigger_starts_a_run_with_its_cause(live: Keeper, trigger: str) -> None:
    event = live.trigger(trigger, DAY)
    (asked,) = live.hear(event)
    assert isinstance(asked, e.RetrainRequested)
    assert (asked.trigger, asked.version) == (trigger, 2)
    assert live.run.cause == event.event_id()
    if isinstance(event, e.Alarm):
        assert asked.since_time == event.since_time


def test_rows_are_counted_as_people_write_them(live: Keeper) -> None:
    (asked,) = live.hear(live.accumulated(32_000, DAY))
    assert isinstance(asked, e.RetrainRequested)
    assert asked.reason == "32,000 labelled rows"


def test_a_trigger_the_spec_does_not_name_starts_nothing(live: Keeper) -> None:
    live.respecify(triggers={"on": ["drift"], "cooldown": "1d"})
    assert live.hear(live.degraded(DAY)) == []
    assert live.state.run is None


def test_the_cool_down_is_counted_on_the_clock_of_the_data(live: Keeper) -> None:
    live.now += 1e9
    (declined,) = live.hear(live.accumulated(300, DAY - 1))
    assert isinstance(declined, e.TriggerDeclined)
    assert declined.reason == "the cool-down is on"
    assert declined.trigger == "new_data"
    assert live.hear(live.accumulated(400, DAY))[0].kind == "retrain.requested"


def test_an_alarm_during_the_cool_down_starts_its_run_when_it_is_over(live: Keeper) -> None:
    alarm = live.drift(DAY - 10)
    assert live.hear(alarm) == []
    assert live.clock(DAY - 1) == []
    (asked,) = live.clock(DAY)
    assert isinstance(asked, e.RetrainRequested)
    assert asked.trigger == "drift"
    assert "waited" in asked.reason
    assert asked.since_time == alarm.since_time
    assert live.state.deferred is None
    assert live.clock(2 * DAY) == []


def test_an_alarm_during_a_run_waits_for_its_end_and_the_cool_down(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    live.hear(live.degraded(DAY + 5))
    assert live.clock(9 * DAY) == []
    live.hear(live.failed())
    assert live.clock(2 * DAY - 1) == []
    (asked,) = live.clock(2 * DAY)
    assert isinstance(asked, e.RetrainRequested)
    assert asked.trigger == "degraded"


def test_new_data_during_a_run_is_declined(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    (declined,) = live.hear(live.accumulated(300, 3 * DAY))
    assert isinstance(declined, e.TriggerDeclined)
    assert declined.reason == "a run is in progress"


def test_of_waiting_triggers_degraded_goes_before_drift_and_the_first_stays(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    live.hear(live.drift(DAY + 1, seq=5001))
    (declined,) = live.hear(live.drift(DAY + 2, seq=5002))
    assert isinstance(declined, e.TriggerDeclined)
    assert declined.reason == "drift of before is already waiting to start a run"
    live.hear(live.degraded(DAY + 3))
    assert live.state.deferred is not None
    assert live.state.deferred.trigger == "degraded"
    (declined,) = live.hear(live.drift(DAY + 4, seq=5003))
    assert declined.kind == "trigger.declined"


def test_an_alarm_on_rows_of_the_champion_before_is_declined(live: Keeper) -> None:
    (declined,) = live.hear(live.drift(DAY, seq=live.state.champion_since_scored - 1))
    assert isinstance(declined, e.TriggerDeclined)
    assert declined.reason == "version 1 took over since"
    assert live.state.run is None


def test_evidence_on_a_shadow_is_of_rows_that_happened_after_its_start(live: Keeper) -> None:
    live.hear(live.drift(5 * DAY))
    live.hear(live.trained())
    live.hear(live.approved())
    (shadow,) = live.state.shadows
    assert shadow.from_time == 5 * DAY
    verdict = msgspec.structs.replace(live.concluded("challenger", "better"), data_time=6 * DAY)
    live.hear(verdict)
    (shadow,) = live.state.shadows
    assert (shadow.role, shadow.from_time) == ("probation", 6 * DAY)


def test_a_challenger_that_is_better_is_promoted_and_the_old_one_shadows(live: Keeper) -> None:
    live.challenge()
    promoted, started = live.hear(live.concluded("challenger", "better"))
    assert isinstance(promoted, e.ModelPromoted)
    assert (promoted.version, promoted.previous) == (2, 1)
    assert isinstance(started, e.ShadowStarted)
    assert (started.version, started.champion, started.role) == (1, 2, "probation")
    assert started.from_seq == live.outcomes_seq + 1
    assert live.run.stage == "probation"
    assert live.state.past_champions == (1,)


@pytest.mark.parametrize("verdict", ["worse", "undecided"])
def test_an_old_champion_that_is_not_better_on_probation_retires(
    live: Keeper, verdict: e.LiveVerdict
) -> None:
    live.challenge()
    live.hear(live.concluded("challenger", "better"))
    retired, finished = live.hear(live.concluded("probation", verdict))
    assert isinstance(retired, e.ModelRetired)
    assert retired.version == 1
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "promoted"
    assert live.state.champion == 2
    assert live.state.shadows == ()


def test_an_old_champion_that_is_better_on_probation_takes_its_place_back(live: Keeper) -> None:
    live.challenge()
    live.hear(live.concluded("challenger", "better"))
    back, finished = live.hear(live.concluded("probation", "better"))
    assert isinstance(back, e.ModelRolledBack)
    assert (back.version, back.previous) == (1, 2)
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "rolled_back"
    assert "version 2 lost on probation" in finished.reason
    assert live.state.champion == 1
    assert live.state.past_champions == ()
    assert {v: s.stage for v, s in live.state.versions.items()} == {1: "champion", 2: "retired"}


def test_a_challenger_that_is_worse_is_rejected(live: Keeper) -> None:
    live.challenge()
    (finished,) = live.hear(live.concluded("challenger", "worse"))
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "rejected"
    assert live.state.champion == 1
    assert live.state.versions[2].stage == "rejected"
    assert live.state.shadows == ()


@pytest.mark.parametrize(
    ("policy", "mean", "verdict"),
    [("reject", 0.2, "rejected"), ("promote", 0.2, ""), ("promote", 0.01, "rejected")],
)
def test_an_undecided_challenger_wins_only_by_policy_and_above_the_margin(
    live: Keeper, policy: str, mean: float, verdict: str
) -> None:
    live.respecify(shadow={"undecided": policy, "margin": 0.01, "min_rows": 50})
    live.challenge()
    said = live.hear(live.concluded("challenger", "undecided", mean))
    if verdict:
        (finished,) = said
        assert isinstance(finished, e.RunFinished)
        assert finished.verdict == verdict
    else:
        assert said[0].kind == "model.promoted"


def test_a_candidate_the_offline_gate_rejects_ends_the_run(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    live.hear(live.trained())
    (finished,) = live.hear(live.rejected())
    assert isinstance(finished, e.RunFinished)
    assert (finished.verdict, finished.reason) == ("rejected", "offline gate: too slow")
    assert live.state.versions[2].stage == "rejected"
    assert live.state.versions[2].gates
    assert live.state.history[-1].verdict == "rejected"


def test_a_training_that_failed_ends_the_run(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    (finished,) = live.hear(live.failed())
    assert isinstance(finished, e.RunFinished)
    assert (finished.verdict, finished.reason) == ("failed", "training: no rows")
    assert live.state.next_version == 3


@pytest.mark.parametrize("stage", ["training", "gating", "shadowing"])
def test_a_stage_that_is_not_done_in_time_fails_the_run(live: Keeper, stage: str) -> None:
    live.hear(live.drift(DAY))
    if stage != "training":
        live.hear(live.trained())
    if stage == "shadowing":
        live.hear(live.approved())
    assert live.run.stage == stage
    live.now = live.run.deadline - 0.1
    assert live.deadline() == []
    live.now += 0.2
    (finished,) = live.deadline()
    assert isinstance(finished, e.RunFinished)
    assert f"{stage} was not done within its deadline" in finished.reason
    assert ("too few labelled rows" in finished.reason) == (stage == "shadowing")
    assert finished.verdict == "failed"
    assert live.state.champion == 1
    assert live.state.shadows == ()


def test_each_stage_has_a_deadline_of_its_own(live: Keeper) -> None:
    live.respecify(
        limits={"stage_deadline": "60s"},
        shadow={"max_duration": "2h"},
        probation={"max_duration": "3h"},
    )
    live.hear(live.drift(DAY))
    assert live.run.deadline == live.now + 60
    live.now += 50
    live.hear(live.started())
    assert live.run.deadline == live.now + 60
    live.hear(live.trained())
    live.hear(live.approved())
    assert live.run.deadline == live.now + 7_200
    live.hear(live.concluded("challenger", "better"))
    assert live.run.deadline == live.now + 10_800


def test_a_probation_without_evidence_in_time_ends_as_promoted(live: Keeper) -> None:
    live.challenge()
    live.hear(live.concluded("challenger", "better"))
    live.now = live.run.deadline
    retired, finished = live.deadline()
    assert isinstance(retired, e.ModelRetired)
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "promoted"
    assert live.state.champion == 2


def test_facts_about_another_run_change_nothing(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    for event in (live.started(), live.trained(), live.approved(), live.rejected(), live.failed()):
        before = live.state
        assert live.hear(live.of_another_run(event)) == []
        assert live.without_seen(live.state) == live.without_seen(before)


def test_facts_out_of_their_stage_change_nothing(live: Keeper) -> None:
    live.hear(live.drift(DAY))
    before = live.state
    for event in (live.approved(), live.rejected(), live.concluded("challenger", "better")):
        assert live.hear(event) == []
    assert live.without_seen(live.state) == live.without_seen(before)


def test_a_waiting_trigger_is_declined_when_another_version_takes_over(live: Keeper) -> None:
    live.challenge()
    alarm = live.drift(DAY + 1, seq=5001)
    live.hear(alarm)
    said = live.hear(live.concluded("challenger", "better"))
    declined = next(s for s in said if isinstance(s, e.TriggerDeclined))
    assert declined.trigger_id == alarm.event_id()
    assert declined.reason == "version 2 took over since"
    assert live.state.deferred is None


def test_an_operator_starts_a_run_in_spite_of_the_cool_down(live: Keeper) -> None:
    done, (asked, requested) = live.command("retrain", reason="new sensor")
    assert isinstance(asked, e.OperatorRequested)
    assert isinstance(requested, e.RetrainRequested)
    assert requested.trigger == "operator"
    assert requested.reason == "ann: new sensor"
    assert done.run == requested.run
    with pytest.raises(InvalidInput, match="is in progress; accepted: when it has ended"):
        live.command("retrain")


def test_what_follows_from_a_command_answers_it(live: Keeper) -> None:
    _, (asked, _) = live.command("retrain")
    first, second = live.pending
    assert first.origin.causation == ""
    assert second.origin.causation == asked.event_id()


def test_an_operator_promotes_another_version_and_the_run_is_superseded(live: Keeper) -> None:
    live.challenge()
    live.hear(live.drift(DAY + 1, seq=5001))
    _, said = live.command("promote", version=2)
    kinds = [event.kind for event in said]
    assert kinds == ["operator.requested", "run.finished", "trigger.declined", "model.promoted"]
    finished = said[1]
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "superseded"
    assert live.state.champion == 2
    assert live.state.shadows == ()
    assert live.state.versions[2].stage == "champion"


def test_an_operator_rolls_back_step_by_step(live: Keeper) -> None:
    for _ in range(2):
        live.challenge()
        live.hear(live.concluded("challenger", "better"))
        live.hear(live.concluded("probation", "worse"))
    assert live.state.champion == 3
    for version in (2, 1):
        done, said = live.command("rollback")
        assert isinstance(said[-1], e.ModelRolledBack)
        assert live.state.champion == version
        assert done.text == f"version {version} is the champion of tide"
    with pytest.raises(InvalidInput, match="there was no champion before; accepted: after"):
        live.command("rollback")


@pytest.mark.parametrize(
    ("command", "version", "error"),
    [
        ("promote", 9, "version: 9 is not a version of tide; accepted: 1"),
        ("promote", 0, "version: 0 is not a version of tide; accepted: 1"),
        ("promote", 1, "version: 1 is the champion already; accepted: another one"),
        ("rollback", 0, "rollback: there was no champion before; accepted: after a promotion"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_what_is_accepted(
    live: Keeper, command: str, version: int, error: str
) -> None:
    before = live.state
    with pytest.raises(InvalidInput, match=f"^{error}$"):
        live.command(command, version=version)
    assert live.state == before


def test_the_schedule_starts_a_run_when_it_is_due_and_none_is_in_progress(live: Keeper) -> None:
    live.respecify(triggers={"on": ["schedule"], "every": "1h"})
    assert live.schedule() == []
    live.now += 3_600
    due, asked = live.schedule()
    assert isinstance(due, e.ScheduleDue)
    assert isinstance(asked, e.RetrainRequested)
    assert live.pending[1].origin.causation == due.event_id()
    live.now += 3_600
    assert live.schedule() == []


def test_the_state_keeps_only_so_many_versions_but_all_that_are_needed(live: Keeper) -> None:
    for turn in range(2, VERSIONS + 10):
        live.hear(live.drift(turn * DAY, seq=5_000 + turn))
        live.hear(live.trained())
        live.hear(live.rejected())
    assert len(live.state.versions) == VERSIONS + 1
    assert 1 in live.state.versions


def test_an_alarm_that_waits_goes_before_new_data(live: Keeper) -> None:
    alarm = live.degraded(DAY - 10)
    live.hear(alarm)
    asked, declined = live.hear(live.accumulated(400, DAY))
    assert isinstance(asked, e.RetrainRequested)
    assert (asked.trigger, asked.since_time) == ("degraded", alarm.since_time)
    assert isinstance(declined, e.TriggerDeclined)
    assert declined.trigger == "new_data"


def test_an_alarm_outlives_its_rejected_candidate_but_not_for_ever(live: Keeper) -> None:
    alarm = live.degraded(DAY)
    runs = [live.hear(alarm)[0]]
    for day in (2, 3, 4):
        live.hear(live.trained())
        live.hear(live.rejected())
        assert live.clock(day * DAY - 1) == []
        runs += live.clock(day * DAY)
    assert [r.kind for r in runs] == ["retrain.requested"] * 3
    assert len({r.run for r in runs if isinstance(r, e.RetrainRequested)}) == 3
    assert {r.since_time for r in runs if isinstance(r, e.RetrainRequested)} == {alarm.since_time}
    assert "attempt 3" in live.state.history[-1].reason
    assert live.state.deferred is None


def test_a_run_that_no_alarm_started_is_not_tried_again(live: Keeper) -> None:
    live.hear(live.accumulated(400, DAY))
    live.hear(live.trained())
    live.hear(live.rejected())
    assert live.state.deferred is None
    assert live.clock(9 * DAY) == []
