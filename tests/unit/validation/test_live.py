import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from driftloop.contracts.errors import Reject
from driftloop.contracts.events import Role, Rule, ShadowConcluded
from driftloop.contracts.state import Shadow
from driftloop.validation.domain.live import LOOK, LiveGate
from tests.support.loop import BEGIN_MS, outcomes, spec

HOUR = 3_600_000


def gate(
    role: Role = "challenger",
    from_time: int = 0,
    rule: Rule = "superiority",
    level: float | None = None,
    against: float | None = None,
    **limits: object,
) -> LiveGate:
    shadow = Shadow(
        version=2,
        champion=1,
        role=role,
        run="run-1",
        from_seq=1,
        from_time=from_time,
        started_id="shadow.started:x",
        rule=rule,
        level=level,
        margin=against,
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
    assert "no evidence either way at level 0.05 within max_rows" in found.reason


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


def test_level_and_margin_are_those_written_down_at_the_start_whatever_the_spec_says_now() -> None:
    found = play(gate(level=0.004, against=0.2, margin=0.0, max_rows=400), 0.6, 0.9)
    expected = play(gate(level=0.004, margin=0.2), 0.6, 0.9)
    assert found is not None
    assert expected is not None
    assert (found.verdict, found.rows) == ("worse", expected.rows)
    assert "worse by superiority: under +0.20000 at level 0.004" in found.reason


def test_a_smaller_share_of_the_level_takes_more_rows() -> None:
    rows = [play(gate(level=level), 0.70, 0.72) for level in (0.05, 0.0005)]
    assert all(found is not None and found.verdict == "better" for found in rows)
    assert rows[0].rows < rows[1].rows  # type: ignore[union-attr]


def test_a_challenger_as_good_as_the_champion_passes_by_non_inferiority_only() -> None:
    fresh = play(gate(rule="non_inferiority", against=-0.02), 0.8, 0.8)
    assert fresh is not None
    assert fresh.verdict == "better"
    assert "better by non-inferiority: over -0.02000 at level 0.05" in fresh.reason
    strict = play(gate(), 0.8, 0.8)
    assert strict is not None
    assert strict.verdict == "undecided"


def test_a_challenger_worse_by_more_than_the_tolerance_is_worse() -> None:
    found = play(gate(rule="non_inferiority", against=-0.02), 0.9, 0.6)
    assert found is not None
    assert found.verdict == "worse"


def test_a_shadow_that_saw_a_sample_is_judged_on_the_rows_it_saw() -> None:
    other = answers(0.9, 3_000)
    other[np.random.default_rng(1).random(3_000) > 0.1] = np.nan  # null: not asked, or too late
    judged = gate()
    found = play(judged, 0.6, other)
    assert found is not None
    assert found.verdict == "better"
    assert found.rows < 300
    assert judged.evidence().champion_loss == pytest.approx(0.16, abs=1e-6)


def test_a_shadow_that_never_answers_is_undecided_when_its_time_is_up_and_says_why() -> None:
    found = play(gate(max_duration="100h"), 0.6, np.full(3_000, np.nan))
    assert found is not None
    assert (found.verdict, found.rows) == ("undecided", 0)
    assert "too few labelled rows that both answered within max_duration" in found.reason
    assert found.mean == 0.0


def test_without_labels_there_is_no_verdict_and_two_rows_are_too_few_for_one() -> None:
    judged = gate()
    judged.update(outcomes([], version=1, chances=[], shadows={2: []}))
    assert judged.concluded() is None
    found = play(judged, 0.0, 1.0, rows=2)
    assert found is None
    assert judged.evidence().rows == 2


def test_labels_that_come_late_count_when_they_come() -> None:
    early, late = gate(), gate()
    rows = 400
    for judged, times in ((early, range(rows)), (late, range(rows - 1, -1, -1))):
        judged.update(
            outcomes(
                truth(rows),
                version=1,
                chances=answers(0.6, rows),
                shadows={2: answers(0.9, rows)},
                times=[BEGIN_MS + HOUR * i for i in times],
            )
        )
    assert early.concluded() is not None
    assert late.concluded() is not None
    assert early.concluded().verdict == late.concluded().verdict == "better"  # type: ignore[union-attr]


def test_equal_answers_to_one_class_only_are_never_promoted() -> None:
    judged = gate(max_rows=1_000)
    for at in range(0, 1_000, 100):
        judged.update(
            outcomes(
                np.ones(100),
                version=1,
                chances=np.full(100, 0.7),
                shadows={2: np.full(100, 0.7)},
                times=[BEGIN_MS + HOUR * i for i in range(at, at + 100)],
            )
        )
    found = judged.concluded()
    assert found is not None
    assert (found.verdict, found.mean) == ("undecided", 0.0)


def test_a_shadow_whose_answers_are_no_probabilities_is_worse_and_says_which() -> None:
    judged = gate()
    batch = outcomes(truth(100), version=1, chances=answers(0.6, 100), shadows={2: [1.7] * 100})
    assert not judged.update(batch)
    found = judged.concluded()
    assert found is not None
    assert (found.verdict, found.rows) == ("worse", 0)
    assert "its answers have no loss (probabilities[0, 0] is -0.69" in found.reason


def test_rows_on_which_the_champion_has_no_loss_are_refused_and_change_nothing() -> None:
    judged = gate()
    for labels, chances in ((truth(100), [1.7] * 100), (np.full(100, 7.0), [0.5] * 100)):
        bad = outcomes(labels, version=1, chances=chances, shadows={2: [0.9] * 100})
        with pytest.raises(Reject, match="rows without a loss of version 1: "):
            judged.update(bad)
    assert judged.concluded() is None
    assert judged.evidence().rows == 0
    found = play(judged, 0.6, 0.9)
    assert found is not None
    assert found.verdict == "better"
