"""Signals of every kind: what is found, with which numbers, and what leaves them unmoved."""

import math
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.drift.domain.categories import Categories
from driftloop.drift.domain.cells import Cells, Matrix
from driftloop.drift.domain.history import ROWS as KEPT
from driftloop.drift.domain.history import History
from driftloop.drift.domain.losses import Losses
from driftloop.drift.domain.numbers import Numbers
from driftloop.drift.domain.signals import Change, Signal, Signals

Floats = NDArray[np.float64]
MINUTE = 60_000
NAMES = ("tea", "coffee", "water")


def _numbers(reference: Matrix, *, nullable: bool = False) -> Cells:
    return Numbers("a", reference, nullable=nullable)


def _categories(reference: Matrix, *, names: tuple[str, ...] = NAMES) -> Cells:
    return Categories("a", reference, names, nullable=True, unseen=True)


def _losses(reference: Matrix) -> Cells:
    return Losses("loss", reference)


NUMBER = Signal("a", "covariate", _numbers, 2)
NULLABLE = Signal("a", "covariate", partial(_numbers, nullable=True), 3)
CATEGORY = Signal("a", "covariate", _categories, 6)
LOSS = Signal("loss", "loss", _losses, 1)


def signals(*watched: Signal, reference: int = 512, rows_per_alarm: float = 1e6) -> Signals:
    only_up = watched == (LOSS,)
    return Signals(watched or (NUMBER,), reference, rows_per_alarm, only_up=only_up)


def feed(found: Signals, values: Floats, rows: int = 100) -> list[Change]:
    """Batches of `rows` rows, a minute a row; the sequence of a batch is its first row."""
    table = np.asarray(values, dtype=np.float32).reshape(len(values), -1)
    changes: list[Change] = []
    for start in range(0, len(table), rows):
        part = table[start : start + rows]
        at = np.arange(len(part))
        changes += found.update(part, start, at, (start + at) * MINUTE)
    return changes


def noise(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=rows)


def row(place: tuple[int, int, int]) -> int:
    seq, at, time = place
    assert time == (seq + at) * MINUTE
    return seq + at


def test_a_shift_of_the_mean_is_found_with_its_row_and_size() -> None:
    values = noise(6_000)
    values[3_007:] += 2.0
    (change,) = feed(signals(), values)
    assert 3_007 < row(change.at) < 3_060
    assert abs(row(change.since) - 3_007) <= 2
    assert change.rows_since == row(change.at) + 1 - row(change.since)
    (part,) = change.parts
    assert (part.detector, part.shift, part.feature) == ("a", "covariate", "a")
    assert part.before == pytest.approx(0.0, abs=0.1)
    assert part.after == pytest.approx(2.0, abs=0.8)
    assert part.strength == pytest.approx(2.0, abs=0.8)


def test_a_spread_that_grows_is_found_where_the_mean_stays() -> None:
    values = noise(6_000)
    values[3_000:] *= 2.0
    (change,) = feed(signals(), values)
    (part,) = change.parts
    assert part.detector == "a:spread"
    assert part.before == pytest.approx(1.0, abs=0.1)
    assert part.after > 1.5
    assert abs(row(change.since) - 3_000) < 100


def test_the_second_change_is_told_against_what_was_between() -> None:
    values = noise(9_000)
    values[3_000:6_000] += 1.5
    first, second = feed(signals(), values)
    assert first.parts[0].after > first.parts[0].before
    assert second.parts[0].before == pytest.approx(1.5, abs=0.2)
    assert second.parts[0].after < second.parts[0].before


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e308, -1e308])
@pytest.mark.parametrize("at", [10, 1_500])
def test_no_single_value_keeps_a_later_shift_from_being_seen(poison: float, at: int) -> None:
    values = noise(6_000)
    values[3_000:] += 5.0
    values[at] = np.clip(poison, -np.inf, np.inf)
    found = signals()
    with np.errstate(over="ignore"):
        (change,) = feed(found, values)
    assert abs(row(change.since) - 3_000) <= 2
    assert math.isfinite(change.parts[0].before)
    assert all(math.isfinite(standing.mean) for standing in found.standing())


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_huge_numbers_keep_everything_finite(share: float) -> None:
    values = noise(3_000)
    huge = np.random.default_rng(1).random(3_000) < share
    values[huge] = np.where(np.arange(huge.sum()) % 2, 3e38, -3e38)
    found = signals()
    assert feed(found, values) == []
    assert all(math.isfinite(standing.mean) for standing in found.standing())


def test_stationary_rows_raise_no_alarm_within_the_budget() -> None:
    alarms = 0
    for seed in range(6):
        drawn = np.random.default_rng(seed)
        alarms += len(feed(signals(), noise(20_000, seed), 1_000))
        alarms += len(feed(signals(LOSS), (drawn.random(20_000) < 0.2).astype(float), 1_000))
        alarms += len(feed(signals(CATEGORY), drawn.choice([0.0, 1.0, 2.0], 20_000), 1_000))
    assert alarms == 0


def test_rows_that_depend_on_their_neighbours_raise_no_alarm() -> None:
    values = noise(40_000)
    for at in range(1, len(values)):
        values[at] = 0.9 * values[at - 1] + math.sqrt(0.19) * values[at]
    assert feed(signals(reference=2_000), values, 1_000) == []


def test_a_loss_that_falls_is_no_alarm_and_one_that_rises_is() -> None:
    falling = np.clip(noise(6_000) * 0.05 + 0.4, 0, 1)
    falling[3_000:] -= 0.2
    assert feed(signals(LOSS), falling) == []
    (change,) = feed(signals(LOSS), 1 - falling)
    (part,) = change.parts
    assert part.before == pytest.approx(0.6, abs=0.02)
    assert part.after > 0.7
    assert len(change.summaries[0].edges) == len(change.summaries[0].before) + 1


def test_the_evidence_is_that_of_all_signals_and_grows_with_a_change_until_the_alarm() -> None:
    found = signals(LOSS)
    assert found.evidence == 0
    rising = np.clip(noise(6_000) * 0.05 + 0.4, 0, 1)
    feed(found, rising[:3_000])
    calm = found.evidence
    assert calm == pytest.approx(sum(its.evidence for its in found.standing()))
    changes, highest = [], 0.0
    for start in range(3_000, 6_000, 16):
        changes += feed(found, rising[start : start + 16] + 0.02)
        highest = max(highest, found.evidence)
        if changes:
            break
    assert changes
    assert calm < 0.1 < highest <= 1.0
    assert found.evidence < 0.01


@pytest.mark.parametrize("value", [0.0, 7.5, -3e38, 1e25])
def test_a_constant_column_raises_no_alarm_until_it_changes(value: float) -> None:
    found = signals()
    assert feed(found, np.full(3_000, value)) == []
    (standing,) = found.standing()
    assert standing.mean == pytest.approx(value)
    (change,) = feed(found, np.full(3_000, value / 2 + 1.0))
    assert change.parts[0].after == pytest.approx(value / 2 + 1.0, rel=1e-3)


def test_a_column_that_is_always_missing_says_nothing_until_values_come() -> None:
    found = signals(NULLABLE)
    assert feed(found, np.full(5_000, np.nan)) == []
    (change,) = feed(found, noise(3_000))
    (part,) = change.parts
    assert (part.detector, part.shift) == ("a:missing", "missing")
    assert part.before == pytest.approx(1.0, abs=0.01)
    assert part.after == pytest.approx(0.0, abs=0.1)


def test_values_that_go_missing_are_told_as_that_and_not_as_a_shift() -> None:
    values = noise(6_000)
    values[3_000:][np.random.default_rng(2).random(3_000) < 0.2] = np.nan
    (change,) = feed(signals(NULLABLE), values)
    (part,) = change.parts
    assert (part.detector, part.shift, part.feature) == ("a:missing", "missing", "a")
    assert part.after == pytest.approx(0.2, abs=0.1)
    assert change.summaries[0].missing[1] == pytest.approx(part.after)


@pytest.mark.parametrize("rows", [1, 7, 16, 1_000, 6_000])
def test_how_the_log_is_cut_into_batches_changes_no_alarm(rows: int) -> None:
    values = noise(6_000)
    values[::9] = np.nan
    values[3_000:] += 1.0
    expected = [(c.parts, c.rows_since, row(c.at)) for c in feed(signals(NULLABLE), values)]
    assert len(expected) == 1
    again = feed(signals(NULLABLE), values, rows)
    assert [(c.parts, c.rows_since, row(c.at)) for c in again] == expected


def test_a_change_of_shares_of_categories_is_found_with_the_category() -> None:
    drawn = np.random.default_rng(0)
    before = drawn.choice([0.0, 1.0, 2.0], 3_000, p=[0.7, 0.2, 0.1])
    after = drawn.choice([0.0, 1.0, 2.0], 3_000, p=[0.7, 0.1, 0.2])
    (change,) = feed(signals(CATEGORY), np.concatenate([before, after]))
    (part,) = change.parts
    assert part.detector in ("a=water", "a=coffee")
    assert part.before == pytest.approx({"a=water": 0.1, "a=coffee": 0.2}[part.detector], abs=0.05)
    (summary,) = change.summaries
    assert summary.names == ("tea", "coffee", "water", "unseen")
    assert sum(summary.before) == pytest.approx(1.0)


def test_a_category_nobody_knew_is_told_as_unseen() -> None:
    values = np.random.default_rng(0).choice([0.0, 1.0, 2.0], 4_000)
    values[2_000::5] = -1.0
    (change,) = feed(signals(CATEGORY), values)
    (part,) = change.parts
    assert (part.detector, part.shift) == ("a:unseen", "unseen")


def test_of_many_categories_the_rare_ones_are_one() -> None:
    names = tuple(f"n{at}" for at in range(200))
    drawn = np.random.default_rng(0)
    values = np.minimum(drawn.geometric(0.05, 6_000) - 1.0, 199.0)
    many = Signal("a", "covariate", partial(_categories, names=names), 15)
    found = signals(many, reference=2_000)
    assert feed(found, values) == []
    (change,) = feed(found, np.minimum(drawn.geometric(0.02, 3_000) - 1.0, 199.0))
    assert "others" in change.summaries[0].names


def test_only_what_changed_learns_anew_after_an_alarm() -> None:
    values = np.column_stack([noise(8_000), noise(8_000, 1)])
    values[3_000:, 0] += 2.0
    values[3_400:, 1] += 2.0
    first, second = feed(signals(NUMBER, NUMBER._replace(name="b")), values)
    assert abs(row(first.since) - 3_000) <= 5
    assert abs(row(second.since) - 3_400) <= 10


def test_history_keeps_the_newest_rows_and_forgets_the_oldest() -> None:
    history = History(1)
    for batch in range(60):
        rows = np.arange(1_000)
        history.place(batch, rows, batch * 1_000 + rows)
        history.keep(batch * 1_000, (rows % 34).astype(np.uint8)[:, None])
    assert history.at(59_999) == (59, 999, 59_999)
    assert 60_000 - 2 * KEPT <= history.first <= 60_000 - KEPT
    assert history.at(5).time == history.first
    assert history.of(59_000, 60_000)[:, 0].tolist() == [at % 34 for at in range(1_000)]
    assert len(history.cells) <= 4 * KEPT
