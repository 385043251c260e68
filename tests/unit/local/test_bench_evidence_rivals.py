"""The rivals in numpy raise the alarms of the libraries they stand for."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from river import drift
from river.drift import binary
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from driftloop.local.bench.evidence import batchrules
from driftloop.local.bench.evidence.kswin import KSWIN, OLD, RECENT, level, p_values
from driftloop.local.bench.evidence.rivals import ADWIN, ADWIN_, HDDMW, Column, EachColumn
from driftloop.local.bench.evidence.scans import DDM, EDDM, HDDMA, PageHinkley, Restarting
from driftloop.local.bench.evidence.streams import Layout

Floats = NDArray[np.float64]
CASES: dict[str, tuple[str, Callable[[], Column], Callable[[], object]]] = {
    "ADWIN": ("numbers", ADWIN, drift.ADWIN),
    "PageHinkley": ("numbers", lambda: Restarting(PageHinkley), drift.PageHinkley),
    "PageHinkley tuned": (
        "numbers",
        lambda: Restarting(lambda: PageHinkley(20, 0.125, 1.0)),
        lambda: drift.PageHinkley(threshold=20, delta=0.125, alpha=1.0),
    ),
    "ADWIN of losses": ("losses", ADWIN, drift.ADWIN),
    "DDM": ("losses", lambda: Restarting(DDM), binary.DDM),
    "DDM 2.5": (
        "losses",
        lambda: Restarting(lambda: DDM(2.5)),
        lambda: binary.DDM(drift_threshold=2.5),
    ),
    "EDDM": ("losses", lambda: Restarting(EDDM), binary.EDDM),
    "EDDM 0.3": ("losses", lambda: Restarting(lambda: EDDM(0.3)), lambda: binary.EDDM(beta=0.7)),
    "HDDM_A": ("losses", lambda: Restarting(HDDMA), binary.HDDMA),
    "HDDM_A 0.05": ("losses", lambda: Restarting(lambda: HDDMA(0.05)), lambda: binary.HDDMA(0.05)),
    "HDDM_W": ("losses", HDDMW, binary.HDDMW),
}


def moving(kind: str, seed: int, rows: int = 12_000) -> Floats:
    """A mean that jumps every two thousand rows."""
    drawn = np.random.default_rng(seed)
    means = np.repeat([0.2, 0.35, 0.1, 0.2, 0.8, 0.25], rows // 6)
    if kind == "losses":
        return (drawn.random(rows) < means).astype(np.float64)
    return drawn.normal(2 * means)


def alarms(watch: Column, values: Floats, cuts: Sequence[int]) -> list[int]:
    found, start = [], 0
    for part in np.split(values, cuts):
        found += [start + at for at, _ in watch.update(part)]
        start += len(part)
    return found


def rivers(detector: object, values: Floats) -> list[int]:
    found = []
    for at, value in enumerate(values.tolist()):
        detector.update(value)  # type: ignore[attr-defined]  # River's classes have no common type
        if detector.drift_detected:  # type: ignore[attr-defined]
            found.append(at)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_alarms_are_those_of_river_however_the_rows_are_cut(case: str) -> None:
    kind, ours, river = CASES[case]
    for seed in range(3):
        values = moving(kind, seed)
        expected = rivers(river(), values)
        assert expected
        assert alarms(ours(), values, []) == expected
        assert alarms(ours(), values, [1, 20, 1_000, 3_331, 3_332, 9_000]) == expected


def test_kswin_finds_its_first_alarm_where_river_does_with_the_same_draws() -> None:
    for seed in range(3):
        values = np.concatenate([moving("numbers", seed, 600)[:400], moving("losses", seed, 600)])
        drawn = random.Random(seed)

        def pick(windows: int, drawn: random.Random = drawn) -> NDArray[np.int64]:
            return np.array([drawn.sample(range(OLD), RECENT) for _ in range(windows)])

        expected = rivers(drift.KSWIN(alpha=0.001, seed=seed), values)
        assert expected
        assert alarms(KSWIN(0.001, pick=pick), values, [])[0] == expected[0]


def test_kswin_is_blind_for_a_window_after_an_alarm_however_the_rows_are_cut() -> None:
    values = np.random.default_rng(0).normal(size=3_000)
    found = alarms(KSWIN(1.0), values, [])
    assert found == list(range(99, 3_000, 100))
    assert alarms(KSWIN(1.0), values, [50, 99, 100, 1_234]) == found


def test_p_values_of_kswin_are_those_of_scipy() -> None:
    one = np.arange(RECENT, dtype=np.float64)
    for steps in range(2, RECENT + 1):
        test = ks_2samp(one, one + steps - 0.5)
        assert p_values()[steps] == pytest.approx(test.pvalue)


@pytest.mark.parametrize("rows", [1_000, 937])
def test_batch_statistics_are_those_of_scipy(rows: int) -> None:
    drawn = np.random.default_rng(rows)
    reference, values = np.sort(drawn.normal(size=5_000)), drawn.normal(0.1, 1.2, rows)
    ties = np.sort(np.round(reference, 1)), np.round(values, 1)
    for one, other in ((reference, values), ties):
        test = ks_2samp(one, other, method="asymp")
        assert batchrules.ks_distance(one, other) == pytest.approx(test.statistic)
        assert batchrules.ks(one, other) == pytest.approx(-np.log10(test.pvalue), rel=0.1)
        assert batchrules.wasserstein(one, other) == pytest.approx(
            wasserstein_distance(one, other) / one.std()
        )
    counts = np.array([500.0, 300, 200, 0]), np.array([90.0, 70, 39, 1])
    test = chi2_contingency(np.stack(counts), correction=False)
    assert batchrules.chi_square(*counts) == pytest.approx(-np.log10(test.pvalue))
    assert batchrules.jensen_shannon(*counts) == pytest.approx(jensenshannon(*counts))


def test_psi_of_the_same_shares_is_nothing_and_of_others_as_by_hand() -> None:
    reference = np.arange(5_000.0)
    assert batchrules.psi(reference, np.arange(0, 5_000.0, 5)) == pytest.approx(0, abs=1e-3)
    half = batchrules.psi_counts(np.array([5.0, 5.0]), np.array([8.0, 2.0]))
    assert half == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))


def test_rows_of_alarms_and_of_since_count_missing_values() -> None:
    drawn = np.random.default_rng(0)
    block = drawn.normal(size=(4_000, 1)).astype(np.float32)
    block[2_000:] += 3
    whole = list(EachColumn(ADWIN, Layout((0,))).update(block))
    gaps = np.insert(block, np.arange(0, 2_000), np.nan, axis=0)
    assert [row for row, _ in EachColumn(ADWIN, Layout((0,))).update(gaps)] == [
        row + 2_000 for row, _ in whole
    ]
    ((row, since),) = whole
    assert 2_000 < row < 2_064
    assert since is not None
    assert abs(since - 2_000) <= 64


def test_a_category_is_watched_by_one_detector_each() -> None:
    drawn = np.random.default_rng(0)
    before, after = drawn.integers(0, 3, 3_000), drawn.choice([0, 2], 3_000)
    block = np.concatenate([before, after])[:, None].astype(np.float32)
    found = list(EachColumn(ADWIN, Layout((3,))).update(block))
    assert len(found) == 3
    assert all(row >= 3_000 for row, _ in found)


def test_indicators_have_a_threshold_of_their_own() -> None:
    drawn = np.random.default_rng(0)
    numbers = np.concatenate([drawn.normal(size=3_000), drawn.normal(1, size=1_000)])
    shares = np.concatenate([drawn.integers(0, 3, 3_000), np.zeros(1_000)])
    block = np.stack([numbers, shares], axis=1).astype(np.float32)

    def found(number: float, indicator: float | None) -> int:
        return len(list(ADWIN_.watch(Layout((0, 3)), number, indicator=indicator).update(block)))

    assert (found(1e-3, None), found(1e-3, 1e-300), found(1e-300, 1e-3)) == (4, 1, 3)


def test_a_window_of_indicators_is_over_as_often_as_two_binomial_counts_are_apart() -> None:
    drawn = np.random.default_rng(0)
    counts = drawn.binomial(RECENT, [[0.4], [0.04]], (2, 2, 200_000))
    apart = np.abs(counts[0] - counts[1])
    for chance in (0.05, 6e-4):
        steps = int(np.flatnonzero(p_values() == level(chance, (0.4, 0.04)))[0])
        assert (apart >= steps).mean() <= chance * 1.1
        assert (apart >= steps - 1).mean() > chance
