"""The e-detector and the residuals it is fed with: what they promise, and what they find."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftloop.evidence.arrays import FloatArray
from driftloop.evidence.edetector import BETS, SHARES, EDetector
from driftloop.evidence.residuals import RecursiveResiduals, Residuals, Tails

BLOCK = 16


def tails(directions: int, tail: float = 0.0, shares: bool = False) -> Tails:
    return Tails(np.full(directions, tail), np.full(directions, tail), np.full(directions, shares))


def standard(z: NDArray[np.floating[Any]], tail: float = 0.0) -> Residuals:
    same = np.full(z.shape, tail)
    return Residuals(np.asarray(z, dtype=np.float64), same, same)


def learned(means: FloatArray, shares: bool = False) -> RecursiveResiduals:
    """Residuals of directions that begin with these block means."""
    count = means.shape[1]
    made = RecursiveResiduals(BLOCK, tails(count))
    made.begin(np.arange(count), tails(count, shares=shares), means)
    return made


def watching(directions: int, threshold: float, only_up: bool = False) -> EDetector:
    made = EDetector(threshold, directions, only_up=only_up)
    made.weigh(np.full(directions, 1.0 / directions))
    return made


def alarms(detector: EDetector, residuals: Residuals, at_once: int = 500) -> int:
    """How many alarms there are, each of them followed by a new beginning."""
    found = start = 0
    while start < len(residuals.z):
        block = detector.play(Residuals(*(part[start : start + at_once] for part in residuals)))
        if block is None:
            start += at_once
            continue
        found, start = found + 1, start + block + 1
        detector.restart()
    return found


def test_false_alarms_keep_to_the_threshold_whatever_the_directions_have_in_common() -> None:
    """A hundred blocks an alarm are allowed; all directions being one is the worst there is."""
    drawn = np.random.default_rng(0).normal(size=(40_000, 1))
    for z in (
        drawn,
        np.repeat(drawn, 5, axis=1),
        np.random.default_rng(1).normal(size=(40_000, 5)),
    ):
        assert 0 < alarms(watching(z.shape[1], 100.0), standard(z)) <= 40_000 / 100


def test_counts_of_a_rare_event_keep_to_the_threshold_with_their_tail() -> None:
    rate = 0.05
    counts = np.random.default_rng(2).poisson(rate, size=(60_000, 1))
    z = (counts - rate) / math.sqrt(rate)
    with_tail = alarms(watching(1, 100.0, only_up=True), standard(z, 1 / math.sqrt(rate)))
    assert with_tail <= 600
    assert alarms(watching(1, 100.0, only_up=True), standard(z)) > 2 * 600


def test_the_evidence_is_that_of_the_definition() -> None:
    z = np.random.default_rng(3).normal(0.5, 1.0, size=(30, 2))
    detector = watching(2, 1e9)
    assert detector.play(standard(z, 0.4)) is None
    bets = np.concatenate([BETS, -BETS])
    size = np.abs(bets)
    psi = (np.exp(0.4 * size) - 1 - 0.4 * size) / 0.16
    capital = np.zeros((2, bets.size))
    for row in z:
        capital = (capital + 1) * np.exp(row[:, None] * bets - psi)
    wanted = capital @ np.concatenate([SHARES, SHARES]) / 2 / 2 / 1e9
    assert detector.evidence == pytest.approx(wanted)


def test_a_direction_without_weight_raises_no_alarm() -> None:
    detector = EDetector(50.0, 2, only_up=False)
    detector.weigh(np.array([1.0, 0.0]))
    z = np.zeros((20, 2))
    z[:, 1] = 30.0
    assert detector.play(standard(z)) is None
    assert detector.evidence[1] == 0.0


def test_only_rises_are_an_alarm_where_it_is_said_so() -> None:
    z = np.full((200, 1), -3.0)
    assert watching(1, 1e6, only_up=True).play(standard(z)) is None
    assert watching(1, 1e6).play(standard(z)) is not None


@pytest.mark.parametrize("threshold", [1.0, 0.0, -3.0, math.nan])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold is {threshold}; accepted is a number over 1"):
        EDetector(threshold, 1)


def test_residuals_of_independent_blocks_are_standard_normal_from_few_blocks_on() -> None:
    drawn = np.random.default_rng(4).normal(5.0, 3.0, size=(40, 4_000)) / math.sqrt(BLOCK)
    made = learned(drawn[:10])
    z = made.ahead(drawn[10:]).z
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1.0, abs=0.03)
    assert np.abs(np.corrcoef(z[0], z[-1])[0, 1]) < 0.05
    assert np.mean(np.abs(z) > 3.0) < 0.004


def test_residuals_of_blocks_that_depend_on_their_neighbours_do_not() -> None:
    drawn = np.random.default_rng(5).normal(size=(3_000, 20))
    for at in range(1, len(drawn)):
        drawn[at] += 0.6 * drawn[at - 1]
    made = learned(drawn[:100] / 4)
    z = made.ahead(drawn[100:] / 4).z
    lagged = np.mean(z[1:] * z[:-1])
    assert abs(lagged) < 0.05
    assert z.std() == pytest.approx(1.0, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=5))
def test_how_blocks_are_grouped_changes_nothing(cuts: list[int]) -> None:
    drawn = np.random.default_rng(6).normal(size=(80, 3)) / 4
    whole = learned(drawn[:20]).ahead(drawn[20:]).z
    made = learned(drawn[:20])
    parts = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        part = drawn[20 + start : 20 + end]
        if len(part):
            parts.append(made.ahead(part).z)
        made.learn(part)
    assert np.array_equal(np.concatenate(parts), whole)


def test_a_share_that_was_never_seen_is_not_taken_for_impossible() -> None:
    means = np.zeros((40, 1))
    after = np.zeros((1, 1))
    after[0, 0] = 1 / BLOCK
    made = learned(means, shares=True)
    residuals = made.ahead(after)
    assert 3.0 < residuals.z[0, 0] < 10.0
    assert residuals.up[0, 0] > 3.0
    assert watching(1, 1e4).play(residuals) is None


def test_a_constant_has_finite_residuals_and_a_change_of_it_large_ones() -> None:
    made = learned(np.full((40, 1), 7.5))
    residuals = made.ahead(np.concatenate([np.full((5, 1), 7.5), np.full((5, 1), 9.5)]))
    assert np.isfinite(residuals.z).all()
    assert residuals.z[:5] == pytest.approx(0.0, abs=1e-6)
    assert residuals.z[5, 0] > 5.0
