"""The quick way through a contract tells of every row what the thorough way tells of it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.modelspec.contract import Checked, Contract
from driftloop.modelspec.spec import Feature, Spec, Target

NOW = 1_760_000_000_000
FEATURES = (
    Feature(name="bounded", min=-1.0, max=1.0),
    Feature(name="open", nullable=True),
    Feature(name="whole", type="integer", min=0),
    Feature(name="named", type="category", categories=("a", "b"), nullable=True),
    Feature(name="other", type="category", categories=("a", "b"), unseen="accept"),
    Feature(name="flag", type="boolean"),
)
SPEC = Spec(name="m", task="classification", target=Target(classes=("0", "1")), features=FEATURES)
NUMBERS = [0.0, -0.0, 0.5, 1.0, 1.0000001, -2.0, 3e38, 3.4028236e38, 1e300]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
TIMES = pa.timestamp("ms", tz="UTC")


@st.composite
def batches(draw: Any) -> pa.RecordBatch:
    rows = draw(st.integers(1, 12))

    def some(*values: Any, kind: pa.DataType) -> pa.Array:
        each = st.sampled_from([*values, None])
        return pa.array(draw(st.lists(each, min_size=rows, max_size=rows)), kind)

    number = draw(st.sampled_from([pa.float64(), pa.float32()]))
    ids = [f"id-{row}" for row in range(rows - 1)]
    return pa.RecordBatch.from_pydict(
        {
            "event_id": pa.array([*ids, draw(st.sampled_from(["z", "", None, "x" * 300]))]),
            "event_time": some(NOW, NOW - 1, NOW + 10**12, -(10**13), kind=TIMES),
            "bounded": some(*(NUMBERS if number == pa.float64() else NUMBERS[:6]), kind=number),
            "open": some(*NUMBERS, kind=pa.float64()),
            "whole": some(0, 7, -1, 2**53 + 1, kind=pa.int64()),
            "named": some("a", "b", "c", "", kind=pa.string()),
            "other": some("a", "c", kind=pa.string()),
            "flag": some(True, False, kind=pa.bool_()),
        }
    )


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
