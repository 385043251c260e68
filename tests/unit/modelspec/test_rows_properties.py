"""Rows and specs of anything: each row has one verdict, and no text breaks the reader of specs."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts import batches
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.check import SpecError, load, parse
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.rows import from_dicts, plain
from driftloop.modelspec.spec import Feature, Spec, Target
from tests.support.thorough import examples
from tests.support.world import spec_text

NOW = 1_760_000_000_000
SPEC = Spec(
    name="m",
    task="classification",
    target=Target(classes=("0", "1")),
    features=(
        Feature(name="number", min=-10, max=10),
        Feature(name="open", nullable=True),
        Feature(name="whole", type="integer"),
        Feature(name="named", type="category", categories=("a", "7"), unseen="accept"),
        Feature(name="flag", type="boolean", nullable=True),
    ),
)
NAMES = ("event_id", "event_time", *(feature.name for feature in SPEC.features), "other", "é")
odd: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.text(max_size=8),
    st.sampled_from(["1", "true", "a", "2024-01-01T00:00:00Z", "\ud800", "1e999", "nan", " 1"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
good: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "event_id": st.uuids().map(str),
        "event_time": st.just(NOW),
        "number": st.floats(-10, 10),
        "open": st.none() | st.floats(-1e30, 1e30),
        "whole": st.integers(-9, 9),
        "named": st.sampled_from(["a", "7", "b"]),
        "flag": st.none() | st.booleans(),
    }
)
changed = st.tuples(good, st.dictionaries(st.sampled_from(NAMES), odd, max_size=2)).map(
    lambda both: {**both[0], **both[1]}
)


@examples(50)
@given(st.lists(good | changed, min_size=1, max_size=6))
def test_every_row_has_one_verdict_and_a_valid_one_has_numbers(rows: list[dict[str, Any]]) -> None:
    contract = Contract(SPEC)
    batch = from_dicts(rows)
    checked = contract.check(batch, NOW)
    sizes = checked.valid.num_rows, checked.quarantined.num_rows, checked.duplicates
    assert sum(sizes) == len(rows)
    matrix = batches.matrix_of(checked.valid.column("features"))
    assert not np.isinf(matrix).any()
    assert not np.isnan(matrix[:, [0, 2, 3]]).any()  # those that may not be missing
    assert all(reason for reason in checked.quarantined.column("reason").to_pylist())
    for made in (checked.valid, checked.quarantined):
        assert batches.decode(batches.encode(made)).num_rows == made.num_rows


@examples(40)
@given(good, st.lists(changed, max_size=4))
def test_a_good_row_is_valid_whatever_rows_are_beside_it(
    row: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    contract = Contract(SPEC)
    beside = [{**other, "event_id": f"other-{at}"} for at, other in enumerate(others)]
    alone = contract.check(from_dicts([row]), NOW).valid
    assert alone.num_rows == 1
    rows = contract.check(from_dicts([*beside, row]), NOW).valid.to_pylist()
    (found,) = [made for made in rows if made["event_id"] == row["event_id"]]
    np.testing.assert_array_equal(found["features"], alone.to_pylist()[0]["features"])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b" * 20, None], pa.string_view()),
        pa.array([b"a", b"\xff", None], pa.binary_view()),
        pa.array([1, 2, None], pa.decimal256(60, 2)),
        pa.array([1, 2, None], pa.duration("s")),
        pa.array([[1], [], None], pa.large_list(pa.int8())),
        pa.array([{"a": 1}, {}, None], pa.struct({"a": pa.int8()})),
        pa.array(["x", None, "x"]).dictionary_encode(),
        pa.array([1, 2, None], pa.time64("ns")),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_of_any_type_is_made_plain_and_its_rows_can_be_taken(column: pa.Array) -> None:
    made = plain(pa.record_batch({"number": column}))
    assert made.take(pa.array([2, 0])).num_rows == 2
    _, found = Contract(SPEC).features(made)
    assert len(found.reasons()) == int(found.bad.sum())


lines = st.lists(
    st.one_of(
        st.sampled_from(spec_text("world").split("\n")),
        st.tuples(
            st.sampled_from(["name", "min", "holdout", "cooldown", "classes", "on", "earliest"]),
            st.sampled_from(
                [
                    *("nan", "inf", "-1", "9" * 400, "1e999", "[]", "{}", '"x"', "0000-01-01"),
                    *('"9999999999999d"', "1979-05-27T07:32:00Z", "true", "[[[1]]]", '"9d"'),
                ]
            ),
        ).map(" = ".join),
    ),
    max_size=60,
)


@examples(100)
@given(lines, st.text(max_size=5))
def test_any_text_is_a_spec_or_a_spec_error_that_says_what_is_accepted(
    text: list[str], more: str
) -> None:
    problems = ["accepted"]
    try:
        parse("\n".join([*text, more]))
    except SpecError as error:
        problems = error.problems
    assert all("accepted" in problem for problem in problems)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b'name = "\xe9"',
        b"a = " + b"[" * 20_000,
        b"a = " + b"9" * 20_000,
        b"a = {" * 999,
    ],
    ids=["utf-16", "latin-1", "deep", "digits", "tables"],
)
def test_a_file_that_is_no_spec_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_bytes(content)
    with pytest.raises(SpecError, match="accepted"):
        load(file)


@examples(50)
@given(st.lists(st.dictionaries(st.text(max_size=4), odd, max_size=4), max_size=4))
def test_rows_of_anything_are_a_batch_or_refused(rows: list[dict[str, Any]]) -> None:
    with contextlib.suppress(InvalidInput):
        assert from_dicts(rows).num_rows == len(rows)
