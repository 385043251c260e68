import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contracts.errors import InvalidInput
from driftloop.ingest.domain.rows import named, pieces
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.rows import from_dicts

SPEC = from_dict(
    {"name": "m", "task": "regression", "features": [{"name": "a"}], "columns": {"event_id": "id"}}
)


def ids(batch: str, *parts: pa.RecordBatch) -> list[str]:
    made = named(SPEC, batch, parts)
    return [value for part in made for value in part.column("id").to_pylist()]


def test_a_row_without_an_id_gets_one_that_a_retry_gets_again() -> None:
    parts = (from_dicts([{"a": 1}, {"a": 2}]), from_dicts([{"a": 3, "id": None}, {"id": ""}]))
    minted = ids("b1", *parts)
    assert len(set(minted)) == 4
    assert ids("b1", *parts) == minted
    assert not set(ids("b2", *parts)) & set(minted)


def test_an_id_that_is_given_is_kept_as_text() -> None:
    part = from_dicts([{"id": 7, "a": 1}, {"id": None, "a": 2}])
    first, second = ids("b", part)
    assert first == "7"
    assert second not in ("7", "", None)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 20), st.integers(80, 400)
)
@settings(deadline=None, max_examples=50)
def test_pieces_are_the_same_rows_within_the_bounds(
    sizes: list[int], most_rows: int, most_bytes: int
) -> None:
    numbers, parts = iter(range(1000)), []
    for size in sizes:
        parts.append(from_dicts([{"a": next(numbers), "b": "x" * 20} for _ in range(size)]))
    made = list(pieces(parts, most_rows, most_bytes))
    assert [v for part in made for v in part.column("a").to_pylist()] == list(range(sum(sizes)))
    assert all(part.num_rows <= most_rows and part.nbytes <= most_bytes for part in made)


def test_a_row_larger_than_a_batch_may_be_is_refused() -> None:
    parts = [from_dicts([{"a": "x" * 5000}, {"a": "y"}])]
    with pytest.raises(InvalidInput, match=r"rows: one has 5.* bytes; accepted: at most 1000"):
        list(pieces(parts, 10, 1000))
