"""The estimated loss: what is expected, how sure it is, and how errors of the past widen it."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from driftloop.evidence import loss_function
from driftloop.evidence.estimated import BLOCK, NEEDED, Expected, LossEstimator
from driftloop.evidence.estimated_terms import ANSWER_TERMS, FEATURES, Kind, Terms, own_expectation
from driftloop.evidence.estimated_windows import EARLY, IN_A_ROW, NORMAL, OPEN, SCORES, Windows

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


def pairs(chances: ArrayLike) -> Floats32:
    second = np.asarray(chances, dtype=np.float64)
    return np.column_stack([1 - second, second]).astype(np.float32)


def learned(
    loss: str, answers: Floats32, features: Floats32, losses: Floats, kinds: list[Kind]
) -> LossEstimator:
    estimator = LossEstimator(loss, kinds)
    start = 0
    while start + estimator.wanted <= len(losses):
        part = slice(start, start + estimator.wanted)
        start = part.stop
        estimator.learn(answers[part], estimator.used(features[part]), losses[part])
    return estimator


def expected(estimator: LossEstimator, answers: Floats32, features: Floats32) -> Expected:
    return estimator.expect(answers, estimator.used(features))


@pytest.mark.parametrize("loss", ["brier", "zero_one", "clipped_log_loss"])
@pytest.mark.parametrize("classes", [2, 5])
def test_an_answer_expects_the_mean_loss_over_labels_drawn_from_it(loss: str, classes: int) -> None:
    answers = np.random.default_rng(1).dirichlet(np.full(classes, 0.5), 50).astype(np.float32)
    of = loss_function(loss)
    each = [answers[:, k] * of(answers, np.full(50, k)) for k in range(classes)]
    assert own_expectation(loss, answers) == pytest.approx(np.sum(each, axis=0), abs=1e-6)


def test_nothing_is_expected_before_there_are_enough_labelled_rows() -> None:
    estimator = LossEstimator("brier", [Kind()])
    assert not estimator.ready
    assert estimator.wanted == NEEDED
    with pytest.raises(ValueError, match="labelled rows are 0; accepted are 1000 at least"):
        estimator.expect(pairs([0.5]), np.zeros((1, 1), np.float32))


def test_a_constant_answer_and_feature_give_the_mean_loss_of_the_labelled_rows() -> None:
    rows = NEEDED
    losses = (np.arange(rows) % 4 == 0) * 1.0
    constant = np.zeros((rows, 1), np.float32)
    estimator = learned("scaled_absolute", constant, constant, losses, [Kind()])
    said = expected(estimator, constant[:10], constant[:10])
    mean = losses.sum() / (rows + 1)  # the constant term has the prior weight of one row
    assert said.mean == pytest.approx(mean)
    assert said.row_variance == pytest.approx(np.mean((losses - mean) ** 2))
    assert said.own_variance == pytest.approx(said.row_variance / (rows + 1))
    assert said.deviation(10) == pytest.approx(math.sqrt(said.row_variance * (1 / 10 + 1 / 1001)))


def test_answers_that_are_too_sure_are_recalibrated() -> None:
    random = np.random.default_rng(2)
    true = random.uniform(0.2, 0.8, 20_000)
    answers = pairs(np.where(true > 0.5, 0.95, 0.05))
    losses = loss_function("brier")(answers, (random.random(20_000) < true).astype(int))
    none = np.zeros((20_000, 0), np.float32)
    estimator = learned("brier", answers, none, losses, [])
    for chance in (0.05, 0.95):
        told = losses[answers[:, 1] == np.float32(chance)].mean()
        said = expected(estimator, pairs([chance]), none[:1])
        assert said.mean == pytest.approx(told, abs=0.005)
        assert abs(told - chance * (1 - chance)) > 0.15  # what the answer itself expects


def test_the_error_of_a_regression_is_followed_to_where_it_is_larger() -> None:
    random = np.random.default_rng(3)
    place = random.normal(size=20_000)
    features = np.column_stack([random.normal(size=20_000), place]).astype(np.float32)
    losses = np.where(place > 0, 0.4, 0.1) * random.uniform(0.5, 1.5, 20_000)
    answers = np.zeros((20_000, 1), np.float32)
    estimator = learned("scaled_absolute", answers, features, losses, [Kind(), Kind()])
    there = features[place > 0.3]
    assert losses.mean() == pytest.approx(0.25, abs=0.01)
    assert expected(estimator, answers[: len(there)], there).mean == pytest.approx(0.4, abs=0.01)


def test_rows_that_are_like_no_labelled_one_make_an_estimate_less_sure() -> None:
    random = np.random.default_rng(4)
    features = random.normal(size=(2_000, 1)).astype(np.float32)
    answers, losses = np.zeros((2_000, 1), np.float32), random.uniform(0, 0.2, 2_000)
    estimator = learned("scaled_absolute", answers, features, losses, [Kind(nullable=True)])
    missing = np.full((100, 1), np.nan, np.float32)
    known = expected(estimator, answers[:100], features[:100])
    assert expected(estimator, answers[:100], missing).own_variance > 20 * known.own_variance


def test_a_category_and_a_missing_value_have_terms_of_their_own() -> None:
    rows = np.arange(NEEDED)
    category, number = (rows % 3).astype(np.float32), (rows % 10).astype(np.float32)
    number[rows % 2 == 0] = np.nan
    losses = (category == 1) * 0.3 + (rows % 2 == 0) * 0.2
    features = np.column_stack([category, number])
    answers = np.zeros((NEEDED, 1), np.float32)
    estimator = learned("scaled_absolute", answers, features, losses, [Kind(3), Kind()])
    some = np.array([[1, np.nan], [1, 3], [0, np.nan], [-1, 3]], np.float32)
    said = [expected(estimator, answers[:1], row[None]).mean for row in some]
    assert said == pytest.approx([0.5, 0.3, 0.2, 0.1], abs=0.02)  # the last is none of the three


def test_terms_are_of_the_features_that_tell_most() -> None:
    random = np.random.default_rng(5)
    columns = random.normal(size=(61, 1_000)).astype(np.float32)
    columns[7] = 1.0
    losses = (columns[40] > 0) * 0.5 + random.uniform(0, 0.1, 1_000)
    terms = Terms.choose(columns, [Kind()] * 61, losses, 1)
    assert len(terms.columns) == 1 + FEATURES
    assert {0, 40} <= set(terms.columns.tolist())
    assert 7 not in terms.columns
    assert terms.size == 1 + ANSWER_TERMS + 3 * FEATURES


@pytest.mark.parametrize("loss", ["zero_one", "scaled_absolute"])
def test_losses_of_nothing_but_zeros_are_not_taken_for_certain(loss: str) -> None:
    answers = pairs(np.ones(NEEDED)) if loss == "zero_one" else np.zeros((NEEDED, 1), np.float32)
    missing = np.full((NEEDED, 1), np.nan, np.float32)
    estimator = learned(loss, answers, missing, np.zeros(NEEDED), [Kind(nullable=True)])
    said = expected(estimator, answers[:2], missing[:2])
    assert said.mean == 0.0
    assert said.deviation(2) > 0.01


def test_after_forgetting_the_same_terms_are_learned_anew() -> None:
    constant = np.zeros((NEEDED, 1), np.float32)
    estimator = learned("scaled_absolute", constant, constant, np.full(NEEDED, 0.9), [Kind()])
    estimator.forget()
    assert (estimator.ready, estimator.chosen, estimator.wanted) == (False, True, NEEDED)
    estimator.learn(constant, estimator.used(constant), np.full(NEEDED, 0.1))
    assert expected(estimator, constant, constant).mean == pytest.approx(0.1, abs=0.001)
    assert estimator.wanted == BLOCK


def test_an_estimator_goes_on_from_its_state() -> None:
    random = np.random.default_rng(6)
    features = random.normal(size=(6_000, 3)).astype(np.float32)
    answers, losses = pairs(random.random(6_000)), random.random(6_000)
    kinds = [Kind(), Kind(nullable=True), Kind()]
    through = learned("brier", answers, features, losses, kinds)
    first = learned("brier", answers[:3_200], features[:3_200], losses[:3_200], kinds)
    second = LossEstimator("brier", kinds)
    second.restore(first.state())
    for start in range(3_000, 6_000, BLOCK):
        part = slice(start, start + BLOCK)
        second.learn(answers[part], second.used(features[part]), losses[part])
    assert expected(second, answers, features) == expected(through, answers, features)


ROWS = 100
LIKELY = Expected(0.3, 0.01, 0.0)
"""So a mean of 100 rows deviates by 0.01."""


def settle(windows: Windows, errors: ArrayLike) -> None:
    for error in np.asarray(errors, dtype=np.float64).tolist():
        start = 1_000 * (windows.reconciled + windows.unreconciled)
        windows.issue(LIKELY, ROWS, start, start + 999)
        times = start + np.arange(ROWS, dtype=np.int64)
        windows.labelled(times, np.full(ROWS, 0.3 + 0.01 * error))


def test_an_interval_is_wide_until_errors_are_known() -> None:
    windows = Windows()
    assert windows.issue(LIKELY, ROWS, 0, 999).upper == pytest.approx(0.3 + 0.1271)
    windows = Windows()
    settle(windows, [0.5, -0.5, 1.0])
    assert windows.factor == pytest.approx(2.78 * math.sqrt((1 + 0.25 + 0.25 + 1) / 4))
    settle(windows, [0.0] * 12 + [4.0])
    assert windows.factor == pytest.approx(4.0)
    said = windows.issue(LIKELY, ROWS, 90_000, 90_999)
    assert [said.lower, said.upper] == pytest.approx([0.26, 0.34])


def test_an_interval_holds_95_percent_of_the_newest_errors() -> None:
    windows = Windows()
    settle(windows, [90.0, *np.arange(SCORES) / 10])
    assert windows.factor == pytest.approx(9.5)  # the 96th of 100: ceil(101 * 0.95)


def test_windows_are_reconciled_with_the_rows_of_their_time() -> None:
    windows = Windows()
    windows.labelled(np.array([5_000, 0]), np.array([0.9, 0.9]))
    windows.issue(LIKELY, 2, 1_000, 2_000)
    windows.issue(LIKELY, 2, 2_001, 3_000)
    windows.labelled(np.array([2_000, 2_001, 3_000, 999]), np.array([0.25, 0.5, 1.0, 0.9]))
    windows.labelled(np.array([1_000]), np.array([0.75]))
    assert windows.reconciled == 2
    assert windows.last is not None
    assert (windows.last.end, windows.last.labelled, windows.last.realised) == (3_000, 2, 0.75)
    windows.issue(LIKELY, 1, 4_000, 5_000)  # its label came before it was closed
    assert windows.reconciled == 3
    assert windows.last.realised == pytest.approx(0.9)


def test_a_window_without_its_labels_is_settled_when_later_ones_have_theirs() -> None:
    windows = Windows()
    for at in range(4):
        windows.issue(LIKELY, ROWS, 1_000 * at, 1_000 * at + 999)
    windows.labelled(np.repeat([500, 1_500], [20, 5]), np.full(25, 0.5))
    windows.labelled(np.full(ROWS, 2_500), np.full(ROWS, 0.3))
    assert windows.last is not None
    assert (windows.last.end, windows.last.labelled) == (999, 20)
    windows.labelled(np.full(ROWS, 3_500), np.full(ROWS, 0.3))
    assert (windows.reconciled, windows.unreconciled) == (3, 1)


def test_windows_whose_labels_never_come_are_bounded_and_counted() -> None:
    windows = Windows()
    for at in range(OPEN + 7):
        windows.issue(LIKELY, ROWS, 1_000 * at, 1_000 * at + 999)
    assert (windows.reconciled, windows.unreconciled, windows.last) == (0, 7, None)


def test_labels_that_come_before_their_window_are_bounded_and_counted() -> None:
    windows = Windows()
    windows.labelled(np.arange(EARLY + 3), np.zeros(EARLY + 3))
    assert windows.dropped == 3


def test_windows_that_miss_on_one_side_in_a_row_end_the_belief() -> None:
    windows = Windows()
    settle(windows, [0.1] * SCORES + [5.0, -5.0, 5.0, 5.0])
    assert not windows.failed
    settle(windows, [5.0])
    assert windows.failed
    windows.forget()
    assert not windows.failed
    assert windows.factor == NORMAL
    assert IN_A_ROW == 3


def test_few_errors_are_enough_to_see_that_estimates_are_wrong_now() -> None:
    windows = Windows()
    settle(windows, [0.5, -0.5, 1.0, 8.0, 8.0])
    assert not windows.failed
    settle(windows, [8.0])
    assert windows.failed


def test_windows_go_on_from_their_state() -> None:
    one = Windows()
    settle(one, [0.5, -3.0, 1.0])
    one.issue(LIKELY, ROWS, 50_000, 50_999)
    one.labelled(np.array([60_000]), np.array([0.5]))
    two = Windows()
    two.restore({name: array.copy() for name, array in one.state().items()})
    for windows in (one, two):
        windows.labelled(np.full(ROWS, 50_500), np.full(ROWS, 0.25))
    assert (two.factor, two.reconciled, two.last) == (one.factor, one.reconciled, one.last)
    assert two.reconciled == 4
    assert all(np.array_equal(one.state()[name], two.state()[name]) for name in one.state())
