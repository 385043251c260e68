"""The streams of the drift bench are what they are said to be, and calibration keeps the budget."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from driftloop.local.bench.evidence import alarms, detection
from driftloop.local.bench.evidence.batchrules import KS, PSI, SHARE, Batches
from driftloop.local.bench.evidence.calibrate import Measured, calibrated, measure, place, rule
from driftloop.local.bench.evidence.detection import Run, follow
from driftloop.local.bench.evidence.ours import Ours, spec_of
from driftloop.local.bench.evidence.rivals import CUSUM, KSWIN_, Found
from driftloop.local.bench.evidence.streams import (
    COLUMN_CHANGES,
    LOSS_CHANGES,
    NORMAL,
    ROWS,
    SHARES,
    STATIONARY,
    STEADY_CATEGORY,
    STEADY_ERRORS,
    ZIPF,
    Block,
    Changing,
    Layout,
    Stationary,
)
from driftloop.local.bench.evidence.table import Table

INDEPENDENT, AUTOCORRELATED, HEAVY, SKEWED, MISSING = STATIONARY


def rows(stream: Stationary, count: int = 40_000, columns: int = 5) -> NDArray[np.float64]:
    return np.concatenate(list(stream.blocks(0, count, columns))).astype(np.float64)


def changed(change: Changing, seed: int = 0) -> tuple[Block, Block]:
    at, blocks = change.run(seed)
    whole = np.concatenate(list(blocks))
    assert len(whole) >= at + change.horizon
    assert at % ROWS
    return whole[:at], whole[at:]


def test_a_stream_is_its_seed() -> None:
    for stream in STATIONARY:
        one, again = (np.concatenate(list(stream.blocks(3, 2_000, 4))) for _ in range(2))
        other = np.concatenate(list(stream.blocks(4, 2_000, 4)))
        assert one.dtype == np.float32
        assert one.shape == (2_000, 4)
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize(
    ("stream", "correlation"),
    [(INDEPENDENT, 0.0), (AUTOCORRELATED, 0.9)],
    ids=["independent", "autocorrelated"],
)
def test_normal_streams_have_unit_variance_and_their_autocorrelation(
    stream: Stationary, correlation: float
) -> None:
    values = rows(stream)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, rel=0.03)
    for column in values.T:
        assert np.corrcoef(column[:-1], column[1:])[0, 1] == pytest.approx(correlation, abs=0.02)
    # From its first row on, and over the edges of blocks.
    assert values[:, 0][:1_000].std() == pytest.approx(1, rel=0.35)
    edges = np.arange(ROWS, 40_000, ROWS)
    steps = np.square(values[edges] - values[edges - 1]).mean()
    assert steps == pytest.approx(2 * (1 - correlation), rel=0.3)


def test_heavy_tails_are_those_of_t_with_three_degrees() -> None:
    values = np.abs(rows(HEAVY))
    assert np.median(values) == pytest.approx(0.7649, rel=0.03)
    assert (values > 5.841).mean() == pytest.approx(0.01, rel=0.15)


def test_categories_and_missing_values_have_their_shares() -> None:
    shares = np.bincount(rows(SKEWED).astype(int).ravel()) / 200_000
    assert shares == pytest.approx(ZIPF, abs=0.005)
    shares = np.bincount(rows(STEADY_CATEGORY).astype(int).ravel()) / 200_000
    assert shares == pytest.approx(SHARES, abs=0.005)
    values = rows(MISSING)
    assert np.isnan(values).mean() == pytest.approx(0.1, abs=0.005)
    assert np.nanstd(values) == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(("at", "by"), [(0, 3.0), (1, 1.0), (2, 0.5), (3, 0.25)])
def test_one_column_moves_by_what_is_said(at: int, by: float) -> None:
    before, after = changed(COLUMN_CHANGES[at])
    moved = after.mean(axis=0) - before.mean(axis=0)
    assert moved[0] == pytest.approx(by, abs=0.06)
    assert np.abs(moved[1:]).max() < 0.06


def test_the_gradual_change_takes_ten_thousand_rows() -> None:
    _, after = changed(COLUMN_CHANGES[-1])
    assert after[:1_000, 0].mean() == pytest.approx(0.05, abs=0.1)
    assert after[4_500:5_500, 0].mean() == pytest.approx(0.5, abs=0.1)
    assert after[10_000:, 0].mean() == pytest.approx(1.0, abs=0.05)


def test_shares_and_error_rates_change_as_said() -> None:
    before, after = changed(COLUMN_CHANGES[4])
    assert (before[:, 0] == 3).mean() == pytest.approx(0.1, abs=0.01)
    assert (after[:, 0] == 3).mean() == pytest.approx(0.15, abs=0.01)
    for change, rate in zip(LOSS_CHANGES, (0.25, 0.3, 0.4), strict=True):
        before, after = changed(change)
        assert before.mean() == pytest.approx(0.2, abs=0.015)
        assert after.mean() == pytest.approx(rate, abs=0.015)


class Scripted:
    """Says what it is told to, at rows of ten."""

    def __init__(self, found: list[Found]) -> None:
        self._found, self._rows = found, 0

    def update(self, block: Block) -> list[Found]:
        said = [found for found in self._found if 0 <= found[0] - self._rows < len(block)]
        self._rows += len(block)
        return said


def test_delay_error_misses_and_false_alarms_are_counted_from_the_change() -> None:
    blocks = [np.zeros((10, 1), dtype=np.float32)] * 4

    def run(*found: Found) -> Run:
        return follow(Scripted(list(found)), blocks, 15, 20)  # type: ignore[arg-type]  # lists

    assert run((17, 12), (16, 14)) == Run(2, 1, 0)
    assert run((3, None), (14, 1), (15, None)) == Run(1, None, 2)
    assert run((35, 15)) == Run(None, None, 0)
    assert run((34, 15)) == Run(20, 0, 0)


def test_more_alarms_are_allowed_by_a_lower_calibrated_threshold() -> None:
    found = [calibrated(CUSUM, NORMAL, rate, 0.02).threshold for rate in (1e-3, 1e-4, 1e-5)]
    assert all(one < other for one, other in pairwise(found))
    measured = calibrated(CUSUM, NORMAL, 1e-4, 0.02)
    assert measured.alarms == pytest.approx(1e-4 * measured.values, rel=0.5)
    assert calibrated(KSWIN_, NORMAL, 1e-3, 0.002).threshold == 1e-3


def test_indicators_of_a_category_are_calibrated_together_to_their_own_threshold() -> None:
    rate = 2e-5
    number, indicator = (calibrated(CUSUM, of, rate, 0.03) for of in (NORMAL, STEADY_CATEGORY))
    assert indicator.values == pytest.approx(0.03 * 3 * CUSUM.values, rel=0.15)
    one, other = (
        measure(CUSUM, STEADY_CATEGORY, of.threshold, 1_800_000, seed=9)
        for of in (indicator, number)
    )
    assert one.alarms == pytest.approx(rate * one.values, rel=0.5)
    assert other.alarms > 1.3 * one.alarms


def test_the_chance_of_a_window_of_kswin_is_what_is_asked_for() -> None:
    found = calibrated(KSWIN_, STEADY_CATEGORY, 1e-3, 0.1)
    assert found.threshold > 1e-3
    # An alarm keeps the next 99 windows from being judged, and windows share rows.
    assert 0.1 < found.alarms / (1e-3 * found.values) <= 1


def test_equal_thresholds_make_no_line() -> None:
    same = [Measured(50.0, alarms, 1_000) for alarms in (0, 3)]
    assert CUSUM.place(50.0) == place(CUSUM, same, 1e-9)
    nearly = Measured(50.0 * (1 + 1e-15), 2, 1_000)
    assert place(CUSUM, [*same, nearly], 1e-9) == pytest.approx(50.0)
    assert place(CUSUM, [Measured(40.0, 30, 1_000), *same[:1]], 1e-9) > 50.0


def test_calibrated_batch_rules_keep_their_budget() -> None:
    share, _ = rule(SHARE, 0, losses=False)
    assert 0.1 < share.columns < 0.3
    # Of a PSI of so few rows chi-square is the distribution (Yurdakul 2018), 9 or 1 degrees.
    size = 1 / 1_000 + 1 / 5_000
    for losses, degrees, chance in ((False, 9, 2e-5), (True, 1, 1e-3)):
        made, limits = rule(PSI, 3_000, losses)
        assert limits.number == pytest.approx(size * chi2.isf(chance, degrees), rel=0.2)
    for known in (KS, PSI):
        made, limits = rule(known, 3_000, losses=True)
        watch = Batches(made, limits, Layout((0,), losses=True))
        assert sum(1 for b in STEADY_ERRORS.blocks(9, 300_000, 1) for _ in watch.update(b)) <= 3
    made, limits = rule(KS, 0, losses=False)
    watch = Batches(made, limits, NORMAL.layout(50))
    assert sum(1 for b in NORMAL.blocks(9, 25_000, 50) for _ in watch.update(b)) <= 1


def test_our_spec_has_the_columns_of_the_stream_and_the_whole_budget() -> None:
    spec = spec_of(COLUMN_CHANGES[4].layout)
    assert (spec.features[0].type, len(spec.features[0].categories)) == ("category", 6)
    assert [spec.features[1].type, len(spec.features)] == ["number", 50]
    assert spec.drift.alarms_per_million == 1
    losses = spec_of(LOSS_CHANGES[0].layout)
    assert (losses.drift.features, losses.drift.loss, losses.loss) == (False, True, "zero_one")


@pytest.mark.parametrize(
    "change",
    [COLUMN_CHANGES[1], COLUMN_CHANGES[4], LOSS_CHANGES[2]],
    ids=lambda change: change.name,
)
def test_our_alarms_come_at_rows_of_the_stream_and_say_since_when(change: Changing) -> None:
    at, blocks = change.run(0)
    run = follow(Ours(change.layout), blocks, at, change.horizon)
    assert run.false == 0
    assert run.delay is not None
    assert run.error is not None
    assert run.error < 1_000


def sections(tables: list[Table]) -> dict[str, Table]:
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert table.note
    return {table.name: table for table in tables}


def test_the_table_of_false_alarms_has_every_detector_and_stream() -> None:
    done: list[float] = []
    (table,) = alarms.tables(0.0003, lambda _, share: done.append(share))
    river = ["ADWIN", "KSWIN", "PageHinkley"]
    again = [f"{name}, calibrated" for name in (*river, "CUSUM, told a size")]
    usual = ["KS", "Wasserstein", "PSI", "share of columns"]
    assert [row[0] for row in table.rows] == ["Driftloop", *river, *again, *usual]
    assert table.columns[1:] == tuple(stream.name for stream in STATIONARY)
    assert all(isinstance(cell, float) for cell in table.rows[0][1:])
    assert set(table.rows[8][1:]) == {"~1,000"}
    assert done == sorted(done)
    assert "Driftloop: 1 seed of 5,000 rows" in table.note


def test_our_alarms_do_not_depend_on_how_many_processes_count_them() -> None:
    runs = [alarms.OurRun(3, seed, alarms.Size(2_000, 3)) for seed in range(3)]
    one, two = (list(alarms.ours_counted(runs, processes)) for processes in (1, 2))
    assert len(one) == 3
    assert one == two


@pytest.mark.slow
def test_the_tables_of_detection_have_every_change_and_detector() -> None:
    found = sections(list(detection.tables(0.005, lambda *_: None)))
    assert list(found) == ["thresholds", "detection", "detection_errors", "since"]
    assert len(found["detection"].rows) == 6
    assert len(found["detection_errors"].rows) == 3
    assert len(found["since"].rows) == 9
    three_sd = dict(zip(found["detection"].columns, found["detection"].rows[0], strict=True))
    assert three_sd["share of columns"] == "1 missed"
    assert "missed" not in str(three_sd["Driftloop"])
    last = found["detection"].columns[-3:]
    assert last == ("CUSUM, told a size", "ahead of all calibrated", "ahead of the CUSUM too")
    assert all(row[-2] in ("yes", "level", "no") for row in found["detection"].rows)
    kinds = [str(row[0]).rsplit(", ", 1)[1] for row in found["thresholds"].rows]
    assert kinds == ["columns"] * 5 + ["category"] * 4 + ["losses"] * 9
