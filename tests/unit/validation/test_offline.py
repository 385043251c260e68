from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from driftloop.contracts.events import Gate, Manifest
from driftloop.modelspec.spec import Spec
from driftloop.validation.domain.offline import Case, Measured, edge_inputs, judge, reason
from driftloop.validation.scoring import measure
from tests.support import tiny_models
from tests.support.loop import spec

ROWS = 400
Matrix = NDArray[np.float32]


def chances(second: NDArray[np.float64]) -> Matrix:
    return np.column_stack([1 - second, second]).astype(np.float32)


def labels() -> NDArray[np.float64]:
    return np.where(np.arange(ROWS) % 4 == 0, 1.0, 0.0)


def case(**changes: Any) -> Case:
    """A candidate that is right nine times in ten; a share of a quarter is class 1."""
    truth = labels()
    answers = chances(np.where(truth == 1, 0.9, 0.1))
    measured = Measured(answers=answers, edge_rows=9, edge_finite=9, latency_seconds=0.002)
    manifest = tiny_models.manifest(2, b"x" * 2**20)
    made: dict[str, Any] = {
        "manifest": _with_baseline(manifest, 0.75, 0.25),
        "features": np.zeros((ROWS, 2), dtype=np.float32),
        "labels": truth,
        "reference": answers,
        "measured": measured,
        "served": np.full((ROWS, 2), np.nan, dtype=np.float32),
    }
    return Case(**made | changes)


def _with_baseline(manifest: Manifest, *shares: float) -> Manifest:
    return replace(manifest, metrics={f"baseline_{at}": share for at, share in enumerate(shares)})


def measured(**changes: Any) -> Measured:
    return replace(case().measured, **changes)


def gate(name: str, asked: Case, by: Spec | None = None) -> Gate:
    (found,) = (g for g in judge(by or spec(), asked) if g.name == name)
    return found


def test_a_good_candidate_passes_every_gate() -> None:
    gates = judge(spec(), case())
    assert [g.name for g in gates] == [
        "size_mb",
        "parity",
        "edge_inputs_not_finite",
        "latency_ms",
        "loss_to_baseline",
    ]
    assert all(g.passed for g in gates)
    assert reason(gates) == ""


def test_a_model_that_is_too_large_fails() -> None:
    found = gate("size_mb", case(), spec(gates={"size_mb": 0.5}))
    assert (found.value, found.bound, found.passed) == (1.0, 0.5, False)


def test_parity_is_the_largest_difference_to_scikit_learn() -> None:
    apart = case().reference.copy()
    apart[7, 1] += 0.01
    found = gate("parity", case(reference=apart))
    assert found.value == pytest.approx(0.01, rel=1e-4)
    assert not found.passed
    assert gate("parity", case(reference=apart), spec(gates={"parity": 0.011})).passed


def test_parity_of_a_regression_is_in_units_of_the_scale() -> None:
    by = spec(task="regression", target={"scale": 100.0})
    values = np.ones((ROWS, 1), dtype=np.float32)
    asked = case(
        reference=values + np.float32(0.5),
        measured=measured(answers=values),
        served=np.full((ROWS, 1), np.nan, dtype=np.float32),
    )
    assert gate("parity", asked, by).value == pytest.approx(0.005)


@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS, 3), (ROWS - 1, 2)])
def test_answers_of_another_shape_fail_parity_and_have_no_loss(shape: tuple[int, int]) -> None:
    answers = np.full(shape, 0.5, dtype=np.float32)
    for asked in (
        case(measured=measured(answers=answers)),
        case(measured=measured(answers=answers), reference=answers),
    ):
        gates = judge(spec(), asked)
        assert [g.name for g in gates if not g.passed] == ["parity"]
        assert str(shape) in reason(gates)


def test_answers_that_are_no_numbers_fail() -> None:
    broken = case().reference.copy()
    broken[3] = np.nan
    assert not gate("parity", case(measured=measured(answers=broken), reference=broken)).passed


def test_one_edge_input_without_a_finite_answer_fails() -> None:
    found = gate("edge_inputs_not_finite", case(measured=measured(edge_finite=8)))
    assert (found.value, found.bound, found.passed) == (1.0, 0, False)


def test_a_model_that_is_too_slow_fails() -> None:
    found = gate("latency_ms", case(), spec(gates={"latency_ms": 1.0}))
    assert (found.value, found.bound, found.passed) == (2.0, 1.0, False)


def test_the_loss_has_to_beat_the_trivial_answer() -> None:
    found = gate("loss_to_baseline", case())
    assert found.value == pytest.approx(0.01 / 0.1875 - 1, rel=1e-4)
    assert "0.01000 against 0.18750" in found.detail
    trivial = chances(np.full(ROWS, 0.25))
    asked = case(measured=measured(answers=trivial), reference=trivial)
    assert gate("loss_to_baseline", asked).value == pytest.approx(0.0, abs=1e-6)
    assert not gate("loss_to_baseline", asked, spec(gates={"baseline_gain": 0.1})).passed


def served(right: float, rows: int = ROWS) -> Matrix:
    made = chances(np.where(labels() == 1, right, 1 - right))
    made[rows:] = np.nan
    return made


def test_the_loss_is_compared_with_the_answers_that_were_served() -> None:
    better, worse = (
        gate("loss_to_champion", case(served=served(0.8))),
        gate("loss_to_champion", case(served=served(0.95))),
    )
    assert better.value == pytest.approx(0.01 / 0.04 - 1, rel=1e-4)
    assert better.passed
    assert worse.value == pytest.approx(0.01 / 0.0025 - 1, rel=1e-4)
    assert not worse.passed
    assert "against" in reason((worse,))


def test_rows_nobody_answered_are_left_out_of_the_comparison() -> None:
    assert "on 150 rows" in gate("loss_to_champion", case(served=served(0.8, 150))).detail
    names = [g.name for g in judge(spec(), case(served=served(0.8, 99)))]
    assert "loss_to_champion" not in names


def test_a_slice_is_judged_on_its_own_rows_when_there_are_enough() -> None:
    by = spec(
        features=[{"name": "a"}, {"name": "b", "type": "category", "categories": ["x", "y"]}],
        slices=[{"name": "of y", "feature": "b", "value": "y"}],
        gates={"min_slice_rows": 100, "slice_tolerance": 0.1},
    )
    features = np.zeros((ROWS, 2), dtype=np.float32)
    features[:100, 1] = 1
    answered = served(0.8)
    answered[:100] = served(0.95)[:100]
    found = gate("slice:of y", case(features=features, served=answered), by)
    assert found.value == pytest.approx(3.0, rel=1e-3)
    assert not found.passed
    assert "on 100 rows" in found.detail
    features[0, 1] = 0
    names = [g.name for g in judge(by, case(features=features, served=answered))]
    assert "slice:of y" not in names


def test_edge_inputs_are_what_the_contract_lets_through() -> None:
    by = spec(
        features=[
            {"name": "a", "min": -1, "max": 5},
            {"name": "b", "nullable": True},
            {"name": "c", "type": "category", "categories": ["x", "y"], "unseen": "accept"},
            {"name": "d", "type": "boolean"},
        ]
    )
    edges = edge_inputs(by, np.full((1, 4), 0.5, dtype=np.float32))
    assert [sorted(set(edges[:, at][np.isfinite(edges[:, at])].tolist())) for at in (0, 2, 3)] == [
        [-1.0, 0.5, 5.0],
        [-1.0, 0.5, 1.0],
        [0.0, 0.5, 1.0],
    ]
    assert np.isnan(edges).any(axis=0).tolist() == [False, True, False, False]
    assert np.abs(np.nan_to_num(edges[:, 1])).max() == np.float32(3e38)


def test_a_real_model_is_measured_in_onnxruntime() -> None:
    model = tiny_models.classifier()
    features = tiny_models.rows(50)
    edges = np.array([[np.nan, 0, 0], [1, 2, 3]], dtype=np.float32)
    found = measure(model.onnx, features, edges)
    assert np.abs(found.answers - model.answers(features)).max() < 1e-5
    assert (found.edge_rows, found.edge_finite) == (2, 1)
    assert 0 < found.latency_seconds < 0.1


def test_a_regression_is_measured_as_one_column() -> None:
    model = tiny_models.regressor()
    features = tiny_models.rows(10)
    assert measure(model.onnx, features, features[:1]).answers.shape == (10, 1)
