import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from driftloop.contracts.events import Role, ShadowConcluded
from driftloop.contracts.state import Shadow
from driftloop.validation.domain.live import LOOK, LiveGate
from tests.support.loop import BEGIN_MS, outcomes, spec

HOUR = 3_600_000


def gate(role: Role = "challenger", from_time: int = 0, **limits: object) -> LiveGate:
    shadow = Shadow(
        version=2,
        champion=1,
        role=role,
        run="run-1",
        from_seq=1,
        from_time=from_time,
        started_id="shadow.started:x",
    )
    made = {"min_rows": 64, "max_rows": 2_000, "max_duration": "900d", **limits}
    return LiveGate(spec(shadow=made, probation={"max_rows": 300}), shadow)


def truth(rows: int) -> NDArray[np.float64]:
    return (np.random.default_rng(0).random(rows) < 0.5).astype(np.float64)


def answers(right: float, rows: int) -> NDArray[np.float64]:
    return np.where(truth(rows) == 1, right, 1 - right)


def play(
    judged: LiveGate,
    champion: float,
    shadow: ArrayLike,
    rows: int = 3_000,
    batch: int = 100,
    version: int = 1,
) -> ShadowConcluded | None:
    live = answers(champion, rows)
    other = np.asarray(shadow) if np.ndim(shadow) else answers(float(np.asarray(shadow)), rows)
    for at in range(0, rows, batch):
        part = slice(at, min(at + batch, rows))
        judged.update(
            outcomes(
                truth(rows)[part],
                version=version,
                chances=live[part],
                shadows={2: other[part]},
                times=[BEGIN_MS + HOUR * i for i in range(part.start, part.stop)],
            )
        )
        concluded = judged.concluded()
        if concluded is not None:
            return concluded
    return None


def test_a_shadow_that_is_better_is_told_so_with_its_numbers() -> None:
    found = play(gate(), 0.6, 0.9)
    assert found is not None
    assert found.verdict == "better"
    assert found.lower > 0
    assert found.mean == pytest.approx(0.16 - 0.01, abs=1e-5)
    assert found.lower <= found.mean <= found.upper
    assert (found.run, found.version, found.champion) == ("run-1", 2, 1)
    assert "version 2 against champion 1" in found.reason
    assert f"on {found.rows} rows" in found.reason


def test_a_shadow_that_is_worse_is_told_so() -> None:
    found = play(gate(), 0.9, 0.6)
    assert found is not None
    assert found.verdict == "worse"
    assert found.upper < 0


def test_a_lead_within_the_margin_is_not_better() -> None:
    found = play(gate(margin=0.2), 0.6, 0.9)
    assert found is not None
    assert found.verdict == "worse"


def test_no_verdict_comes_before_min_rows() -> None:
    found = play(gate(min_rows=512), 0.6, 0.9)
    assert found is not None
    assert found.rows == 512


def test_equal_models_are_undecided_after_exactly_max_rows() -> None:
    found = play(gate(max_rows=333), 0.8, 0.8)
    assert found is not None
    assert (found.verdict, found.rows) == ("undecided", 333)
    assert "no evidence either way after 333 rows" in found.reason


def test_a_probation_has_limits_of_its_own() -> None:
    found = play(gate("probation"), 0.8, 0.8)
    assert found is not None
    assert (found.role, found.rows) == ("probation", 300)


def test_equal_models_are_undecided_after_max_duration_of_the_data() -> None:
    found = play(gate(max_duration="100h"), 0.8, 0.8)
    assert found is not None
    assert (found.verdict, found.rows) == ("undecided", 101)
    assert found.reason.count("within max_duration") == 1
    assert found.data_time == BEGIN_MS + 101 * HOUR


def test_only_rows_that_this_champion_answered_count() -> None:
    judged = gate()
    assert play(judged, 0.6, 0.9, version=3) is None
    assert judged.evidence().rows == 0


def test_only_rows_that_the_shadow_answered_with_numbers_count() -> None:
    judged = gate(max_rows=5_000)
    other = answers(0.8, 600)
    other[::3] = np.nan
    other[1::3] = np.inf
    assert play(judged, 0.8, other, 600) is None
    assert judged.evidence().rows == 200
    assert judged.evidence().champion_loss == pytest.approx(0.04, abs=1e-6)


def test_outcomes_without_the_shadow_are_passed_over() -> None:
    judged = gate()
    assert not judged.update(outcomes(truth(10), version=1, chances=[0.5] * 10))
    assert not judged.update(outcomes([], version=1, chances=[], shadows={2: []}))
    assert judged.update(
        outcomes(truth(10), version=1, chances=[0.5] * 10, shadows={2: [0.5] * 10})
    )


def test_rows_of_before_its_start_are_left_out_and_counted() -> None:
    judged = gate(from_time=BEGIN_MS + 99 * HOUR)  # of the first 100 rows one would say "worse"
    other = np.concatenate([1 - truth(100), truth(3_000)[100:]])
    found = play(judged, 0.6, other)
    assert found is not None
    assert (found.verdict, judged.late) == ("better", 100)
    assert found.rows == play(gate(), 0.6, truth(3_000)).rows  # type: ignore[union-attr]
    assert "100 late rows of before its start were left out" in found.reason


def test_a_row_of_before_its_start_does_not_begin_its_time() -> None:
    judged = gate(max_duration="100h", from_time=BEGIN_MS + 499 * HOUR)
    found = play(judged, 0.8, 0.8)
    assert found is not None
    assert (found.verdict, found.rows, judged.late) == ("undecided", 101, 500)


@pytest.mark.parametrize("batch", [1, 31, 64, 1_000, 3_000])
@pytest.mark.parametrize(("champion", "shadow"), [(0.6, 0.9), (0.9, 0.6), (0.8, 0.8)])
def test_how_the_log_is_cut_into_batches_changes_no_verdict(
    batch: int, champion: float, shadow: float
) -> None:
    expected = play(gate(max_rows=1_000), champion, shadow)
    found = play(gate(max_rows=1_000), champion, shadow, batch=batch)
    assert expected is not None
    assert found is not None
    assert (found.verdict, found.rows, found.lower, found.upper) == (
        expected.verdict,
        expected.rows,
        expected.lower,
        expected.upper,
    )
    assert found.mean == pytest.approx(expected.mean)
    assert found.rows % LOOK == 0 or found.rows == 1_000
