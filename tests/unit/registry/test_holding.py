"""A loop that is paused, and alarms that are silenced."""

import pytest

from driftloop.contracts import events as e
from driftloop.contracts.errors import InvalidInput
from driftloop.registry.clocks import _standing
from tests.unit.registry.keeper import DAY, Keeper


@pytest.fixture
def keeper() -> Keeper:
    """A champion."""
    made = Keeper()
    made.hear(made.accumulated(100))
    made.finish_first_run()
    return made


def kinds(said: list[e.AnyEvent]) -> list[str]:
    return [event.kind for event in said]


def test_a_pause_says_who_and_why_and_is_kept(keeper: Keeper) -> None:
    done, said = keeper.command("pause", reason="the feed is being repaired")
    assert done.text == "the loop of tide is paused"
    (asked,) = said
    assert isinstance(asked, e.OperatorRequested)
    assert (asked.command, asked.by, asked.reason) == ("pause", "ann", "the feed is being repaired")
    paused = keeper.state.paused
    assert paused is not None
    assert (paused.by, paused.reason, paused.since) == ("ann", asked.reason, keeper.now)


@pytest.mark.parametrize("trigger", ["drift", "degraded", "new_data"])
def test_a_trigger_is_declined_with_the_reason_of_the_pause(keeper: Keeper, trigger: str) -> None:
    keeper.command("pause", reason="repair")
    (declined,) = keeper.hear(keeper.trigger(trigger, DAY))
    assert isinstance(declined, e.TriggerDeclined)
    assert declined.trigger == trigger
    assert declined.reason == "paused by ann since 1970-01-01 00:16: repair"
    assert keeper.state.run is None
    assert keeper.state.deferred is None


def test_the_first_training_waits_for_the_end_of_a_pause() -> None:
    keeper = Keeper()
    keeper.command("pause")
    assert kinds(keeper.hear(keeper.accumulated(100))) == ["trigger.declined"]
    assert keeper.hear(keeper.drift()) == [], "drift starts no first run, paused or not"
    keeper.command("resume")
    assert kinds(keeper.hear(keeper.accumulated(200))) == ["retrain.requested"]


def test_an_operators_own_retrain_is_not_held_back(keeper: Keeper) -> None:
    keeper.command("pause")
    _, said = keeper.command("retrain", by="bob")
    assert kinds(said) == ["operator.requested", "retrain.requested"]


def test_a_run_in_progress_goes_on_to_its_roll_back(keeper: Keeper) -> None:
    keeper.hear(keeper.drift(DAY))
    done, _ = keeper.command("pause")
    assert done.text.endswith("(training) goes on")
    keeper.hear(keeper.trained())
    keeper.hear(keeper.approved())
    keeper.hear(keeper.concluded("challenger", "better"))
    assert keeper.state.champion == 2
    keeper.hear(keeper.concluded("probation", "better"))
    assert keeper.state.champion == 1


def test_a_run_in_progress_still_ends_at_its_deadline(keeper: Keeper) -> None:
    keeper.hear(keeper.drift(DAY))
    keeper.command("pause")
    keeper.now = keeper.run.deadline
    assert kinds(keeper.deadline()) == ["run.finished"]
    assert keeper.state.deferred is not None
    assert keeper.clock(40 * DAY) == [], "its next attempt waits for the end of the pause"
    keeper.command("resume")
    assert kinds(keeper.clock(40 * DAY)) == ["retrain.requested"]


def test_a_schedule_does_not_start_and_is_not_looked_at(keeper: Keeper) -> None:
    keeper.respecify(triggers={"on": ["schedule"], "every": "1d"})
    keeper.command("pause")
    keeper.now += 2 * 86_400
    assert keeper.schedule() == []
    assert _standing(keeper.state).since == float("inf")
    keeper.command("resume")
    assert kinds(keeper.schedule()) == ["schedule.due", "retrain.requested"]


def test_the_end_of_a_pause_tells_how_many_triggers_it_declined(keeper: Keeper) -> None:
    keeper.command("pause")
    keeper.hear(keeper.drift(DAY))
    keeper.hear(keeper.degraded(DAY))
    done, said = keeper.command("resume")
    assert kinds(said) == ["operator.requested"]
    assert "2 triggers were declined while it was paused" in done.text
    assert keeper.state.paused is None


def test_a_pause_of_a_pause_and_a_resume_of_nothing_are_refused(keeper: Keeper) -> None:
    with pytest.raises(InvalidInput, match="resume: the loop of tide is not paused; accepted:"):
        keeper.command("resume")
    keeper.command("pause", reason="repair")
    with pytest.raises(
        InvalidInput, match=r"pause: paused by ann since .*: repair; accepted: when"
    ):
        keeper.command("pause", by="bob")


def test_a_silence_has_an_end_and_the_loop_reacts_all_the_same(keeper: Keeper) -> None:
    done, said = keeper.command("silence", reason="known", detector="a", seconds=600)
    assert done.text == "alarms of a of tide are silenced until 1970-01-01 00:26 UTC"
    (asked,) = said
    assert isinstance(asked, e.OperatorRequested)
    assert (asked.detector, asked.until) == ("a", keeper.now + 600)
    its = keeper.state.silenced("a", keeper.now + 599)
    assert its is not None
    assert (its.by, its.reason, its.since) == ("ann", "known", keeper.now)
    assert keeper.state.silenced("a", keeper.now + 600) is None
    assert keeper.state.silenced("b", keeper.now) is None
    assert kinds(keeper.hear(keeper.drift(DAY))) == ["retrain.requested"]


def test_a_silence_without_a_detector_is_of_all_alarms(keeper: Keeper) -> None:
    keeper.command("silence", seconds=60)
    keeper.command("silence", detector="a", seconds=600)
    its = keeper.state.silenced("a", keeper.now)
    assert its is not None
    assert its.until == keeper.now + 600, "the one that lasts longest"
    assert keeper.state.silenced("b", keeper.now) is not None


def test_a_silence_takes_the_place_of_the_one_before_and_can_be_ended(keeper: Keeper) -> None:
    keeper.command("silence", detector="a", seconds=600)
    keeper.command("silence", detector="a", seconds=60, by="bob")
    assert [(s.by, s.until) for s in keeper.state.silences] == [("bob", keeper.now + 60)]
    done, _ = keeper.command("silence", detector="a", seconds=0)
    assert done.text == "alarms of a of tide are heard again"
    assert keeper.state.silences == ()


def test_what_is_over_is_forgotten_at_the_next_silence(keeper: Keeper) -> None:
    keeper.command("silence", detector="a", seconds=60)
    keeper.now += 61
    keeper.command("silence", detector="b", seconds=60)
    assert [s.detector for s in keeper.state.silences] == ["b"]


@pytest.mark.parametrize("seconds", [-1.0, 2_592_001.0, float("inf"), float("nan")])
def test_a_silence_of_no_sensible_length_is_refused(keeper: Keeper, seconds: float) -> None:
    with pytest.raises(InvalidInput, match=r"seconds: .* is no length of a silence; accepted:"):
        keeper.command("silence", seconds=seconds)


def test_the_end_of_a_silence_that_is_not_there_is_refused(keeper: Keeper) -> None:
    keeper.command("silence", detector="a", seconds=60)
    with pytest.raises(InvalidInput, match=r"alarms of b of tide are not silenced; accepted: .* a"):
        keeper.command("silence", detector="b", seconds=0)


def test_silences_of_a_model_are_bounded(keeper: Keeper) -> None:
    for at in range(32):
        keeper.command("silence", detector=f"d{at}", seconds=60)
    with pytest.raises(InvalidInput, match="32 silences of tide; accepted: below 32"):
        keeper.command("silence", detector="another", seconds=60)
    keeper.command("silence", detector="d3", seconds=90)
    assert len(keeper.state.silences) == 32
