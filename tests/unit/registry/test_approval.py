"""Promotions that wait for a second person."""

import pytest

from driftloop.contracts import events as e
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec import durations
from tests.unit.registry.keeper import DAY, Keeper

REQUIRED = {"approval": "required", "limits": {"approval_deadline": "2d"}}


@pytest.fixture
def keeper() -> Keeper:
    """A champion, and a spec that asks for approval from now on."""
    made = Keeper()
    made.hear(made.accumulated(100))
    made.finish_first_run()
    made.respecify(**REQUIRED)
    return made


def won(keeper: Keeper) -> list[e.AnyEvent]:
    """A challenger that was better; what is said then."""
    keeper.challenge()
    return keeper.hear(keeper.concluded("challenger", "better"))


def kinds(said: list[e.AnyEvent]) -> list[str]:
    return [event.kind for event in said]


def test_a_challenger_that_won_waits_and_the_champion_stays(keeper: Keeper) -> None:
    said = won(keeper)
    assert kinds(said) == ["approval.requested"]
    assert keeper.run.stage == "approval"
    assert keeper.state.champion == 1
    assert keeper.state.waiting is not None
    assert [s.version for s in keeper.state.shadows] == [2], "it goes on beside the champion"
    assert keeper.run.deadline == keeper.now + durations.seconds("2d")


def test_a_second_person_promotes_it_and_the_old_champion_is_on_probation(keeper: Keeper) -> None:
    won(keeper)
    done, said = keeper.command("approve", reason="read the slices", by="bob")
    assert kinds(said) == [
        "operator.requested",
        "approval.given",
        "model.promoted",
        "shadow.started",
    ]
    assert done.text == "version 2 is the champion of tide"
    assert (keeper.state.champion, keeper.run.stage) == (2, "probation")
    assert keeper.state.waiting is None
    promoted = said[2]
    assert isinstance(promoted, e.ModelPromoted)
    assert promoted.reason.endswith("approved by bob: read the slices")
    keeper.hear(keeper.concluded("probation", "better"))
    assert keeper.state.champion == 1, "a roll-back never waits"


def test_what_is_denied_is_rejected(keeper: Keeper) -> None:
    won(keeper)
    done, said = keeper.command("deny", reason="wrong season", by="bob")
    assert kinds(said) == ["operator.requested", "run.finished"]
    assert done.text == "version 2 is not promoted"
    finished = said[-1]
    assert isinstance(finished, e.RunFinished)
    assert (finished.verdict, finished.reason) == ("rejected", "denied by bob: wrong season")
    assert keeper.state.versions[2].stage == "rejected"
    assert (keeper.state.champion, keeper.state.shadows, keeper.state.waiting) == (1, (), None)


def test_nobody_in_time_ends_the_run(keeper: Keeper) -> None:
    won(keeper)
    keeper.now = keeper.run.deadline - 1
    assert keeper.deadline() == []
    keeper.now += 2
    said = keeper.deadline()
    assert kinds(said) == ["run.finished"]
    (finished,) = said
    assert isinstance(finished, e.RunFinished)
    assert finished.verdict == "failed"
    assert finished.reason == "nobody approved of it within its deadline"
    assert keeper.state.waiting is None
    assert keeper.state.deferred is not None, "the alarm may start another run"


@pytest.mark.parametrize("by", ["ann", "Ann", " ann "])
def test_who_asked_for_the_run_cannot_approve(keeper: Keeper, by: str) -> None:
    keeper.command("retrain")
    keeper.hear(keeper.trained())
    keeper.hear(keeper.approved())
    keeper.hear(keeper.concluded("challenger", "better"))
    with pytest.raises(InvalidInput, match="asked for version 2; accepted: another person"):
        keeper.command("approve", by=by)
    assert keeper.state.champion == 1
    keeper.command("approve", by="bob")
    assert keeper.state.champion == 2


def test_who_asked_may_deny(keeper: Keeper) -> None:
    keeper.command("retrain")
    keeper.hear(keeper.trained())
    keeper.hear(keeper.approved())
    keeper.hear(keeper.concluded("challenger", "better"))
    keeper.command("deny")
    assert keeper.state.run is None


def test_the_first_model_waits_too() -> None:
    keeper = Keeper()
    keeper.respecify(**REQUIRED)
    keeper.hear(keeper.accumulated(100))
    keeper.hear(keeper.trained())
    assert kinds(keeper.hear(keeper.approved())) == ["approval.requested"]
    assert keeper.state.champion == 0
    _, said = keeper.command("approve", by="bob")
    assert kinds(said)[-2:] == ["model.promoted", "run.finished"]
    assert keeper.state.champion == 1
    assert keeper.state.run is None


def test_an_operators_promotion_waits_for_another_person(keeper: Keeper) -> None:
    keeper.respecify()
    won(keeper)
    keeper.hear(keeper.concluded("probation", "worse"))
    keeper.respecify(**REQUIRED)
    done, said = keeper.command("promote", 1, "it was better in June")
    assert kinds(said) == ["operator.requested", "approval.requested"]
    assert "waits for a second person" in done.text
    assert keeper.state.champion == 2
    with pytest.raises(InvalidInput, match="accepted: another person"):
        keeper.command("approve")
    _, said = keeper.command("approve", 1, by="bob")
    assert kinds(said)[-2:] == ["model.promoted", "run.finished"]
    assert keeper.state.champion == 1


def test_an_older_version_that_is_denied_stays_what_it_was(keeper: Keeper) -> None:
    keeper.respecify()
    won(keeper)
    keeper.hear(keeper.concluded("probation", "worse"))
    keeper.respecify(**REQUIRED)
    keeper.command("promote", 1)
    keeper.command("deny", by="bob")
    assert keeper.state.versions[1].stage == "retired"
    assert keeper.state.champion == 2


def test_a_roll_back_never_waits_and_ends_what_does(keeper: Keeper) -> None:
    keeper.respecify()
    won(keeper)
    keeper.hear(keeper.concluded("probation", "worse"))
    keeper.respecify(**REQUIRED)
    keeper.command("promote", 1)
    keeper.command("rollback", 1)
    assert keeper.state.champion == 1
    assert keeper.state.waiting is None
    assert keeper.state.run is None


def test_a_challenger_of_an_operator_waits_whatever_its_own_deadline(keeper: Keeper) -> None:
    keeper.respecify()
    won(keeper)
    keeper.hear(keeper.concluded("probation", "worse"))
    keeper.respecify(**REQUIRED)
    keeper.command("challenge", 1)
    assert kinds(keeper.hear(keeper.beside(1, "better"))) == ["approval.requested"]
    assert keeper.run.asked_by == "ann"
    keeper.now += durations.seconds("1d")
    keeper.now = keeper.run.deadline - 1
    assert keeper.deadline() == []
    with pytest.raises(InvalidInput, match="another person"):
        keeper.command("approve")
    keeper.command("approve", by="bob")
    assert (keeper.state.champion, keeper.run.stage) == (1, "probation")


def test_a_second_winner_does_not_take_the_place_of_one_that_waits(keeper: Keeper) -> None:
    keeper.respecify()
    won(keeper)
    keeper.hear(keeper.concluded("probation", "worse"))
    keeper.respecify(**REQUIRED)
    keeper.command("challenge", 1)
    keeper.hear(keeper.drift(keeper.state.last_run_data_time + DAY, 9_000))
    keeper.hear(keeper.trained())
    keeper.hear(keeper.approved())
    keeper.hear(keeper.concluded("challenger", "better"))
    assert keeper.state.waiting is not None
    assert keeper.state.waiting.version == 3
    said = keeper.hear(keeper.beside(1, "better"))
    assert kinds(said) == ["model.retired"]
    assert keeper.state.waiting.version == 3


def test_the_answer_names_what_is_accepted(keeper: Keeper) -> None:
    with pytest.raises(InvalidInput, match="no version of tide waits for approval; accepted: one"):
        keeper.command("approve", by="bob")
    won(keeper)
    with pytest.raises(InvalidInput, match="version: 7 does not wait for approval; accepted: 2"):
        keeper.command("approve", 7, by="bob")


def test_approval_that_comes_twice_promotes_once(keeper: Keeper) -> None:
    won(keeper)
    keeper.command("approve", by="bob")
    number = keeper.state.promotion.number if keeper.state.promotion else 0
    with pytest.raises(InvalidInput, match="no version of tide waits"):
        keeper.command("approve", by="cleo")
    assert keeper.state.promotion is not None
    assert keeper.state.promotion.number == number == 2


def test_promotions_are_numbered_in_order() -> None:
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    numbers = [keeper.state.promotion.number if keeper.state.promotion else 0]
    keeper.challenge()
    keeper.hear(keeper.concluded("challenger", "better"))
    numbers.append(keeper.state.promotion.number if keeper.state.promotion else 0)
    said = keeper.hear(keeper.concluded("probation", "better"))
    back = said[0]
    assert isinstance(back, e.ModelRolledBack)
    numbers.append(back.number)
    assert numbers == [1, 2, 3]
    assert back.manifest_sha256 == keeper.state.versions[1].manifest_sha256
