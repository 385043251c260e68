"""Contributions of features: the numbers of a direct computation with scikit-learn."""

from typing import Any

import numpy as np
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import InvalidInput
from driftloop.inference import explain
from driftloop.inference.core.call import Answered, Served
from driftloop.inference.domain.plan import Plan
from driftloop.inference.explain import MOST_ROWS, Explainer, occluded, typical
from driftloop.inference.session import Session
from driftloop.inference.versions import Champion
from driftloop.modelspec.spec import Registered
from tests.support.serving import (
    CLASSES,
    Matrix,
    matrix_of_rows,
    mixed,
    mixed_rows,
    mixed_spec,
)
from tests.support.tiny_models import manifest, regressor, rows, spec


def directly(estimator: Any, matrix: Matrix, training: Matrix) -> Any:
    """The same by the definition, a row and a feature at a time, with scikit-learn."""
    middles = []
    for column in training.T:
        given = np.sort(column[~np.isnan(column)])
        middles.append(given[len(given) // 2])
    made = np.empty(matrix.shape)
    for at, row in enumerate(matrix):
        here = estimator.predict_proba(row[None])[0]
        best = here.argmax()
        for feature, middle in enumerate(middles):
            changed = row.copy()
            changed[feature] = middle
            made[at, feature] = here[best] - estimator.predict_proba(changed[None])[0][best]
    return made


def answered(matrix: Matrix) -> Answered:
    """The answers of the mixed model."""
    plan = Plan(Registered(spec=mixed_spec(), revision=1, by="t", at=0.0))
    session = Session(mixed().model.onnx, plan.width, len(CLASSES))
    answers = session.run(matrix)
    served = Served(plan, Champion(mixed().manifest(1), session))
    return Answered(served, answers, answers.argmax(axis=1).tolist(), ["id"] * len(matrix))


def test_the_typical_row_is_the_median_that_occurs_and_ignores_what_is_missing() -> None:
    row = typical(mixed().snapshot)
    for value, column in zip(row, mixed().training.T, strict=True):
        given = np.sort(column[~np.isnan(column)])
        assert value == given[len(given) // 2]
        assert value in column
    assert row[3] in (0, 1)  # the code of a category


def test_contributions_are_those_of_a_direct_computation() -> None:
    matrix = matrix_of_rows(mixed_rows(12, 5))
    made = occluded(answered(matrix), matrix, typical(mixed().snapshot))
    want = directly(mixed().model.estimator, matrix, mixed().training)
    np.testing.assert_allclose(made, want, atol=1e-4)
    assert np.abs(want).max() > 0.1


def test_many_rows_go_through_the_model_in_parts_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = matrix_of_rows(mixed_rows(12, 5))
    whole = occluded(answered(matrix), matrix, typical(mixed().snapshot))
    monkeypatch.setattr(explain, "MOST_VALUES", 5 * 36)
    parts = occluded(answered(matrix), matrix, typical(mixed().snapshot))
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_a_value_that_is_typical_contributes_nothing() -> None:
    row = typical(mixed().snapshot)[None]
    assert occluded(answered(row), row, row[0]).tolist() == [[0.0] * 6]


def test_contributions_to_a_number_are_differences_of_numbers() -> None:
    model = regressor()
    made = spec()
    plan = Plan(Registered(spec=made, revision=1, by="t", at=0.0))
    session = Session(model.onnx, 3, 1)
    matrix = rows(7, 3)
    served = Served(plan, Champion(manifest(1, model.onnx, width=1), session))
    told = Answered(served, session.run(matrix), [], ["id"] * 7)
    middle = np.array([0.5, -0.5, 1.0], np.float32)
    want = (matrix - middle) * model.estimator.coef_
    np.testing.assert_allclose(occluded(told, matrix, middle), want, atol=1e-4)


async def test_training_rows_are_read_once_and_those_not_kept_are_told(bus: Bus) -> None:
    store = Artifacts(bus)
    matrix = matrix_of_rows(mixed_rows(3, 5))
    told = answered(matrix)
    explainer = Explainer(store)
    with pytest.raises(InvalidInput, match="explain: the training rows of version 1 are not kept"):
        await explainer.contributions(told, matrix)
    await store.put(mixed().snapshot)
    first = await explainer.contributions(told, matrix)
    await bus.connection.js.delete_object_store("ARTIFACTS")
    np.testing.assert_array_equal(await explainer.contributions(told, matrix), first)


async def test_too_many_rows_are_refused(bus: Bus) -> None:
    matrix = np.zeros((MOST_ROWS // 6 + 1, 6), np.float32)
    with pytest.raises(InvalidInput, match=r"explain: \d+ rows of 6 features .* at most 200000"):
        await Explainer(Artifacts(bus)).contributions(answered(matrix), matrix)
