import msgspec
import numpy as np
import pyarrow as pa
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.domain.prediction import (
    NoAnswer,
    model_input,
    prediction,
    prediction_batch,
)
from driftloop.modelspec.contract import Contract
from tests.support.tiny_models import spec

CONTRACT = Contract(spec())


def test_rows_by_name_become_model_input_in_the_order_of_the_spec() -> None:
    batch = pa.RecordBatch.from_pylist([{"c": 3, "a": 1, "b": 2}])
    np.testing.assert_array_equal(model_input(CONTRACT, batch), [[1, 2, 3]])


def test_every_bad_row_is_named_with_its_field_and_value() -> None:
    good = {"a": 1.0, "b": 2.0, "c": 3.0}
    batch = pa.RecordBatch.from_pylist(
        [good, {**good, "b": float("inf")}, good, {**good, "a": None}]
    )
    with pytest.raises(InvalidInput) as caught:
        model_input(CONTRACT, batch)
    assert str(caught.value).splitlines() == [
        "row 1: b: inf is infinite; accepted: a finite number",
        "row 3: a: is missing; accepted: a finite number",
    ]


def test_a_classification_says_the_class_and_all_probabilities() -> None:
    answers = np.array([[0.25, 0.75], [1, 0]], dtype=np.float32)
    said = prediction(spec(), 4, answers)
    assert (said.version, said.predictions) == (4, ["yes", "no"])
    assert said.probabilities == [{"no": 0.25, "yes": 0.75}, {"no": 1.0, "yes": 0.0}]


def test_a_regression_says_the_value() -> None:
    target = msgspec.structs.replace(spec().target, classes=())
    regression = msgspec.structs.replace(spec(), task="regression", target=target)
    said = prediction(regression, 4, np.array([[1.5], [2.5]], dtype=np.float32))
    assert (said.predictions, said.probabilities) == ([1.5, 2.5], [])


def test_an_answer_that_is_no_number_is_not_passed_on() -> None:
    answers = np.array([[0.5, 0.5], [np.nan, np.nan]], dtype=np.float32)
    with pytest.raises(NoAnswer, match=r"row 1: version 4 of flights answered \[nan, nan\]"):
        prediction(spec(), 4, answers)


def test_columns_hold_answer_and_version() -> None:
    batch = prediction_batch(4, np.array([[0.5, 0.5]], dtype=np.float32))
    assert batch.to_pylist() == [{"answer": [0.5, 0.5], "version": 4}]
