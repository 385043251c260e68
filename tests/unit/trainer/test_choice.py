"""Weights by age, and the choice between training sets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.trainer.domain.choice import best, by_age


def losses(mean: float, seed: int, rows: int = 2_000) -> NDArray[np.float64]:
    return np.clip(np.random.default_rng(seed).normal(mean, 0.1, rows), 0, 1)


def test_a_row_counts_half_as_much_as_one_a_half_life_younger() -> None:
    weights = by_age(1_000, 250)
    assert weights.shape == (1_000,)
    assert np.allclose(weights[:-250] / weights[250:], 0.5)
    assert weights.mean() == pytest.approx(1.0)


def test_very_old_rows_weigh_nothing_and_no_weight_is_broken() -> None:
    weights = by_age(100_000, 1)
    assert np.isfinite(weights).all()
    assert weights[0] == 0


def test_a_half_life_of_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="half_life is 0; accepted is a number of rows"):
        by_age(10, 0)


def test_a_later_one_that_is_clearly_better_is_taken() -> None:
    shared = losses(0.0, 0)
    assert best([0.3 + shared + losses(0.02, 1), 0.3 + shared]) == 1


def test_of_two_that_chance_could_tell_apart_the_first_is_taken() -> None:
    first, second = losses(0.3, 1), losses(0.3, 2)
    assert best([first, second]) == best([second, first]) == 0


def test_equal_ones_are_a_tie_for_the_first() -> None:
    assert best([losses(0.3, 1)] * 3) == 0


def test_the_first_that_the_best_does_not_clearly_beat_is_taken() -> None:
    assert best([losses(0.5, 1), losses(0.3, 2), losses(0.3, 3)]) == 1


def test_one_bad_day_is_no_evidence_for_a_training_set() -> None:
    first, second = losses(0.3, 1), losses(0.3, 1)
    first[:100] += 0.2  # a twentieth of the rows, all at once: far beyond chance if each counted
    naive = (first - second).mean() / ((first - second).std() / np.sqrt(len(first)))
    assert naive > 5
    assert best([first, second]) == 0


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_few_rows_can_be_compared(rows: int) -> None:
    assert best([np.full(rows, 0.4), np.full(rows, 0.2)]) == 1
    assert best([np.full(rows, 0.2), np.full(rows, 0.4)]) == 0


def test_a_wrong_choice_between_equals_is_rare() -> None:
    drawn = np.random.default_rng(5)
    wrong = sum(best([drawn.random(500), drawn.random(500)]) for _ in range(1_000))
    assert wrong < 60  # two standard errors of ten blocks: 3.8 %
