"""Matrices become ClickHouse arrays, whatever their width and however many shadows there are."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.batches import matrix_column, null_answers
from driftloop.contracts.errors import Reject
from driftloop.telemetry.domain.lists import float_lists, shadow_lists

ANSWER = st.lists(st.integers(0, 9).map(float), min_size=2, max_size=2)
CELLS = st.lists(st.lists(st.none() | ANSWER, min_size=3, max_size=3), max_size=20)


def column(answers: list[Any], width: int = 2) -> pa.Array:
    return pa.array(answers, pa.list_(pa.float32(), width))


def test_a_matrix_becomes_one_list_a_row() -> None:
    made = float_lists("features", matrix_column(np.arange(6, dtype=np.float32).reshape(2, 3)))
    assert made.to_pylist() == [[0, 1, 2], [3, 4, 5]]


def test_a_null_answer_becomes_an_empty_list() -> None:
    made = float_lists("answer", column([None, [1, 2], None]))
    assert (made.to_pylist(), made.null_count) == ([[], [1, 2], []], 0)


def test_answers_before_a_first_model_are_all_empty() -> None:
    assert float_lists("answer", null_answers(3, 4)).to_pylist() == [[], [], []]


def test_a_slice_of_a_batch_is_read_from_where_it_begins() -> None:
    assert float_lists("answer", column([[1, 2], [3, 4], None]).slice(1)).to_pylist() == [
        [3, 4],
        [],
    ]


@given(CELLS)
def test_only_shadows_that_answered_are_listed(cells: list[list[list[float] | None]]) -> None:
    versions = [4, 9, 11]
    columns = [
        (v, f"shadow_v{v}", column([row[at] for row in cells])) for at, v in enumerate(versions)
    ]
    made = shadow_lists(columns, len(cells))
    there = [[(v, a) for v, a in zip(versions, row, strict=True) if a is not None] for row in cells]
    assert made.versions.to_pylist() == [[v for v, _ in row] for row in there]
    assert made.answers.to_pylist() == [[a for _, a in row] for row in there]


def test_shadows_may_have_different_widths() -> None:
    columns = [(1, "shadow_v1", column([[1, 2], None])), (2, "shadow_v2", column([[3], [4]], 1))]
    made = shadow_lists(columns, 2)
    assert made.answers.to_pylist() == [[[1, 2], [3]], [[4]]]


def test_without_shadows_the_lists_are_empty() -> None:
    made = shadow_lists([], 2)
    assert (made.versions.to_pylist(), made.answers.to_pylist()) == ([[], []], [[], []])


def test_a_column_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(Reject, match=r"answer: is double; accepted: a fixed-size list of float32"):
        float_lists("answer", pa.array([1.0]))
