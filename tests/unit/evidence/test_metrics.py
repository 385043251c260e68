"""The metrics of whole datasets, against scikit-learn's."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.evidence import (
    accuracy,
    brier_score,
    log_loss,
    mean_absolute_error,
    roc_auc,
    root_mean_squared_error,
)
from driftloop.evidence.arrays import FloatArray, IntArray

sklearn: Any = importlib.import_module("sklearn.metrics")

Metric = Callable[[Any, Any], float]
SEEDS = st.integers(0, 10_000)
CLASSES = st.integers(2, 5)


def scored_rows(seed: int, classes: int, rows: int = 60) -> tuple[FloatArray, IntArray]:
    """Return probabilities with many ties, and labels that hold every class."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 6, (rows, classes)).astype(np.float64)
    labels = random.permutation(np.arange(rows) % classes)
    return weights / weights.sum(axis=1, keepdims=True), labels


@given(seed=SEEDS, classes=CLASSES)
def test_log_loss_is_that_of_scikit_learn(seed: int, classes: int) -> None:
    probabilities, labels = scored_rows(seed, classes)
    expected = sklearn.log_loss(labels, probabilities)
    assert log_loss(probabilities, labels) == pytest.approx(expected)


@given(seed=SEEDS, classes=CLASSES)
def test_the_brier_score_is_that_of_scikit_learn_scaled_by_half(seed: int, classes: int) -> None:
    probabilities, labels = scored_rows(seed, classes)
    expected = sklearn.brier_score_loss(labels, probabilities, scale_by_half=True)
    assert brier_score(probabilities, labels) == pytest.approx(expected)


@given(seed=SEEDS)
def test_roc_auc_is_that_of_scikit_learn(seed: int) -> None:
    probabilities, labels = scored_rows(seed, classes=2)
    expected = sklearn.roc_auc_score(labels, probabilities[:, 1])
    assert roc_auc(probabilities, labels) == pytest.approx(expected)


@given(seed=SEEDS, classes=CLASSES)
def test_accuracy_is_that_of_scikit_learn(seed: int, classes: int) -> None:
    probabilities, labels = scored_rows(seed, classes)
    expected = sklearn.accuracy_score(labels, probabilities.argmax(axis=1))
    assert accuracy(probabilities, labels) == pytest.approx(expected)


@given(seed=SEEDS)
def test_regression_metrics_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.normal(50.0, 20.0, 80)
    predictions = targets + random.normal(0.0, 5.0, 80)
    absolute = sklearn.mean_absolute_error(targets, predictions)
    squared = sklearn.root_mean_squared_error(targets, predictions)
    assert mean_absolute_error(predictions, targets) == pytest.approx(absolute)
    assert root_mean_squared_error(predictions, targets) == pytest.approx(squared)


def test_roc_auc_of_one_class_is_not_a_number() -> None:
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1]])
    assert math.isnan(roc_auc(probabilities, np.array([1, 1])))
    assert math.isnan(roc_auc(probabilities, np.array([0, 0])))


def test_roc_auc_refuses_more_than_two_classes() -> None:
    with pytest.raises(ValueError, match="probabilities has 3 classes; accepted is 2"):
        roc_auc(*scored_rows(0, classes=3))


def test_log_loss_of_an_impossible_label_is_clipped() -> None:
    certain = np.array([[1.0, 0.0]])
    assert log_loss(certain, np.array([1])) == pytest.approx(-math.log(1e-15))


@pytest.mark.parametrize("metric", [log_loss, brier_score, accuracy, roc_auc])
def test_classification_metrics_need_a_row(metric: Metric) -> None:
    with pytest.raises(ValueError, match="there are 0 rows; accepted is at least 1"):
        metric(np.empty((0, 2)), np.empty(0, int))


@pytest.mark.parametrize("metric", [mean_absolute_error, root_mean_squared_error])
def test_regression_metrics_need_a_row(metric: Metric) -> None:
    with pytest.raises(ValueError, match="there are 0 rows"):
        metric(np.empty(0), np.empty(0))
