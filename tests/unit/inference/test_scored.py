import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.batches import (
    EVENT_TIME,
    matrix_column,
    matrix_of,
    shadow_versions,
    valid_schema,
)
from driftloop.inference.domain.scored import (
    Input,
    apart,
    infinite_rows,
    neighbours,
    scored,
    together,
    unusable,
)
from tests.support.tiny_models import Matrix, rows


def _batch(matrix: Matrix) -> pa.RecordBatch:
    count = len(matrix)
    ids, keys = pa.array([str(n) for n in range(count)], pa.string()), pa.nulls(count, pa.string())
    times = pa.array(range(count), pa.int64()).cast(EVENT_TIME.type)
    columns = [ids, times, keys, matrix_column(matrix)]
    return pa.RecordBatch.from_arrays(columns, schema=valid_schema(matrix.shape[1]))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.integers(0, 6))))
def test_runs_are_of_one_model_and_width_and_cover_all_inputs(
    given: list[tuple[str, int, int]],
) -> None:
    inputs = [Input(model, rows(count, 0, width)) for model, width, count in given]
    runs = list(neighbours(inputs, most=8))
    assert [at for run in runs for at in range(run.start, run.stop)] == list(range(len(inputs)))
    for run in runs:
        part = inputs[run]
        assert len({(p.model, p.matrix.shape[1]) for p in part}) == 1
        assert len(part) == 1 or len(together(part)) <= 8


@given(st.lists(st.integers(0, 5), min_size=1))
def test_answers_come_apart_as_their_rows_were_put_together(counts: list[int]) -> None:
    inputs = [Input("m", rows(count, at)) for at, count in enumerate(counts)]
    parts = apart(together(inputs), inputs)
    for part, each in zip(parts, inputs, strict=True):
        assert part is not None
        np.testing.assert_array_equal(part, each.matrix)
    assert apart(None, inputs) == [None] * len(inputs)


def test_a_scored_batch_has_the_rows_the_answer_and_a_column_a_shadow() -> None:
    matrix, answers = rows(4), rows(4, 1, 2)
    made = scored(_batch(matrix), 2, 7, answers, [(8, answers + 1), (9, None)])
    assert made.schema.names == [
        *("event_id", "event_time", "key", "features", "version", "answer"),
        *("shadow_v8", "shadow_v9"),
    ]
    assert made.column("version").to_pylist() == [7] * 4
    np.testing.assert_array_equal(matrix_of(made.column("answer")), answers)
    np.testing.assert_array_equal(matrix_of(made.column("shadow_v8")), answers + 1)
    assert made.column("shadow_v9").null_count == 4
    assert made.schema.field("shadow_v9").type == made.schema.field("answer").type
    assert shadow_versions(made.schema) == [8, 9]


def test_before_a_first_model_version_and_answer_are_null() -> None:
    made = scored(_batch(rows(3)), 2, None, None, [])
    assert made.column("version").null_count == made.column("answer").null_count == 3
    assert made.schema.field("answer").type == pa.list_(pa.float32(), 2)


def test_answers_that_are_no_numbers_are_found() -> None:
    answers = np.array([[1, 0], [np.nan, 1], [0, -np.inf]], dtype=np.float32)
    assert infinite_rows(answers).tolist() == [False, True, True]
    assert unusable(answers, 3, 2) == "not_finite"
    assert unusable(answers[:1], 1, 2) == ""
    assert unusable(answers[:1], 2, 2) == "shape"
