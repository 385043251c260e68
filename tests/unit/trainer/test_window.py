import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.spec import Training
from driftloop.trainer.domain.window import Part, choose

TRAINING = Training(window_rows=1_000, min_rows=100, min_rows_since_change=300, holdout=0.2)


def parts(*rows: int) -> list[Part]:
    """Batches of so many rows, the newest event time of each a thousand later than before."""
    return [Part(seq, count, 1_000 * seq) for seq, count in enumerate(rows, 1)]


def test_without_a_change_all_rows_of_the_window_are_taken() -> None:
    window = choose(parts(*[100] * 10), TRAINING, 0)
    assert window == (0, 8, "the newest 1000 rows")


def test_rows_since_the_change_are_taken_where_there_are_enough() -> None:
    window = choose(parts(*[100] * 10), TRAINING, 5_500)
    assert window == (5, 9, "500 rows since the change")


def test_a_change_just_now_leaves_too_few_rows_and_the_window_is_taken() -> None:
    window = choose(parts(*[100] * 10), TRAINING, 8_500)
    assert window == (0, 8, "the newest 1000 rows: only 200 since the change")


def test_a_change_after_every_row_leaves_none() -> None:
    assert choose(parts(*[100] * 10), TRAINING, 10**9).why.endswith("only 0 since the change")


def test_too_few_rows_are_an_error_that_says_how_many_are_needed() -> None:
    with pytest.raises(InvalidInput, match=r"training rows: 99 .*training\.min_rows = 100"):
        choose(parts(50, 49), TRAINING, 0)


def test_rows_in_one_batch_cannot_be_cut() -> None:
    with pytest.raises(InvalidInput, match="all in one batch of the log"):
        choose(parts(500), TRAINING, 0)


def test_the_holdout_has_at_least_its_share_and_is_the_newest() -> None:
    window = choose(parts(100, 100, 100, 30, 30, 40), TRAINING, 0)
    assert window.cut == 3


def test_however_large_the_last_batch_is_one_is_left_to_train_on() -> None:
    assert choose(parts(60, 5_000), TRAINING, 0).cut == 1
