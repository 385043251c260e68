import msgspec
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.manifest import Window
from driftloop.modelspec.spec import Training, WindowName
from driftloop.trainer.domain.window import Part, Plan, choose, words

TRAINING = Training(window_rows=1_000, min_rows=100, min_rows_since_change=300, holdout=0.2)
LOG = [100] * 10


def parts(*rows: int) -> list[Part]:
    """Batches of so many rows, the newest event time of each a thousand later than before."""
    return [Part(seq, count, 1_000 * seq) for seq, count in enumerate(rows, 1)]


def trying(*windows: WindowName) -> Training:
    return msgspec.structs.replace(TRAINING, windows=windows)


def found(plan: Plan) -> dict[str, tuple[int, int]]:
    """Of each window that is not skipped: where it begins in the log, and its rows."""
    return {w.name: (w.first_seq, w.rows) for w in plan.windows if not w.skipped}


def skipped(plan: Plan) -> dict[str, str]:
    return {w.name: w.skipped for w in plan.windows if w.skipped}


def test_without_a_change_all_rows_of_the_window_are_taken() -> None:
    plan = choose(parts(*LOG), TRAINING, 0)
    assert (plan.first, plan.cut, found(plan)) == (0, 8, {"newest": (1, 800)})
    assert words(plan.windows) == "the newest 1000 rows"


def test_after_a_change_with_enough_rows_both_windows_end_at_one_holdout_of_new_rows() -> None:
    plan = choose(parts(*LOG), TRAINING, 5_500)
    assert (plan.first, plan.cut) == (0, 9)
    assert found(plan) == {"newest": (1, 900), "since_change": (6, 400)}
    assert words(plan.windows) == "the newest 1000 rows or 500 rows since the change"


def test_rows_of_before_the_change_are_not_read_if_only_those_since_are_tried() -> None:
    plan = choose(parts(*LOG), trying("since_change"), 5_500)
    assert (plan.first, plan.cut, found(plan)) == (5, 9, {"since_change": (6, 400)})


@pytest.mark.parametrize(("since", "left"), [(8_500, 200), (10**9, 0)])
@pytest.mark.parametrize("tried", [("newest", "since_change"), ("since_change",)])
def test_a_change_just_now_leaves_too_few_rows_and_the_newest_are_taken(
    since: int, left: int, tried: tuple[WindowName, ...]
) -> None:
    plan = choose(parts(*LOG), trying(*tried), since)
    assert (plan.cut, found(plan)) == (8, {"newest": (1, 800)})
    assert skipped(plan) == {"since_change": f"only {left} rows since the change"}
    assert words(plan.windows).startswith("the newest 1000 rows; since_change skipped: only")


def test_the_same_rows_are_not_tried_twice() -> None:
    plan = choose(parts(*LOG), TRAINING, 1)
    assert found(plan) == {"newest": (1, 800)}
    assert skipped(plan) == {"since_change": "all rows are newer than the change"}
    assert found(choose(parts(*LOG), trying("since_change"), 1)) == {"since_change": (1, 800)}


def test_rows_since_the_change_in_one_batch_cannot_be_cut_and_are_skipped() -> None:
    plan = choose(parts(500, 500, 400), TRAINING, 2_500)
    assert found(plan) == {"newest": (1, 1_000)}
    assert skipped(plan) == {"since_change": "all rows since the change in one batch"}


def test_the_half_life_of_a_weighted_window_is_a_share_of_its_rows() -> None:
    plan = choose(parts(*LOG), trying("weighted"), 0)
    (window,) = plan.windows
    assert (window.rows, window.half_life) == (800, 200)


def test_windows_are_in_the_order_of_the_spec() -> None:
    plan = choose(parts(*LOG), trying("weighted", "since_change", "newest"), 5_500)
    assert list(found(plan)) == ["weighted", "since_change", "newest"]


def test_too_few_rows_are_an_error_that_says_how_many_are_needed() -> None:
    with pytest.raises(InvalidInput, match=r"training rows: 99 .*training\.min_rows = 100"):
        choose(parts(50, 49), TRAINING, 0)


def test_rows_in_one_batch_cannot_be_cut() -> None:
    with pytest.raises(InvalidInput, match="all in one batch of the log"):
        choose(parts(500), TRAINING, 0)


def test_the_holdout_has_at_least_its_share_and_is_the_newest() -> None:
    plan = choose(parts(100, 100, 100, 30, 30, 40), TRAINING, 0)
    assert plan.cut == 3


def test_however_large_the_last_batch_is_one_is_left_to_train_on() -> None:
    assert choose(parts(60, 5_000), TRAINING, 0).cut == 1


def test_people_are_told_what_was_chosen_and_how_the_others_did() -> None:
    tried = (
        Window(name="newest", why="the newest 9 rows", loss=0.25),
        Window(name="since_change", why="5 rows since the change", loss=0.125, chosen=True),
        Window(name="weighted", skipped="no weights"),
    )
    assert words(tried) == (
        "5 rows since the change (loss 0.12500); not the newest 9 rows (loss 0.25000); "
        "weighted skipped: no weights"
    )
