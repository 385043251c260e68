"""The quick way through a contract tells of every row what the thorough way tells of it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.modelspec.contract import Checked, Contract
from driftloop.modelspec.spec import Columns, Feature, Spec, Target

NOW = 1_760_000_000_000
FEATURES = (
    Feature(name="bounded", min=-1.0, max=1.0),
    Feature(name="open", nullable=True),
    Feature(name="whole", type="integer", min=0),
    Feature(name="named", type="category", categories=("a", "b"), nullable=True),
    Feature(name="other", type="category", categories=("a", "b"), unseen="accept"),
    Feature(name="flag", type="boolean"),
)
SPEC = Spec(
    name="m",
    task="classification",
    target=Target(classes=("0", "1")),
    features=FEATURES,
    columns=Columns(key="at"),
)
NUMBERS = [0.0, -0.0, 0.5, 1.0, 1.0000001, -2.0, 3e38, 3.4028236e38, 1e300]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
WHOLES: dict[pa.DataType, list[float]] = {
    pa.int64(): [-1, 2**24 + 1, 2**53 + 1, 2**60 + 2**36 + 1],
    pa.int16(): [-1],
    pa.uint64(): [2**53 + 1, 2**64 - 1],
    pa.float64(): [-1.0, 0.5, 2.0**60],
}
TIMES = pa.timestamp("ms", tz="UTC")


@st.composite
def batches(draw: Any) -> pa.RecordBatch:
    rows = draw(st.integers(1, 12))

    def some(*values: Any, kind: pa.DataType) -> pa.Array:
        each = st.sampled_from([*values, None])
        return pa.array(draw(st.lists(each, min_size=rows, max_size=rows)), kind)

    number = draw(st.sampled_from([pa.float64(), pa.float32()]))
    whole = draw(st.sampled_from(list(WHOLES)))
    ids = [f"id-{row}" for row in range(rows - 1)]
    last = draw(st.sampled_from(["z", "id-0", "", None, "x" * 300]))
    columns = {
        "event_id": pa.array([*ids, last], pa.string()),
        "event_time": some(NOW, NOW - 1, NOW + 10**12, -(10**13), kind=TIMES),
        "at": some("here", "", "x" * 300, kind=pa.string()),
        "bounded": some(*(NUMBERS if number == pa.float64() else NUMBERS[:6]), kind=number),
        "open": some(*NUMBERS, kind=pa.float64()),
        "whole": some(0, 7, *WHOLES[whole], kind=whole),
        "named": some("a", "b", "c", "", kind=pa.string()),
        "other": some("a", "c", kind=pa.string()),
        "flag": some(True, False, kind=pa.bool_()),
    }
    for name in draw(st.sets(st.sampled_from(["at", "open", "flag"]), max_size=1)):
        del columns[name]
    return pa.RecordBatch.from_pydict(columns)


def alike(quick: Checked, thorough: Checked) -> None:
    assert quick.duplicates == thorough.duplicates
    assert quick.quarantined.to_pylist() == thorough.quarantined.to_pylist()
    for name in ("event_id", "event_time", "key"):
        assert quick.valid.column(name).to_pylist() == thorough.valid.column(name).to_pylist()
    made, expected = (np.array(o.valid.column("features").to_pylist()) for o in (quick, thorough))
    np.testing.assert_array_equal(made, expected)


@given(st.lists(batches(), min_size=1, max_size=3))
def test_both_ways_say_the_same(given: list[pa.RecordBatch]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        contract = Contract(SPEC)
        looked = [contract.check(rows, NOW) for rows in given]
        assert contract._usual.read(given[0]) is not None
        if len({rows.schema for rows in given}) == 1:
            for one, each in zip(contract.check_each(given, NOW), looked, strict=True):
                alike(one, each)
        patch.setattr(contract._usual, "read", lambda rows: None)
        for quick, rows in zip(looked, given, strict=True):
            alike(quick, contract.check(rows, NOW))


def many(rows: int, **columns: pa.Array) -> pa.RecordBatch:
    """Good rows, more than are turned at once, but for these columns."""
    drawn = np.random.default_rng(0)
    made = {
        "event_id": pa.array([f"id-{row}" for row in range(rows)]),
        "event_time": pa.array(np.full(rows, NOW), pa.int64()).cast(TIMES),
        "bounded": pa.array(drawn.uniform(-1, 1, rows)),
        "open": pa.array(drawn.normal(size=rows), mask=drawn.random(rows) < 0.1),
        "whole": pa.array(drawn.integers(100, size=rows)),
        "named": pa.array(np.array(["a", "b"], object)[drawn.integers(2, size=rows)]),
        "other": pa.array(np.array(["a", "c"], object)[drawn.integers(2, size=rows)]),
        "flag": pa.array(drawn.random(rows) < 0.5),
    }
    return pa.RecordBatch.from_pydict(made | columns)


def test_both_ways_say_the_same_of_many_rows() -> None:
    rows = 3_000
    drawn = np.random.default_rng(1)
    numbers = drawn.uniform(-1.01, 1.01, rows)
    numbers[::100] = np.nan
    named = np.array(["a", "b", "c", None], object)[drawn.integers(4, size=rows)]
    given = many(rows, bounded=pa.array(numbers), named=pa.array(named))
    contract = Contract(SPEC)
    quick = contract.check(given, NOW)
    assert 0 < quick.quarantined.num_rows < rows / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract._usual, "read", lambda rows: None)
        alike(quick, contract.check(given, NOW))


def test_a_batch_counts_its_own_duplicates_only() -> None:
    contract, rows = Contract(SPEC), many(40)
    twice = pa.concat_batches([rows, rows.slice(5, 3)])
    made = contract.check_each([rows, twice, rows.slice(0, 0), twice.slice(6)], NOW)
    assert [one.duplicates for one in made] == [0, 3, 0, 2]
    assert [one.valid.num_rows for one in made] == [40, 40, 0, 35]
