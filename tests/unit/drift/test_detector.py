import math
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.drift.domain.detector import CLOCK, Change, Detector
from driftloop.drift.domain.places import MOST, Places
from driftloop.drift.domain.scale import Frequencies, Quantiles, Scale, Unit
from driftloop.evidence import split_alarm_budget

Floats = NDArray[np.float64]
DELTA = split_alarm_budget(1.0, 10, CLOCK)


def unit(_: Floats) -> Scale:
    return Unit()


def detector(reference: int = 500, only_up: bool = False, scale: object = Quantiles) -> Detector:
    return Detector("a", DELTA, reference, scale, only_up)  # type: ignore[arg-type]  # a class


def feed(found: Detector, values: Floats, rows: int = 100) -> list[Change]:
    """Batches of `rows` rows, a minute a row."""
    return [
        change
        for at in range(0, len(values), rows)
        for change in found.update(values[at : at + rows], at, at * 60_000)
    ]


def noise(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=rows)


def near(change: Change, truth: int) -> bool:
    """Times are those of batches of a hundred rows."""
    return abs(change.since_time / 60_000 - truth) <= 100


def test_a_shift_of_the_mean_is_found_with_its_time_and_size() -> None:
    values = noise(6_000)
    values[3_000:] += 2.0
    (change,) = feed(detector(), values)
    assert near(change, 3_000)
    assert change.before == pytest.approx(0.0, abs=0.2)
    assert change.after == pytest.approx(2.0, abs=0.4)
    assert change.strength > 1.0
    assert 0 < change.rows_since < 200


def test_the_second_change_is_told_against_what_was_between() -> None:
    values = noise(9_000)
    values[3_000:6_000] += 1.5
    first, second = feed(detector(), values)
    assert first.after > first.before
    assert second.before == pytest.approx(1.5, abs=0.2)
    assert second.after < second.before


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e308, -1e308])
@pytest.mark.parametrize("at", [10, 1_500])
def test_no_single_value_keeps_a_later_shift_from_being_seen(poison: float, at: int) -> None:
    values = noise(6_000)
    values[3_000:] += 5.0
    values[at] = poison
    found = detector()
    (change,) = feed(found, values)
    assert near(change, 3_000)
    assert math.isfinite(change.before)
    assert math.isfinite(found.mean)


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_huge_numbers_in_the_reference_keep_everything_finite(share: float) -> None:
    values = noise(3_000)
    huge = np.random.default_rng(1).random(3_000) < share
    values[huge] = np.where(np.arange(huge.sum()) % 2, 1e308, -1e308)
    found = detector()
    assert feed(found, values) == []
    assert math.isfinite(found.mean)


def test_independent_rows_raise_no_alarm_within_the_budget() -> None:
    alarms = 0
    for seed in range(10):
        alarms += len(feed(detector(), noise(20_000, seed), 1_000))
        uniform = np.random.default_rng(seed).random(20_000)
        alarms += len(feed(detector(scale=unit), (uniform < 0.2).astype(float), 1_000))
    assert alarms == 0


def test_a_loss_that_falls_is_no_alarm_and_one_that_rises_is() -> None:
    falling = np.clip(noise(6_000) * 0.05 + 0.4, 0, 1)
    falling[3_000:] -= 0.2
    assert feed(detector(only_up=True, scale=unit), falling) == []
    (change,) = feed(detector(only_up=True, scale=unit), 1 - falling)
    assert change.after > change.before


@pytest.mark.parametrize("value", [0.0, 7.5, -3e38, 1e25])
def test_a_constant_column_raises_no_alarm_until_it_changes(value: float) -> None:
    found = detector()
    assert feed(found, np.full(3_000, value)) == []
    assert found.mean == pytest.approx(value)
    assert len(feed(found, np.full(3_000, value + max(1.0, abs(value))))) == 1


def test_a_column_that_is_always_missing_says_nothing() -> None:
    found = detector()
    assert feed(found, np.full(5_000, np.nan)) == []
    assert math.isnan(found.mean)
    assert found.rows == 0


@pytest.mark.parametrize("rows", [1, 7, 32, 1_000, 6_000])
def test_how_the_log_is_cut_into_batches_changes_no_alarm(rows: int) -> None:
    values = noise(6_000)
    values[::9] = np.nan
    values[3_000:] += 1.0
    expected = [(c.before, c.after, c.strength, c.rows_since) for c in feed(detector(), values)]
    assert len(expected) == 1
    again = feed(detector(), values, rows)
    assert [(c.before, c.after, c.strength, c.rows_since) for c in again] == expected


def test_the_same_values_give_the_same_changes() -> None:
    values = np.concatenate([noise(2_000), noise(2_000, 1) + 1, noise(2_000, 2) - 1])
    assert feed(detector(), values) == feed(detector(), values) != []


def test_a_change_of_shares_of_categories_is_found() -> None:
    drawn = np.random.default_rng(0)
    before = drawn.choice([0.0, 1.0, 2.0], 3_000, p=[0.7, 0.2, 0.1])
    after = drawn.choice([0.0, 1.0, 2.0, -1.0], 3_000, p=[0.1, 0.2, 0.3, 0.4])
    scale = partial(Frequencies, categories=3)
    assert len(feed(detector(scale=scale), np.concatenate([before, after]))) == 1


def test_places_know_the_batch_a_value_came_with() -> None:
    places = Places()
    for at in range(MOST + 10):
        places.add(3 * at + 3, at, 1_000 * at)
    assert places.of(3 * 500 + 1).seq == 500
    assert places.of(0).seq == 10
    assert places.of(10**9).seq == MOST + 9
