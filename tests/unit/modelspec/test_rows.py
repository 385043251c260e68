import math
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.rows import as_text, column, from_dicts, plain_column


def test_every_name_of_any_row_becomes_a_column() -> None:
    batch = from_dicts([{"a": 1}, {"b": "x", "a": None}])
    assert batch.to_pydict() == {"a": [1, None], "b": [None, "x"]}


class Mine(dict[str, int]):
    """A dict that makes up what it lacks."""

    def __missing__(self, name: str) -> int:
        raise AssertionError(name)


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1, "b": 2}, {"b": 4, "a": 3}],
        [{"a": 1}, {"a": 3}],
        [{"a": 1, "b": 2}, {"a": 3, "c": 4}],
        [Mine(a=1, b=2), Mine(a=3, c=4)],
        [{"a": 1, "b": 2}, {"a": 3}],
        [{"a": 1}, {"a": 3, "b": 2}],
    ],
)
def test_rows_with_the_same_names_and_others_become_the_same_columns(
    rows: list[dict[str, int]],
) -> None:
    names = ("a", "b", "c")
    found = from_dicts(rows).to_pylist()
    assert [[row.get(name) for name in names] for row in found] == [
        [row.get(name) for name in names] for row in rows
    ]


def test_what_is_unset_is_null() -> None:
    assert column([msgspec.UNSET, 1, None]).to_pylist() == [None, 1, None]
    assert column([1, "x", msgspec.UNSET]).to_pylist() == ["1", "x", None]


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([1, None], pa.int64(), [1, None]),
        ([None, None], pa.null(), [None, None]),
        ([1, "x", None, 2.5, 3.0, True], pa.string(), ["1", "x", None, "2.5", "3", "true"]),
        ([2**63, 1], pa.string(), [str(2**63), "1"]),
        ([{"a": [1]}, None], pa.string(), ['{"a":[1]}', None]),
        ([math.inf, "x"], pa.string(), ["inf", "x"]),
        ([np.float32(0.5), np.float32(1)], pa.float32(), [0.5, 1.0]),
        (["\ud800", 1], pa.string(), ["?", "1"]),
        ([None, 0.0, False], pa.string(), [None, "0", "false"]),
        ([0.5, True], pa.string(), ["0.5", "true"]),
    ],
)
def test_values_get_the_type_they_share_or_become_texts(
    values: list[object], kind: pa.DataType, kept: list[object]
) -> None:
    made = column(values)
    assert made.type == kind
    assert made.to_pylist() == kept


def test_whole_numbers_read_the_same_as_floats() -> None:
    whole = [0, 7, -3, 10**15, 2**53 - 1]
    floats = pa.array([float(number) for number in whole])
    assert as_text(floats).to_pylist() == as_text(pa.array(whole)).to_pylist()
    assert as_text(pa.array([0.1, 1e300, None, math.nan])).to_pylist() == [
        "0.1",
        "1e+300",
        None,
        "nan",
    ]


VIEWS = pa.array(["x", "y"]).cast(pa.string_view())
ENDS = pa.array([1, 3], pa.int32())


@pytest.mark.parametrize(
    ("given", "kind", "kept"),
    [
        (VIEWS, pa.string(), ["x", "y"]),
        (pa.DictionaryArray.from_arrays([1, None, 0], VIEWS), pa.string(), ["y", None, "x"]),
        (pa.DictionaryArray.from_arrays([1, 0], pa.array([2, 5])), pa.int64(), [5, 2]),
        (pa.DictionaryArray.from_arrays([0], pa.array([[1]])), pa.string(), ["[1]"]),
        (pa.RunEndEncodedArray.from_arrays(ENDS, VIEWS), pa.string(), ["x", "y", "y"]),
        (pa.RunEndEncodedArray.from_arrays(ENDS, pa.array([1, 2])), pa.int64(), [1, 2, 2]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_columns_of_other_libraries_become_plain(
    given: pa.Array, kind: pa.DataType, kept: list[object]
) -> None:
    made = plain_column(given)
    assert made.type == kind
    assert made.to_pylist() == kept


def test_times_stay_times() -> None:
    made = column([datetime(2024, 1, 1, tzinfo=UTC)])
    assert pa.types.is_timestamp(made.type)


def test_rows_that_name_nothing_or_too_much_are_refused() -> None:
    for rows, told in (
        ([], "no row has a field"),
        ([{}], "no row has a field"),
        ([{"x" * 257: 1}], "256 characters"),
        ([{f"{n}": n for n in range(2001)}], "2001 different names; accepted: at most 2000"),
    ):
        with pytest.raises(InvalidInput, match=told):
            from_dicts(rows)
    with pytest.raises(InvalidInput, match="7 cannot name one"):
        from_dicts([{7: 1}])  # type: ignore[dict-item]  # that is the point
