"""Since when: the row a change began with."""

import numpy as np
import pytest

from driftloop.evidence.changepoint import change_point


def errors(shift: float, rows_since: int, *, gradual: bool = False) -> list[int]:
    found = []
    for seed in range(40):
        scores = np.random.default_rng(seed).normal(size=2_000 + rows_since)
        scores[2_000:] += shift * (np.arange(1, rows_since + 1) / rows_since if gradual else 1.0)
        found.append(abs(change_point(scores, 0.0).row - 2_000))
    return found


@pytest.mark.parametrize(("shift", "rows_since"), [(3.0, 20), (1.0, 60), (0.5, 180), (0.25, 700)])
def test_a_step_is_found_within_a_few_rows_of_its_size(shift: float, rows_since: int) -> None:
    assert np.median(errors(shift, rows_since)) <= max(3.0 / shift**2, 1.0)


def test_what_grew_is_told_from_its_beginning_and_not_from_its_middle() -> None:
    found = errors(2.0, 1_000, gradual=True)
    assert np.median(found) < 250
    scores = np.random.default_rng(0).normal(size=3_000)
    scores[2_000:] += np.linspace(0.0, 2.0, 1_000)
    assert change_point(scores, 0.0).gradual
    scores[2_000:] += 2.0 - np.linspace(0.0, 2.0, 1_000)
    assert not change_point(scores, 0.0).gradual


@pytest.mark.parametrize("rows", [0, 1, 8])
def test_of_too_few_rows_all_are_since_the_change(rows: int) -> None:
    assert change_point(np.ones(rows), 0.0).row == 0


def test_rows_that_never_moved_give_some_row_and_no_error() -> None:
    assert 0 <= change_point(np.zeros(100), 0.0).row <= 100
