import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contracts.batches import QUARANTINED, matrix_of
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.contract import Checked, Contract
from driftloop.modelspec.rows import from_dicts

NOW = 1_704_067_200_000
PLACES = ("coast", "hill", "7")
FEATURES: list[dict[str, Any]] = [
    {"name": "wind", "min": 0, "max": 200},
    {"name": "day", "type": "integer", "nullable": True},
    {"name": "place", "type": "category", "categories": PLACES},
    {"name": "summer", "type": "boolean", "nullable": True},
    {"name": "kind", "type": "category", "categories": ["a"], "unseen": "accept", "nullable": True},
]


def contract(**changes: Any) -> Contract:
    made = {
        "name": "rain",
        "task": "classification",
        "target": {"name": "wet", "classes": ["0", "1"]},
        "features": FEATURES,
        "columns": {"key": "station"},
    }
    return Contract(from_dict(made | changes))


def row(**changes: Any) -> dict[str, Any]:
    good = {
        "event_id": "e1",
        "event_time": "2023-12-31T23:00:00Z",
        "station": "s",
        "wind": 1.5,
        "day": 3,
        "place": "hill",
        "summer": True,
        "kind": "a",
    }
    return good | changes


def check(*rows: dict[str, Any], **changes: Any) -> Checked:
    checked = contract(**changes).check(from_dicts(rows), NOW)
    checked.valid.validate(full=True)
    checked.quarantined.validate(full=True)
    assert checked.valid.num_rows + checked.quarantined.num_rows + checked.duplicates == len(rows)
    return checked


def reason(**changes: Any) -> str:
    (told,) = check(row(**changes)).quarantined.column("reason").to_pylist()
    assert isinstance(told, str)
    return told


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.datetimes(),
    st.dates(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.binary(max_size=4),
    st.sampled_from([*PLACES, "1e999", "nan", "20130101", "1700000000000", 2**63, -(2**70)]),
)
anyhow = st.dictionaries(
    st.sampled_from([*row(), "colour", "wet"]), anything, min_size=1, max_size=9
)


@given(st.lists(anyhow, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_every_row_is_valid_or_quarantined_or_a_duplicate_whatever_came(
    rows: list[dict[str, Any]],
) -> None:
    checked = check(*rows)
    reasons = checked.quarantined.column("reason").to_pylist()
    assert all("; accepted: " in told for told in reasons)
    matrix = matrix_of(checked.valid.column("features"))
    assert not np.isinf(matrix).any()
    assert not np.isnan(matrix[:, [0, 2]]).any()  # these may not be null


good_rows = st.lists(
    st.fixed_dictionaries(
        {
            "wind": st.floats(0, 200, width=32),
            "day": st.none() | st.integers(-(2**24), 2**24),
            "place": st.sampled_from(PLACES),
            "summer": st.none() | st.booleans(),
            "kind": st.none() | st.sampled_from(["a", "never seen"]),
        }
    ),
    min_size=1,
    max_size=20,
)


def expected(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    codes = {"a": 0.0, "never seen": -1.0, None: math.nan}
    return np.array(
        [
            [
                number(r["wind"]),
                number(r["day"]),
                PLACES.index(r["place"]),
                number(r["summer"]),
                codes[r["kind"]],
            ]
            for r in rows
        ],
        dtype=np.float32,
    )


@given(good_rows)
@settings(max_examples=100, deadline=None)
def test_the_matrix_holds_what_came_in(rows: list[dict[str, Any]]) -> None:
    checked = check(*(row(event_id=f"{n}", **r) for n, r in enumerate(rows)))
    assert checked.quarantined.num_rows == 0, checked.quarantined.to_pylist()
    np.testing.assert_array_equal(matrix_of(checked.valid.column("features")), expected(rows))


@given(good_rows)
@settings(max_examples=50, deadline=None)
def test_texts_mean_the_same_as_what_they_are_texts_of(rows: list[dict[str, Any]]) -> None:
    texts = [
        {name: None if value is None else str(value) for name, value in r.items()} for r in rows
    ]
    checked = check(*(row(event_id=f"{n}", **r) for n, r in enumerate(texts)))
    assert checked.quarantined.num_rows == 0, checked.quarantined.to_pylist()
    np.testing.assert_array_equal(matrix_of(checked.valid.column("features")), expected(rows))


def test_good_rows_keep_their_order_id_time_and_key() -> None:
    checked = check(row(), row(event_id="bad", wind=-1), row(event_id="e2", station=None))
    assert checked.valid.column("event_id").to_pylist() == ["e1", "e2"]
    assert checked.valid.column("key").to_pylist() == ["s", None]
    assert checked.valid.column("event_time").cast(pa.int64()).to_pylist() == [NOW - 3_600_000] * 2


def test_of_rows_with_the_same_id_the_first_counts() -> None:
    checked = check(row(wind=1), row(wind=2), row(event_id="e2"), row(wind=3))
    assert checked.duplicates == 2
    assert matrix_of(checked.valid.column("features"))[:, 0].tolist() == [1.0, 1.5]


def test_rows_without_an_id_are_no_duplicates_of_each_other() -> None:
    checked = check(row(event_id=None), row(event_id=""), row(event_id=""), row(), row())
    assert (checked.valid.num_rows, checked.quarantined.num_rows, checked.duplicates) == (1, 3, 1)


def test_ids_are_texts_whatever_type_they_came_in() -> None:
    assert check(row(event_id=7)).valid.column("event_id").to_pylist() == ["7"]
    assert check(row(event_id=7.0)).valid.column("event_id").to_pylist() == ["7"]
    assert "is too long; accepted: a text of at most 256" in reason(event_id="x" * 257)
    assert "is too long; accepted: a text of at most 256" in reason(station="x" * 257)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("gale", "wind: 'gale' is not a number"),
        (True, "wind: True is not a number"),
        ("0x10", "wind: '0x10' is not a number"),
        ("1_000", "wind: '1_000' is not a number"),
        (math.inf, "wind: inf is infinite"),
        ("-Infinity", "wind: '-Infinity' is infinite"),
        ("1e999", "wind: '1e999' is infinite"),
        (math.nan, "wind: is missing"),
        (" NaN ", "wind: is missing"),
        ("", "wind: is missing"),
        (200.1, "wind: 200.1 is out of range"),
        (10**30, "is out of range"),
        (None, "wind: is missing"),
    ],
)
def test_a_number_that_is_none_is_told(value: Any, told: str) -> None:
    said = reason(wind=value)
    assert told in said
    assert said.endswith("accepted: a finite number from 0 to 200")


def test_a_number_too_large_for_the_model_is_told() -> None:
    features = [{"name": "wind"}]
    checked = check({**row(wind=1e39)}, features=features, unknown_columns="drop")
    assert checked.quarantined.column("reason").to_pylist() == [
        "wind: 1e+39 does not fit float32; accepted: a finite number"
    ]


@pytest.mark.parametrize(
    ("time", "valid"),
    [
        ("2023-12-31", True),
        ("2023-12-31 10:00", True),
        ("20231231", True),
        (" 2023-12-31T10:00:00.123456789+05:00 ", True),
        (NOW, True),
        (float(NOW), True),
        (f" {NOW}", True),
        (NOW + 300_000, True),
        (NOW + 300_001, False),
        (946_684_800_000, True),
        (946_684_799_999, False),
        (NOW + 0.5, False),
        (1e17, False),
        (2**62, False),
        ("99999-01-01", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("yesterday", False),
        (True, False),
        (None, False),
    ],
)
def test_an_event_time_is_one_that_can_be(time: Any, valid: bool) -> None:
    checked = check(row(event_time=time))
    assert checked.valid.num_rows == valid, checked.quarantined.to_pylist()


def test_one_bad_time_costs_no_other_row() -> None:
    times = ["2023-12-31T23:00:00Z", "2023-12-31T23:00:00", "soon", str(NOW - 3_600_000)]
    checked = check(*(row(event_id=f"{n}", event_time=t) for n, t in enumerate(times)))
    millis = checked.valid.column("event_time").cast(pa.int64()).to_pylist()
    assert millis == [NOW - 3_600_000] * 3
    assert checked.quarantined.column("event_time").to_pylist() == [None]


def odd_columns() -> dict[str, pa.Array]:
    far = pa.array([10**17, 2**62], pa.timestamp("s"))
    return {
        "timestamp out of reach": far,
        "nanoseconds": pa.array([1, 2], pa.timestamp("ns")),
        "duration": pa.array([1, 2], pa.duration("s")),
        "time": pa.array([1, 2], pa.time64("ns")),
        "half float": pa.array(np.array([1, 2], np.float16)),
        "decimal": pa.array(["1.5", "2.5"]).cast(pa.decimal128(5, 2)),
        "dictionary": pa.array(["hill", "coast"]).dictionary_encode(),
        "runs": pa.RunEndEncodedArray.from_arrays([1, 2], ["hill", "coast"]),
        "large text": pa.array(["hill", "coast"], pa.large_string()),
        "text view": pa.array(["hill", "coast"], pa.string_view()),
        "bytes": pa.array([b"\xff", b"hill"]),
        "list": pa.array([[1], None]),
        "list of far times": pa.array([[10**17], [1]], pa.list_(pa.timestamp("s"))),
        "struct": pa.array([{"a": 1}, None]),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16] * 2, pa.binary(16))),
        "unsigned": pa.array([2**64 - 1, 1], pa.uint64()),
        "null": pa.nulls(2),
    }


@pytest.mark.parametrize("name", ["event_id", "event_time", "wind", "day", "place", "summer", "x"])
@pytest.mark.parametrize("kind", list(odd_columns()))
def test_columns_of_any_arrow_type_are_judged(kind: str, name: str) -> None:
    good = from_dicts([row(), row(event_id="e2")])
    columns = dict(zip(good.schema.names, good.columns, strict=True)) | {name: odd_columns()[kind]}
    checked = contract().check(pa.RecordBatch.from_pydict(columns), NOW)
    assert checked.valid.num_rows + checked.quarantined.num_rows + checked.duplicates == 2
    checked.quarantined.to_pylist()


def test_categories_of_any_text_type_are_known() -> None:
    for kind in ("dictionary", "runs", "large text", "text view"):
        batch = from_dicts([row(), row(event_id="e2")])
        at = batch.schema.get_field_index("place")
        checked = contract().check(batch.set_column(at, "place", odd_columns()[kind]), NOW)
        assert matrix_of(checked.valid.column("features"))[:, 2].tolist() == [1.0, 0.0]


def test_a_column_that_stands_twice_is_refused() -> None:
    twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["wind", "wind"])
    with pytest.raises(InvalidInput, match="'wind' stands there twice"):
        contract().check(twice, NOW)


def test_unknown_columns_are_told_where_they_hold_something_or_dropped() -> None:
    rows = [row(colour="red"), row(event_id="e2")]
    checked = check(*rows)
    assert checked.valid.column("event_id").to_pylist() == ["e2"]
    assert "colour: 'red' is an unknown column; accepted: wind, day" in str(
        checked.quarantined.column("reason")[0]
    )
    assert check(*rows, unknown_columns="drop").valid.num_rows == 2


def test_a_row_that_holds_the_label_too_is_no_worse_for_it() -> None:
    assert check(row(wet=1)).valid.num_rows == 1


def test_every_problem_of_a_row_is_told_up_to_a_bound() -> None:
    said = reason(wind=-1, place="moon", event_time="soon")
    assert said.count("accepted") == 3
    many = reason(**{f"x{n}": n for n in range(30)})
    assert many.count("unknown column") == 8
    assert many.endswith("; and 22 more problems")


def test_what_is_told_of_a_row_has_a_bounded_length() -> None:
    checked = check(row(place="x" * 1_000_000))
    (bad,) = checked.quarantined.to_pylist()
    assert len(bad["reason"]) < 300
    assert len(bad["row"]) <= 16_384


def test_no_rows_are_no_rows() -> None:
    checked = contract().check(from_dicts([row()]).slice(0, 0), NOW)
    assert (checked.valid.num_rows, checked.quarantined.num_rows, checked.duplicates) == (0, 0, 0)
    assert checked.quarantined.schema.equals(QUARANTINED)
