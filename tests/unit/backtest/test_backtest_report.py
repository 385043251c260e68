"""Whole backtests of a small world: what they tell, and that they tell it twice alike."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from driftloop.contracts.events import AnyEvent
from driftloop.drift.domain.monitor import Monitor
from driftloop.local.backtest import report
from driftloop.local.backtest.loop import outcomes_of
from driftloop.local.backtest.run import Backtest, Done
from driftloop.local.backtest.table import shuffled
from driftloop.local.backtest.world import build
from tests.support.backtest_files import ROWS, SLICE_MS, rows, spec


def play(*changes: dict[str, object], shuffle: int | None = None, phases: int = 1) -> list[Done]:
    given = rows() if shuffle is None else shuffled(rows(), spec(), shuffle)
    backtest = Backtest(given, SLICE_MS, phases)
    try:
        return list(backtest.run(spec(), changes or ({},), lambda policy, done: None))
    finally:
        backtest.close()


@pytest.fixture(scope="module")
def done() -> Done:
    (made,) = play()
    return made


def test_a_change_of_the_world_ends_in_a_promotion(done: Done) -> None:
    told = [(run["trigger"], run["verdict"]) for run in done.report["runs"]]
    kinds = [event.kind for event in done.played.events]

    assert told == [("bootstrap", "promoted"), ("degraded", "promoted")]
    assert kinds.index("performance.degraded") < kinds.index("shadow.concluded")
    assert kinds.index("shadow.concluded") < kinds.index("model.retired")


def test_the_loop_is_better_than_the_frozen_model(done: Done) -> None:
    losses = {name: its["log_loss"] for name, its in done.report["quality"]["policies"].items()}

    assert set(losses) == {"served", "frozen", "periodic", "majority", "last_label"}
    assert losses["served"] < losses["frozen"]


def test_periodic_retraining_has_as_many_fits_as_the_loop(done: Done) -> None:
    marks = done.report["labelled_rows_at_periodic_fits"]

    assert len(marks) == done.report["counts"]["fits"] == len(done.played.fitted)
    assert marks[0] == done.played.fitted[0]
    assert len({b - a for a, b in pairwise(marks)}) <= 2


def test_periodic_retraining_is_tried_with_its_fits_elsewhere(done: Done) -> None:
    (wide,) = play(phases=2)
    assert wide.compared is not None
    assert done.compared is not None
    answers = wide.compared.answers
    differs = np.flatnonzero((answers["periodic"] != answers["periodic_1_of_2"]).any(axis=1))

    assert done.report["counts"]["fits"] == 3
    # Each fit but the first comes half a space sooner, so only that long is the model the same.
    space = np.diff(done.report["labelled_rows_at_periodic_fits"])[0]
    assert 2.3 * space < len(differs) < 2.7 * space
    assert np.array_equal(answers["periodic"], done.compared.answers["periodic"])


def test_each_row_is_answered_by_the_champion_of_its_time(done: Done) -> None:
    versions = done.played.versions

    assert np.unique(versions).tolist() == [0, 1, 2]
    assert (np.diff(versions) >= 0).all()
    assert np.isfinite(done.played.served[versions > 0]).all()
    assert np.isnan(done.played.served[versions == 0]).all()


def test_the_same_seed_gives_the_same_bytes(done: Done) -> None:
    (again,) = play()

    assert report.encode([again.report]) == report.encode([done.report])


def test_the_report_holds_no_time_of_the_walls_clock(done: Done) -> None:
    text = report.encode([done.report]).decode()
    (latency,) = {
        gate["value"]
        for run in done.report["runs"]
        for gate in run["gates"]
        if gate["name"] == report.LATENCY
    }

    assert latency is None
    assert "seconds" not in text


def test_a_grid_gives_each_policy_what_it_gets_alone(done: Done) -> None:
    changes: list[dict[str, object]] = [{}, {"shadow.max_rows": 500}]
    both = play(*changes)

    assert report.encode([both[0].report]) == report.encode([done.report])
    assert both[1].report["set"] == {"shadow.max_rows": 500}
    assert msgspec.json.decode(report.encode([its.report for its in both]))["policies"]


def test_the_shuffled_control_starts_no_run_by_drift() -> None:
    (control,) = play(shuffle=1)

    assert control.report["counts"]["drift_triggered"] == 0
    assert control.report["counts"]["runs"] >= 1


def test_drift_is_found_as_by_a_monitor_that_is_fed_batch_after_batch(done: Done) -> None:
    found = [event for event in done.played.events if event.kind == "performance.degraded"]

    assert found
    assert [event.event_id() for event in found] == [e.event_id() for e in one_by_one(done)]


def one_by_one(done: Done) -> list[AnyEvent]:
    """The first champion's outcomes through a monitor, as the drift service feeds them."""
    world = build(spec(), rows(), SLICE_MS)
    monitor, made = Monitor(spec(), 1), list[AnyEvent]()
    began = int(np.flatnonzero(done.played.versions == 1)[0])
    ended = int(np.flatnonzero(done.played.versions == 1)[-1])
    seq = 0
    for part in world.slices:
        for cut in part.outcomes:
            seq += 1
            if world.row[cut].max() >= began and part.clock <= int(world.times[ended]) + SLICE_MS:
                batch = outcomes_of(world, cut, done.played.served, done.played.versions, {})
                made += list(monitor.outcomes(batch, seq))
    assert world.counts.rows == ROWS
    return made
