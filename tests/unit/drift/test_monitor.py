from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import ArrayLike, NDArray

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import DriftDetected, LabelsShifted, PerformanceDegraded
from driftloop.drift.domain import snapshot
from driftloop.drift.domain.monitor import Found, Monitor
from tests.support.loop import BEGIN_MS, outcomes, scored, spec

ROWS = 100
MINUTE = 60_000


def monitor(champion: int = 1, **drift: Any) -> Monitor:
    return Monitor(spec(drift={"reference_rows": 500, **drift}), champion)


def times(start: int) -> list[int]:
    return [BEGIN_MS + MINUTE * at for at in range(start, start + ROWS)]


def batches(
    features: NDArray[np.float64], chances: ArrayLike, version: int
) -> list[pa.RecordBatch]:
    second = np.asarray(chances, dtype=np.float64)
    return [
        scored(
            [f"e{at}" for at in range(start, start + ROWS)],
            features=features[start : start + ROWS],
            version=version,
            chances=second[start : start + ROWS],
            times=times(start),
        )
        for start in range(0, len(features), ROWS)
    ]


def hear(watched: Monitor, log: list[pa.RecordBatch]) -> list[DriftDetected]:
    return [found for seq, batch in enumerate(log, 1) for found in watched.scored(batch, seq)]


def rows(count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, 2))


def test_a_shift_of_a_feature_is_told_with_its_name_and_time() -> None:
    features = rows(4_000)
    features[2_000:, 1] += 2
    (found,) = hear(monitor(), batches(features, [0.5] * 4_000, 1))
    assert (found.shift, found.feature, found.detector) == ("covariate", "b", "b")
    assert abs((found.since_time - BEGIN_MS) / MINUTE - 2_000) <= ROWS
    assert found.stream == "SCORED"
    assert found.data_time == BEGIN_MS + MINUTE * (found.seq * ROWS - 1)
    assert 0 <= found.row < ROWS


def test_a_shift_of_the_share_of_missing_values_is_told() -> None:
    features = rows(4_000)
    features[2_000::2, 1] = np.nan
    found = hear(monitor(), batches(features, [0.5] * 4_000, 1))
    assert [(f.shift, f.feature, f.detector) for f in found] == [("missing", "b", "b:missing")]


def test_a_shift_of_the_predictions_is_told() -> None:
    chances = np.concatenate([np.full(2_000, 0.3), np.full(2_000, 0.7)])
    (found,) = hear(monitor(), batches(rows(4_000), chances, 1))
    assert (found.shift, found.feature) == ("prediction", "")
    assert found.before == pytest.approx(0.3)
    assert found.after == pytest.approx(0.7)


def test_predictions_of_another_version_are_left_out() -> None:
    chances = np.concatenate([np.full(2_000, 0.3), np.full(2_000, 0.7)])
    assert hear(monitor(champion=2), batches(rows(4_000), chances, 1)) == []


def test_rows_of_another_revision_of_the_spec_are_left_out() -> None:
    watched = monitor()
    other = scored(["e1"], features=np.zeros((1, 3)), version=1, chances=[0.5])
    assert list(watched.scored(other, 1)) == []


def losses(labels: NDArray[np.float64], chances: float, version: int) -> list[pa.RecordBatch]:
    return [
        outcomes(
            labels[start : start + ROWS],
            chances=[chances] * ROWS,
            version=version,
            times=times(start),
        )
        for start in range(0, len(labels), ROWS)
    ]


def degraded(watched: Monitor, log: list[pa.RecordBatch]) -> list[Found]:
    return [found for seq, batch in enumerate(log, 1) for found in watched.outcomes(batch, seq)]


def worsening() -> NDArray[np.float64]:
    drawn = np.random.default_rng(0).random(4_000)
    return (drawn < np.where(np.arange(4_000) < 2_000, 0.1, 0.6)).astype(np.float64)


def test_a_rise_of_the_live_loss_is_told_with_the_version() -> None:
    (found,) = degraded(monitor(labels=False), losses(worsening(), 0.1, 1))
    assert isinstance(found, PerformanceDegraded)
    assert (found.loss, found.version, found.detector) == ("brier", 1, "loss")
    assert found.before < 0.2 < 0.4 < found.after
    assert abs((found.since_time - BEGIN_MS) / MINUTE - 2_000) <= ROWS


def test_a_fall_of_the_live_loss_is_no_alarm() -> None:
    assert degraded(monitor(labels=False), losses(worsening()[::-1].copy(), 0.1, 1)) == []


def test_losses_of_another_version_are_left_out() -> None:
    assert degraded(monitor(champion=2), losses(worsening(), 0.1, 1)) == []


def test_rows_without_an_answer_or_with_one_that_is_no_number_do_no_harm() -> None:
    watched = monitor(labels=False)
    log = losses(worsening(), 0.1, 1)
    broken = outcomes(np.zeros(ROWS), version=1, chances=[np.inf] * ROWS, times=times(0))
    nobody = outcomes(np.zeros(ROWS), times=times(0))
    assert len(degraded(watched, [broken, nobody, *log])) == 1


def test_what_is_switched_off_is_not_watched() -> None:
    assert list(monitor(features=False, predictions=False, labels=False).groups) == ["loss"]
    assert degraded(monitor(loss=False, labels=False), losses(worsening(), 0.1, 1)) == []


def test_a_shift_of_the_labels_is_told_with_its_shares() -> None:
    (found,) = degraded(monitor(loss=False), losses(worsening(), 0.1, 1))
    assert isinstance(found, LabelsShifted)
    assert found.stream == "OUTCOMES"
    assert {found.before, found.after} != {0.0}
    (summary,) = found.summaries
    assert summary.names == ("no", "yes")
    assert summary.before[1] == pytest.approx(0.1, abs=0.03)
    assert summary.after[1] == pytest.approx(0.6, abs=0.15)


def test_the_parts_of_an_alarm_are_the_features_that_moved_strongest_first() -> None:
    features = rows(4_000)
    features[2_000:, 1] += 0.8
    features[2_000:, 0] -= 0.8
    found = hear(monitor(), batches(features, [0.5] * 4_000, 1))
    parts = [part for event in found for part in event.parts]
    assert {part.feature for part in parts} == {"a", "b"}
    for event in found:
        shares = [part.share for part in event.parts]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-6
        assert len(event.summaries) == len(event.parts)
        (first, *_) = event.summaries
        assert len(first.edges) == len(first.before) + 1 == len(first.after) + 1
        assert sum(first.before) == pytest.approx(1.0)
        assert sum(first.after) == pytest.approx(1.0)


def test_an_alarm_says_whether_the_loss_moved_too() -> None:
    features = rows(8_000)
    features[4_000:, 1] += 0.15
    watched = monitor(reference_rows=1_000)
    labels = (np.random.default_rng(3).random(8_000) < 0.2).astype(np.float64)
    said: list[DriftDetected] = []
    pairs = zip(batches(features, [0.2] * 8_000, 1), losses(labels, 0.2, 1), strict=True)
    for seq, (batch, outcome) in enumerate(pairs, 1):
        assert list(watched.outcomes(outcome, seq)) == []
        said += watched.scored(batch, seq)
    (found,) = said
    assert found.labelled.harm == "unmoved"
    assert found.labelled.lower < 0 < found.labelled.upper
    assert found.labelled.rows_before + found.labelled.rows_after == found.seq * ROWS


def test_the_same_log_gives_the_same_alarms() -> None:
    features = rows(4_000)
    features[1_500:] += 1
    log = batches(features, [0.5] * 4_000, 1)
    assert hear(monitor(), log) == hear(monitor(), log) != []


@pytest.mark.parametrize("at", [3, 12, 21, 24])
def test_a_monitor_that_is_restored_finds_what_it_would_have_found(at: int) -> None:
    features = rows(4_000)
    features[2_000:, 1] += 0.7
    features[3_000:, 0] -= 1.0
    log = list(zip(batches(features, [0.5] * 4_000, 1), losses(worsening(), 0.1, 1), strict=True))

    def hear_both(watched: Monitor, first: int, last: int) -> list[Found]:
        return [
            found
            for seq in range(first, last)
            for found in (*watched.scored(log[seq][0], seq), *watched.outcomes(log[seq][1], seq))
        ]

    whole = hear_both(monitor(), 0, len(log))
    first = monitor()
    said = hear_both(first, 0, at)
    kept = snapshot.encode(first.snapshot(7, {"SCORED": at, "OUTCOMES": at}))
    second = monitor()
    second.restore(snapshot.decode(kept))
    assert said + hear_both(second, at, len(log)) == whole
    assert {found.kind for found in whole} == {
        "drift.detected",
        "labels.shifted",
        "performance.degraded",
    }


def test_a_snapshot_of_other_signals_is_refused() -> None:
    other = monitor(loss=False).snapshot(1, {})
    with pytest.raises(ValueError, match="groups are features, prediction, label; accepted"):
        monitor().restore(other)


@pytest.mark.parametrize("broken", [b"", b"\x80", b"nothing"])
def test_what_is_no_snapshot_is_refused(broken: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"snapshot: .*; accepted: one of format 1"):
        snapshot.decode(broken)
