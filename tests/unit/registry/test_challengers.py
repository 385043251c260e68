"""Challengers: by which rule each is judged, and those an operator puts beside the champion."""

import math

import msgspec
import pytest

from driftloop.contracts import events as e
from driftloop.contracts.errors import InvalidInput
from driftloop.registry.domain.contest import MOST
from tests.unit.registry.keeper import DAY, Keeper


@pytest.fixture
def live() -> Keeper:
    """Version 1 is the champion; versions 2 to 5 were rejected offline."""
    keeper = Keeper()
    keeper.respecify(
        triggers={"on": ["drift", "degraded", "new_data", "schedule"], "cooldown": "0s"},
        shadow={"min_rows": 50, "margin": 0.001, "non_inferiority": 0.004},
    )
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    for number in range(4):
        keeper.hear(keeper.accumulated(1_000 + number, DAY))
        keeper.hear(keeper.trained())
        keeper.hear(keeper.rejected())
    return keeper


def run_to_shadow(live: Keeper, trigger: str) -> e.ShadowStarted:
    """A run up to the start of its shadow."""
    time = live.state.last_run_data_time + DAY
    if trigger == "operator":
        live.command("retrain")
    elif trigger == "schedule":
        live.now += 8 * DAY / 1_000
        live.schedule()
    elif trigger == "new_data":
        live.hear(live.accumulated(10_000 * live.state.next_version, time))
    else:
        live.hear(live.trigger(trigger, time))
    live.hear(live.trained())
    (started,) = live.hear(live.approved())
    assert isinstance(started, e.ShadowStarted)
    return started


@pytest.mark.parametrize(
    ("trigger", "rule", "margin"),
    [
        ("drift", "superiority", 0.001),
        ("degraded", "superiority", 0.001),
        ("operator", "superiority", 0.001),
        ("new_data", "non_inferiority", -0.003),
        ("schedule", "non_inferiority", -0.003),
    ],
)
def test_the_trigger_of_its_run_decides_the_rule_of_a_challenger(
    live: Keeper, trigger: str, rule: str, margin: float
) -> None:
    started = run_to_shadow(live, trigger)
    assert started.rule == rule
    assert started.margin == pytest.approx(margin)
    shadow = live.challenger(started.version)
    assert (shadow.rule, shadow.margin, shadow.level) == (rule, started.margin, started.level)


@pytest.mark.parametrize(("trigger", "margin"), [("drift", 0.001), ("new_data", 0.003)])
def test_on_probation_the_old_champion_has_to_win_by_what_the_challenger_was_let_off(
    live: Keeper, trigger: str, margin: float
) -> None:
    run_to_shadow(live, trigger)
    live.hear(live.concluded("challenger", "better"))
    (shadow,) = live.state.shadows
    assert (shadow.role, shadow.rule, shadow.level) == ("probation", "superiority", 0.05)
    assert shadow.margin == pytest.approx(margin)


def test_challengers_of_one_champion_share_the_level_and_an_alarm_begins_a_new_series(
    live: Keeper,
) -> None:
    share = 0.05 * 6 / math.pi**2
    for number, trigger in enumerate(["new_data", "operator", "new_data"], start=1):
        started = run_to_shadow(live, trigger)
        assert started.challenger == number
        assert started.level == pytest.approx(share / number**2)
        live.hear(live.concluded("challenger", "worse"))
    assert run_to_shadow(live, "drift").level == pytest.approx(share)
    live.hear(live.concluded("challenger", "better"))
    live.hear(live.concluded("probation", "worse"))
    assert run_to_shadow(live, "new_data").level == pytest.approx(share)


def test_another_attempt_for_the_same_alarm_shares_its_level(live: Keeper) -> None:
    run_to_shadow(live, "drift")
    live.hear(live.concluded("challenger", "worse"))
    live.clock(40 * DAY)
    live.hear(live.trained())
    (started,) = live.hear(live.approved())
    assert isinstance(started, e.ShadowStarted)
    assert started.challenger == 2


def test_an_operator_puts_a_version_beside_the_champion(live: Keeper) -> None:
    done, (asked, started) = live.command("challenge", version=2, reason="looked good")
    assert done.text == "version 2 challenges version 1 of tide"
    assert isinstance(started, e.ShadowStarted)
    assert (started.version, started.champion, started.role) == (2, 1, "challenger")
    assert started.rule == "superiority"
    assert live.pending[1].origin.causation == asked.event_id()
    assert live.state.run is None
    assert live.state.versions[2].stage == "challenger"


def test_the_first_that_is_better_is_promoted_and_the_others_end(live: Keeper) -> None:
    live.command("challenge", version=2)
    live.command("challenge", version=3)
    started = run_to_shadow(live, "new_data")
    assert [s.challenger for s in live.state.shadows] == [1, 2, 3]
    said = live.hear(live.beside(3, "better"))
    kinds = [event.kind for event in said]
    assert kinds == ["run.finished", "model.retired", "model.promoted", "shadow.started"]
    finished, retired, promoted, beside = said
    assert isinstance(finished, e.RunFinished)
    assert (finished.verdict, finished.version) == ("superseded", started.version)
    assert isinstance(retired, e.ModelRetired)
    assert (retired.version, retired.reason) == (2, "version 3 took over since")
    assert isinstance(promoted, e.ModelPromoted)
    assert (promoted.version, promoted.previous) == (3, 1)
    assert isinstance(beside, e.ShadowStarted)
    assert (beside.version, beside.role) == (1, "probation")
    assert live.run.stage == "probation"
    assert [s.version for s in live.state.shadows] == [1]
    (ended, done) = live.hear(live.concluded("probation", "worse"))
    assert isinstance(ended, e.ModelRetired)
    assert isinstance(done, e.RunFinished)
    assert (done.verdict, done.trigger, live.state.champion) == ("promoted", "operator", 3)


def test_the_run_of_the_loop_wins_and_the_operators_challengers_end(live: Keeper) -> None:
    live.command("challenge", version=2)
    run_to_shadow(live, "drift")
    said = live.hear(live.concluded("challenger", "better"))
    assert [event.kind for event in said] == ["model.retired", "model.promoted", "shadow.started"]
    assert live.state.versions[2].stage == "retired"
    assert live.hear(live.of_another_run(live.concluded("probation", "worse"))) == []


@pytest.mark.parametrize("verdict", ["worse", "undecided"])
def test_a_challenger_beside_that_is_not_better_retires_and_the_run_goes_on(
    live: Keeper, verdict: e.LiveVerdict
) -> None:
    live.command("challenge", version=2)
    run_to_shadow(live, "drift")
    run = live.run
    (retired,) = live.hear(live.beside(2, verdict))
    assert isinstance(retired, e.ModelRetired)
    assert retired.version == 2
    assert live.state.run == run
    assert [s.run for s in live.state.shadows] == [run.id]


def test_a_version_may_challenge_again_and_that_is_said_anew(live: Keeper) -> None:
    ids = set()
    for _ in range(2):
        _, said = live.command("challenge", version=2)
        said += live.hear(live.beside(2, "worse"))
        ids |= {event.event_id() for event in said}
    assert len(ids) == 6


def test_a_challenger_beside_without_labels_retires_at_its_deadline(live: Keeper) -> None:
    live.command("challenge", version=2)
    deadline = live.challenger(2).deadline
    live.now = deadline - 1
    assert live.deadline() == []
    live.now = deadline
    (retired,) = live.deadline()
    assert isinstance(retired, e.ModelRetired)
    assert "too few labelled rows that both answered" in retired.reason
    assert (live.state.shadows, live.state.champion) == ((), 1)


def test_a_challenge_that_cannot_be_says_what_is_accepted(live: Keeper) -> None:
    with pytest.raises(InvalidInput, match="version: 1 is the champion already"):
        live.command("challenge", version=1)
    for version in range(2, MOST + 1):
        live.command("challenge", version=version)
    with pytest.raises(InvalidInput, match="version: 2 is a shadow or in a run"):
        live.command("challenge", version=2)
    with pytest.raises(InvalidInput, match=f"challenge: {MOST - 1} shadows; accepted: below"):
        live.command("challenge", version=MOST + 1)
    run_to_shadow(live, "drift")
    assert len(live.state.shadows) == MOST
    live.hear(live.concluded("challenger", "better"))
    with pytest.raises(InvalidInput, match="is on probation; accepted: when that has ended"):
        live.command("challenge", version=2)


def test_without_a_champion_there_is_nothing_to_challenge() -> None:
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.hear(keeper.trained())
    with pytest.raises(InvalidInput, match="challenge: there is no champion"):
        keeper.command("challenge", version=1)


@pytest.mark.parametrize("rows", [0, 2, 49])
def test_no_policy_promotes_an_undecided_challenger_on_too_few_rows(
    live: Keeper, rows: int
) -> None:
    live.respecify(shadow={"undecided": "promote", "min_rows": 50, "non_inferiority": 0.1})
    run_to_shadow(live, "new_data")
    verdict = live.concluded("challenger", "undecided", mean=0.0)
    live.hear(msgspec.structs.replace(verdict, rows=rows))
    assert live.state.champion == 1
    assert live.state.history[-1].verdict == "rejected"
