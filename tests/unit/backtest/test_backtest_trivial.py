"""Trivial answers, beside plain loops that look at each row's past."""

from itertools import pairwise

import numpy as np
import pytest

from driftloop.local.backtest.trivial import Numbers, Times, last_label, majority


def past(times: Times, arrivals: Times, labels: Numbers, row: int) -> list[float]:
    """The labels that had come before a row, in their order."""
    order = np.argsort(arrivals, kind="stable")
    return [float(labels[at]) for at in order if arrivals[at] < times[row]]


def some(seed: int, classes: int) -> tuple[Times, Times, Numbers]:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 500, 200))
    labels = random.integers(0, classes, 200) if classes else random.normal(size=200)
    return times, times + random.integers(0, 90, 200), labels.astype(np.float64)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_majority_is_the_share_of_each_class_known_so_far(classes: int) -> None:
    times, arrivals, labels = some(1, classes)
    answers = majority(times, arrivals, labels, classes)

    for row in range(200):
        known = past(times, arrivals, labels, row)
        shares = [(known.count(name) + 1) / (len(known) + classes) for name in range(classes)]
        assert answers[row] == pytest.approx(shares)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_last_label_tells_what_mostly_follows_it(classes: int) -> None:
    times, arrivals, labels = some(2, classes)
    answers = last_label(times, arrivals, labels, classes)

    for row in range(200):
        known = [0.0, *past(times, arrivals, labels, row)]
        pairs = list(pairwise(known))
        counts = [pairs.count((known[-1], name)) + 1 for name in range(classes)]
        assert answers[row] == pytest.approx(np.array(counts) / sum(counts))


def test_of_a_regression_they_are_the_mean_and_the_value() -> None:
    times, arrivals, labels = some(3, 0)
    means, lasts = (function(times, arrivals, labels, 0) for function in (majority, last_label))

    for row in range(200):
        known = past(times, arrivals, labels, row)
        assert means[row, 0] == pytest.approx(np.mean(known) if known else 0.0)
        assert lasts[row, 0] == (known[-1] if known else 0.0)
