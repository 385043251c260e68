"""Rows are written as JSON in bulk; each reads as if it had been written by itself."""

import datetime
import json
import math
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.modelspec.rows import as_text
from driftloop.modelspec.rowtexts import MOST_ROW_TEXT, rows_as_json
from driftloop.modelspec.values import listed, shown

KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "text": (pa.string(), st.text()),
    "flag": (pa.bool_(), st.booleans()),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "short": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "unsigned": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "number": (pa.float64(), st.floats()),
    "narrow": (pa.float32(), st.floats(width=32)),
    "exact": (pa.decimal128(12, 4), st.decimals(-(10**6), 10**6, places=4)),
    "none": (pa.null(), st.none()),
    "time": (pa.timestamp("ms", tz="UTC"), st.integers(-(10**13), 10**13)),
    'a "name"\n': (pa.string(), st.sampled_from(["a,b", "null", "\n", '"', "\\"])),
}


@st.composite
def batches(draw: Any) -> pa.RecordBatch:
    rows = draw(st.sampled_from([1, 3, 70]))
    names = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, unique=True))
    columns = {}
    for name in names:
        kind, values = KINDS[name]
        some = draw(st.lists(st.none() | values, min_size=1, max_size=min(rows, 5)))
        columns[name] = pa.array([some[at % len(some)] for at in range(rows)], kind)
    return pa.RecordBatch.from_pydict(columns)


def alone(row: dict[str, Any]) -> str:
    numbers = [value for value in row.values() if isinstance(value, float)]
    if all(map(math.isfinite, numbers)):
        return orjson.dumps(row, default=str).decode()
    return json.dumps(row, default=str, ensure_ascii=False, separators=(",", ":"))


@given(batches())
def test_each_row_reads_as_if_it_were_alone(rows: pa.RecordBatch) -> None:
    columns = [as_text(c) if pa.types.is_temporal(c.type) else c for c in rows.columns]
    texts = pa.RecordBatch.from_arrays(columns, rows.schema.names)
    assert rows_as_json(rows) == [alone(row) for row in texts.to_pylist()]


@pytest.mark.parametrize(
    "number", [1e15, 1e16, -1e16, 9.999999999999999e22, 1.7e308, 5e-324, 1e-5, 0.1, -0.0]
)
def test_a_number_reads_the_same_in_every_row(number: float) -> None:
    (text,) = rows_as_json(pa.record_batch({"x": [number]}))
    assert text == orjson.dumps({"x": number}).decode()


def test_a_text_that_says_null_leaves_the_numbers_as_they_are() -> None:
    (text,) = rows_as_json(pa.record_batch({"x": [1e15], "y": [2.0**-14], "z": ["null"]}))
    assert text == '{"x":1000000000000000.0,"y":0.00006103515625,"z":"null"}'


def test_a_row_has_a_bounded_length_and_many_columns_are_no_matter() -> None:
    (text,) = rows_as_json(pa.record_batch({"x": ["y" * 20_000]}))
    assert len(text) == MOST_ROW_TEXT
    (text,) = rows_as_json(pa.record_batch({f"c{at}": [at] for at in range(500)}))
    assert json.loads(text) == {f"c{at}": at for at in range(500)}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_many_times_are_shown_as_few_are(unit: str) -> None:
    near = [0, -1, None, 1_760_000_000_123, -(10**13), 253_402_300_800_000]
    for ticks in (near, [*near, 10**17, 2**62, -(2**62)]):
        times = pa.array(ticks * 50, pa.int64()).cast(pa.timestamp(unit, tz="UTC"))
        assert shown(times).to_pylist() == as_text(times).to_pylist()


def test_values_are_what_python_has() -> None:
    columns = [
        pa.array([True, None, False]),
        pa.array([1, None, 2**63 - 1]),
        pa.array([0.5, None, 1e300]),
        pa.array(["a", None, ""]),
        pa.array([Decimal("1.50"), None, Decimal(0)]),
        pa.array([datetime.date(2013, 1, 1), None, None]),
        pa.nulls(3),
    ]
    for column in columns:
        for part in (column, column.slice(1), column.slice(0, 1), column.slice(0, 0)):
            made, wanted = listed(part), part.to_pylist()
            assert made == wanted
            assert list(map(type, made)) == list(map(type, wanted))
