"""The bounded losses of single rows."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.evidence import (
    CLASSIFICATION_LOSSES,
    REGRESSION_LOSSES,
    brier,
    clipped_log_loss,
    loss_function,
    scaled_absolute,
    scaled_squared,
    zero_one,
)
from driftloop.evidence.arrays import FloatArray

BINARY = np.array([[0.8, 0.2], [0.1, 0.9], [0.5, 0.5]])


def softmax_rows(seed: int, rows: int, classes: int) -> FloatArray:
    weights = np.exp(np.random.default_rng(seed).normal(0.0, 5.0, (rows, classes)))
    table: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return table


def test_the_binary_brier_loss_is_the_squared_error_of_the_probability() -> None:
    np.testing.assert_allclose(brier(BINARY, np.array([0, 1, 1])), [0.04, 0.01, 0.25])


def test_the_brier_loss_of_many_classes_is_half_the_squared_distance() -> None:
    table = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(brier(table, np.array([1, 2])), [1.0, 0.19])


def test_the_two_brier_formulas_agree_on_two_classes() -> None:
    table, labels = softmax_rows(0, 50, 2), np.arange(50) % 2
    padded = np.hstack([table, np.zeros((50, 1))])
    np.testing.assert_allclose(brier(table, labels), brier(padded, labels))


def test_zero_one_counts_wrong_answers_and_takes_the_first_of_equals() -> None:
    np.testing.assert_array_equal(zero_one(BINARY, np.array([0, 0, 0])), [0.0, 1.0, 0.0])


def test_the_clipped_log_loss_runs_from_certain_and_right_to_certain_and_wrong() -> None:
    table = np.array([[1.0, 0.0], [0.0, 1.0], [0.001, 0.999]])
    np.testing.assert_allclose(clipped_log_loss(table, np.zeros(3, int)), [0.0, 1.0, 0.5])


def test_regression_errors_are_counted_in_scales_up_to_one() -> None:
    predictions, targets = np.array([1.0, 2.0, -1e308]), np.array([2.0, 2.0, 1e308])
    np.testing.assert_allclose(scaled_absolute(predictions, targets, 4.0), [0.25, 0.0, 1.0])
    np.testing.assert_allclose(scaled_squared(predictions, targets, 4.0), [0.0625, 0.0, 1.0])


@given(seed=st.integers(0, 10_000), rows=st.integers(0, 40), classes=st.integers(2, 6))
@pytest.mark.parametrize("name", list(CLASSIFICATION_LOSSES))
def test_classification_losses_stay_in_the_unit_interval(
    name: str, seed: int, rows: int, classes: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, rows)
    losses = loss_function(name)(softmax_rows(seed, rows, classes).astype(np.float32), labels)
    assert losses.shape == (rows,)
    assert losses.dtype == np.float64
    assert ((losses >= 0) & (losses <= 1)).all()


@given(
    pairs=st.lists(st.tuples(st.floats(-1e308, 1e308), st.floats(-1e308, 1e308)), max_size=20),
    scale=st.floats(1e-300, 1e300),
)
@pytest.mark.parametrize("name", list(REGRESSION_LOSSES))
def test_regression_losses_stay_in_the_unit_interval(
    name: str, pairs: list[tuple[float, float]], scale: float
) -> None:
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    losses = loss_function(name, scale=scale)(table[:, 0], table[:, 1])
    assert losses.shape == (len(pairs),)
    assert ((losses >= 0) & (losses <= 1)).all()


def test_a_loss_is_found_by_its_name() -> None:
    assert loss_function("brier") is brier
    bound = loss_function("scaled_absolute", scale=2.0)
    np.testing.assert_allclose(bound(np.array([1.0]), np.array([2.0])), [0.5])


@pytest.mark.parametrize(
    ("name", "scale", "named"),
    [
        ("hinge", None, "loss is 'hinge'; accepted are brier, zero_one, .*, scaled_squared"),
        ("scaled_squared", None, "scale is missing; accepted for scaled_squared"),
        ("scaled_squared", 0.0, "scale is 0.0; accepted is a finite number over 0"),
        ("scaled_absolute", math.nan, "scale is nan"),
        ("brier", 2.0, "scale is 2.0; accepted for brier is none"),
    ],
)
def test_a_loss_that_cannot_be_had_is_refused(name: str, scale: float | None, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        loss_function(name, scale=scale)


@pytest.mark.parametrize(
    ("probabilities", "labels", "named"),
    [
        ([[0.5, math.nan]], [0], r"probabilities\[0, 1\] is nan; accepted is a number in \[0, 1\]"),
        ([[1.5, -0.5]], [0], r"probabilities\[0, 0\] is 1.5 \(and 1 more\)"),
        ([[0.5, 0.3]], [0], r"sum of probabilities\[0\] is 0.8; accepted is 1"),
        ([[0.5, 0.5]], [2], r"labels\[0\] is 2; accepted is a class index in 0..1"),
        ([[0.5, 0.5]], [-1], r"labels\[0\] is -1"),
        ([[0.5, 0.5]], [0.0], "labels has shape .* dtype float64"),
        ([[0.5, 0.5]], [0, 1], r"labels has shape \(2,\)"),
        ([[1.0]], [0], r"probabilities has shape \(1, 1\)"),
        ([0.5], [0], r"probabilities has shape \(1,\)"),
        ([[1, 0]], [0], "probabilities has shape .* dtype int64"),
    ],
)
def test_bad_probabilities_and_labels_are_refused_by_name(
    probabilities: Any, labels: Any, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        brier(probabilities, labels)


@pytest.mark.parametrize(
    ("predictions", "targets", "named"),
    [
        ([math.inf], [0.0], r"predictions\[0\] is inf; accepted is a finite number"),
        ([0.0], [math.nan], r"targets\[0\] is nan"),
        ([0.0], [0.0, 1.0], "targets has 2 rows; accepted is one a prediction, 1"),
    ],
)
def test_bad_predictions_and_targets_are_refused_by_name(
    predictions: Any, targets: Any, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        scaled_absolute(predictions, targets, 1.0)


@pytest.mark.parametrize("clip", [0.0, 1.0, math.nan])
def test_a_clip_outside_the_unit_interval_is_refused(clip: float) -> None:
    with pytest.raises(ValueError, match=f"clip is {clip}"):
        clipped_log_loss(BINARY, np.zeros(3, int), clip)
