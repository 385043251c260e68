import numpy as np
import pyarrow as pa
import pytest

from driftloop.contracts import batches
from driftloop.contracts.errors import InvalidInput
from driftloop.inference.domain.prediction import model_input
from driftloop.inference.plain.answers import columns, stream
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


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 7, 256])
def test_an_answer_in_a_kept_frame_is_the_stream_that_arrow_writes(rows: int, width: int) -> None:
    answers = np.random.default_rng(rows).random((rows, width)).astype(np.float32)
    assert stream(4, answers) == batches.encode(columns(4, answers))
    assert batches.decode(stream(4, answers)).to_pylist() == [
        {"answer": row, "version": 4} for row in answers.tolist()
    ]
