"""The betting confidence sequence: what it promises, and that it decides soon enough."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.evidence import BettingConfidenceSequence, Interval, verdict
from driftloop.evidence.arrays import FloatArray
from driftloop.evidence.capital import BETS, candidate_grid

DIFFERENCES = st.lists(st.floats(-1.0, 1.0, allow_subnormal=False), max_size=150).map(np.array)


def normal(seed: int, mean: float, sd: float, rows: int) -> FloatArray:
    return np.clip(np.random.default_rng(seed).normal(mean, sd, rows), -1.0, 1.0)


def interval_of(differences: FloatArray, batch: int = 100, level: float = 0.05) -> Interval:
    sequence = BettingConfidenceSequence(level)
    for start in range(0, differences.size, batch):
        sequence.update(differences[start : start + batch])
    return sequence.interval


def rows_to_decision(differences: FloatArray, batch: int = 50) -> tuple[float, str]:
    sequence = BettingConfidenceSequence()
    for start in range(0, differences.size, batch):
        interval = sequence.update(differences[start : start + batch])
        answer = verdict(interval, margin=0.0)
        if answer != "undecided":
            return interval.rows, answer
    return math.inf, "undecided"


def is_refuted(candidate: float, differences: FloatArray, level: float = 0.05) -> bool:
    """Play the bet that the mean is over `candidate` row by row, straight from the definition."""
    shares = BETS / BETS.sum()
    with np.errstate(over="ignore"):
        for row in differences:
            shares = shares * (1.0 + BETS * (row - candidate) / (1.0 + candidate))
    return bool(shares.sum() >= 2.0 / level)


def is_within(inner: Interval, outer: Interval) -> bool:
    return inner.lower >= outer.lower and inner.upper <= outer.upper


def test_before_the_first_row_everything_is_possible() -> None:
    interval = BettingConfidenceSequence(bound=0.5).update(np.empty(0))
    assert (interval.lower, interval.upper, interval.rows) == (-0.5, 0.5, 0)
    assert math.isnan(interval.mean)


def test_the_mean_and_the_row_count_are_those_of_all_rows() -> None:
    differences = normal(1, 0.01, 0.3, 777)
    interval = interval_of(differences)
    assert interval.mean == pytest.approx(float(differences.mean()), abs=1e-12)
    assert interval.rows == 777


@given(differences=DIFFERENCES, cuts=st.lists(st.integers(0, 150), max_size=6))
@settings(max_examples=60, deadline=None)
def test_how_rows_are_cut_into_batches_changes_nothing(
    differences: FloatArray, cuts: list[int]
) -> None:
    whole, parts = BettingConfidenceSequence(), BettingConfidenceSequence()
    expected = whole.update(differences)
    for part in np.split(differences, sorted(cuts)):
        parts.update(part)
    got = parts.interval
    assert got.rows == expected.rows
    np.testing.assert_allclose([got.lower, got.upper], [expected.lower, expected.upper], atol=1e-12)
    np.testing.assert_allclose(got.mean, expected.mean, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 32, 100, 1000])
def test_a_thousand_rows_give_one_answer_in_any_batch_size(batch: int) -> None:
    differences = normal(2, 0.004, 0.06, 1000)
    got, expected = interval_of(differences, batch), interval_of(differences, 1000)
    assert (got.lower, got.upper) == (expected.lower, expected.upper)


@given(differences=DIFFERENCES)
@settings(max_examples=40, deadline=None)
def test_the_interval_lies_in_the_possible_range_and_its_bounds_never_cross(
    differences: FloatArray,
) -> None:
    interval = interval_of(differences)
    assert -1.0 <= interval.lower < interval.upper <= 1.0


@given(differences=DIFFERENCES)
@settings(max_examples=40, deadline=None)
def test_swapping_the_two_models_mirrors_the_interval(differences: FloatArray) -> None:
    plain, mirrored = interval_of(differences), interval_of(-differences)
    assert (mirrored.lower, mirrored.upper) == (-plain.upper, -plain.lower)


@given(differences=DIFFERENCES)
@settings(max_examples=40, deadline=None)
def test_a_stricter_level_gives_a_wider_interval(differences: FloatArray) -> None:
    assert is_within(interval_of(differences, level=0.1), interval_of(differences, level=0.01))


@pytest.mark.parametrize("bound", [0.01, 3.0])
def test_the_interval_scales_with_the_unit_of_the_differences(bound: float) -> None:
    differences = normal(3, 0.05, 0.2, 500)
    scaled = BettingConfidenceSequence(bound=bound).update(differences * bound)
    plain = interval_of(differences)
    assert scaled.lower == pytest.approx(plain.lower * bound)
    assert scaled.upper == pytest.approx(plain.upper * bound)


@pytest.mark.parametrize(("mean", "sd", "rows"), [(0.02, 0.06, 300), (-0.2, 0.4, 200)])
def test_the_bound_is_that_of_the_definition_rounded_outwards(
    mean: float, sd: float, rows: int
) -> None:
    differences, grid = normal(4, mean, sd, rows), candidate_grid(201)
    lower = interval_of(differences).lower
    after = grid[np.searchsorted(grid, lower) + 1]
    assert -1.0 < lower < mean
    assert not is_refuted(float(after), differences)
    assert all(is_refuted(float(c), differences) for c in np.linspace(-0.999, lower, 40))


@pytest.mark.parametrize("margin", [0.0, 0.00321, -0.00321])
def test_a_bound_at_the_margin_is_that_of_the_definition_without_rounding(margin: float) -> None:
    sequence, rows = BettingConfidenceSequence(margin=margin), normal(11, 0.006, 0.06, 4_000)
    looks = range(50, 4_000, 50)
    found = [verdict(sequence.update(rows[at - 50 : at]), margin) == "better" for at in looks]
    assert found == [is_refuted(margin, rows[:at]) for at in looks]
    assert set(found) == {True, False}


@pytest.mark.parametrize("points", [53, 201, 1001])
def test_the_grid_holds_zero_and_is_fine_around_it(points: int) -> None:
    grid = candidate_grid(points)
    assert grid.shape == (points,)
    assert grid[points // 2] == 0.0
    assert (grid[0], grid[-1]) == (-1.0, 1.0)
    np.testing.assert_array_equal(grid, -grid[::-1])
    assert 0 < grid[points // 2 + 1] <= 0.0005
    assert (np.diff(grid) > 0).all()


@pytest.mark.parametrize("extreme", [-1.0, 1.0])
def test_extreme_rows_end_in_an_interval_at_the_edge(extreme: float) -> None:
    interval = interval_of(np.full(20_000, extreme), batch=20_000)
    assert abs(extreme - interval.mean) == 0
    assert interval.lower <= extreme <= interval.upper
    assert interval.upper - interval.lower < 0.1


def test_models_that_answer_alike_are_never_told_apart() -> None:
    interval = interval_of(np.zeros(50_000), batch=50_000)
    assert -0.001 < interval.lower < 0 < interval.upper < 0.001


@pytest.mark.parametrize(
    ("differences", "named"),
    [
        ([0.1, math.nan], r"differences\[1\] is nan; accepted is a finite number in \[-1.0, 1.0\]"),
        ([math.inf], r"differences\[0\] is inf"),
        ([0.0, 0.0, -1.00001], r"differences\[2\] is -1.00001"),
        ([1e308, 1e308], r"differences\[0\] is 1e\+308 \(and 1 more\)"),
        ([[0.1]], r"differences has shape \(1, 1\)"),
        (0.1, r"differences has shape \(\)"),
        (["0.1"], "dtype <U3"),
    ],
)
def test_bad_differences_are_refused_by_name_and_change_nothing(
    differences: list[float], named: str
) -> None:
    touched, untouched = BettingConfidenceSequence(), BettingConfidenceSequence()
    for sequence in (touched, untouched):
        sequence.update(normal(5, 0.01, 0.06, 50))
    with pytest.raises(ValueError, match=named):
        touched.update(differences)
    assert touched.interval == untouched.interval
    more = normal(6, 0.01, 0.06, 500)
    assert touched.update(more) == untouched.update(more)


def test_rounding_of_float32_losses_is_forgiven() -> None:
    beyond = np.nextafter(np.float32(1.0), np.float32(2.0))
    assert BettingConfidenceSequence().update(np.array([beyond, -beyond])).mean == 0.0


@pytest.mark.parametrize(
    ("level", "bound", "points", "named"),
    [
        (0.0, 1.0, 201, "level is 0.0"),
        (1.0, 1.0, 201, "level is 1.0"),
        (math.nan, 1.0, 201, "level is nan"),
        (0.05, 0.0, 201, "bound is 0.0"),
        (0.05, math.inf, 201, "bound is inf"),
        (0.05, 1.0, 200, "grid_points is 200; accepted is an odd number 53..10001"),
        (0.05, 1.0, 51, "grid_points is 51"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    level: float, bound: float, points: int, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        BettingConfidenceSequence(level, bound, grid_points=points)


def test_equal_models_are_told_apart_no_more_often_than_the_level_allows() -> None:
    # Tolerance: two binomial standard deviations over the level, 0.05 + 2 * 0.0126 = 0.075.
    sequences, level = 300, 0.05
    answers = [rows_to_decision(normal(seed, 0.0, 0.12, 2000), 100)[1] for seed in range(sequences)]
    share = sum(answer != "undecided" for answer in answers) / sequences
    assert share <= level + 2 * math.sqrt(level * (1 - level) / sequences)


def test_the_true_mean_of_skewed_differences_stays_inside() -> None:
    # True mean 0.02 * -0.49 + 0.98 * 0.03; tolerance as above for 100 sequences: 0.05 + 0.044.
    mean = 0.02 * -0.49 + 0.98 * 0.03
    missed = 0
    for seed in range(100):
        rare = np.random.default_rng(seed).random(1000) < 0.02
        interval = interval_of(np.where(rare, -0.49, 0.03), batch=1000)
        missed += not interval.lower <= mean <= interval.upper
    assert missed / 100 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 100)


def test_a_moving_mean_is_not_called_better_before_its_average_is() -> None:
    # The running mean is never over 0, so "better" is wrong; one side has half of the level.
    # Tolerance: two binomial standard deviations for 100 sequences, 0.025 + 0.031.
    waves = np.tile(np.repeat([-0.01, 0.01], 200), 5)
    lower = [
        interval_of(np.clip(normal(seed, 0.0, 0.06, 2000) + waves, -1, 1), batch=2000).lower
        for seed in range(100)
    ]
    share = sum(bound > 0 for bound in lower) / 100
    assert share <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 100)


def test_a_difference_that_changes_sides_is_taken_back_and_then_decided_the_other_way() -> None:
    early, late = normal(8, 0.02, 0.06, 400), normal(9, -0.02, 0.06, 6000)
    sequence = BettingConfidenceSequence()
    assert verdict(sequence.update(early), 0.0) == "better"
    assert verdict(sequence.update(late[:400]), 0.0) == "undecided"
    assert verdict(sequence.update(late[400:]), 0.0) == "worse"


@pytest.mark.parametrize(
    ("mean", "sd", "median", "most"),
    [(0.005, 0.06, 1500, 3500), (0.01, 0.06, 650, 1200), (0.01, 0.12, 1600, 4500)],
)
def test_a_better_model_is_found_soon(mean: float, sd: float, median: int, most: int) -> None:
    # Measured medians 1200, 510, 1120; nine tenths within 2430, 770, 2850.
    decisions = [rows_to_decision(normal(seed, mean, sd, most + 50)) for seed in range(40)]
    rows = [count for count, _ in decisions]
    assert {answer for _, answer in decisions} <= {"better", "undecided"}
    assert np.median(rows) <= median
    assert np.quantile(rows, 0.9, method="lower") <= most


def test_a_worse_model_is_found_as_soon_as_a_better_one() -> None:
    differences = normal(10, 0.01, 0.06, 3000)
    rows, answer = rows_to_decision(differences)
    assert answer == "better"
    assert rows_to_decision(-differences) == (rows, "worse")


@pytest.mark.parametrize("margin", [1.0, -1.0, math.nan])
def test_a_margin_that_no_difference_can_pass_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=f"margin is {margin}; accepted is a number over -1.0"):
        BettingConfidenceSequence(margin=margin)


def test_two_rows_are_too_few_for_any_verdict_at_the_usual_level() -> None:
    for rows in ([1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]):
        assert verdict(BettingConfidenceSequence().update(rows), 0.0) == "undecided"


def test_constant_differences_decide_by_their_sign_and_zero_never_does() -> None:
    for constant, expected in ((0.02, "better"), (-0.02, "worse"), (0.0, "undecided")):
        interval = BettingConfidenceSequence().update(np.full(5_000, constant))
        assert verdict(interval, 0.0) == expected
