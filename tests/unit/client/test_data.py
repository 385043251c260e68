from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.client.data import batches_of, rows_of
from driftloop.contracts.errors import InvalidInput

WIDE = 1 << 20


async def sizes(data: Any, rows: int, most_bytes: int = WIDE) -> list[int]:
    return [batch.num_rows async for batch in batches_of(data, rows, most_bytes)]


async def values(data: Any, rows: int = 100, most_bytes: int = WIDE) -> list[dict[str, Any]]:
    made = [batch.to_pylist() async for batch in batches_of(data, rows, most_bytes)]
    return [row for part in made for row in part]


class Frame:
    """What every data frame library has, without one of them."""

    def __init__(self, *parts: pa.Table) -> None:
        self._table = pa.concat_tables(parts)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Batch:
    """A record batch of another library."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self._batch.__arrow_c_array__(requested_schema)


async def frames_from_afar() -> AsyncIterator[Frame]:
    for at in range(0, 5, 3):
        yield Frame(pa.table({"a": range(at, min(at + 3, 5))}))


async def from_afar() -> AsyncIterator[dict[str, int]]:
    for number in range(5):
        yield {"a": number}


def one_by_one() -> Iterator[dict[str, int]]:
    yield from ({"a": number} for number in range(5))


ROWS = [{"a": number} for number in range(5)]


async def test_data_of_every_kind_comes_in_batches() -> None:
    table = pa.table({"a": range(5)})
    for data in (
        table,
        table.to_batches()[0],
        Frame(table),
        Frame(*(table.slice(at, 1) for at in range(5))),
        ROWS,
        tuple(ROWS),
        one_by_one(),
        from_afar(),
        table.to_reader(max_chunksize=1),
        Batch(table.to_batches()[0]),
    ):
        assert await sizes(data, 2) == [2, 2, 1]
    assert await values(Frame(table)) == ROWS
    assert await values({"a": 1}) == [{"a": 1}]


async def test_frames_may_come_one_after_another() -> None:
    table = pa.table({"a": range(5)})
    parts = [table.slice(0, 3), table.slice(3)]
    for data in (
        parts,
        iter(parts),
        [Frame(part) for part in parts],
        (Batch(part.to_batches()[0]) for part in parts),
        frames_from_afar(),
    ):
        made = [batch async for batch in batches_of(data, 2, WIDE)]
        assert [batch.num_rows for batch in made] == [2, 1, 2]
        assert [value for batch in made for value in batch.column("a").to_pylist()] == [*range(5)]


async def test_the_types_of_other_libraries_become_plain_ones() -> None:
    words = pa.array(["x", None, "y"])
    frame = Frame(
        pa.table(
            {
                "large": words.cast(pa.large_string()),
                "view": words.cast(pa.string_view()),
                "category": words.cast(pa.large_string()).dictionary_encode(),
                "viewed": pa.DictionaryArray.from_arrays(
                    pa.array([0, None, 1], pa.uint32()), pa.array(["x", "y"]).cast(pa.string_view())
                ),
                "small": pa.array([1, None, 2], pa.uint8()),
                "half": pa.array([0.5, None, 2], pa.float16()),
            }
        )
    )
    (made,) = [batch async for batch in batches_of(frame, 10, WIDE)]
    assert [str(kind) for kind in made.schema.types] == [*["string"] * 4, "uint8", "float"]
    assert all(made.column(name).equals(words) for name in ("large", "view", "category", "viewed"))
    assert made.column("half").to_pylist() == [0.5, None, 2.0]


async def test_frames_are_read_one_at_a_time() -> None:
    read = 0

    def source() -> Iterator[Frame]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield Frame(pa.table({"a": [1, 2]}))

    made = batches_of(source(), 100, WIDE)
    await anext(made)
    assert read == 1


async def test_rows_and_frames_do_not_mix() -> None:
    frame = Frame(pa.table({"a": [1]}))

    async def both() -> AsyncIterator[Any]:
        yield {"a": 1}
        yield frame

    for data in ([{"a": 1}, frame], both()):
        with pytest.raises(InvalidInput, match="is no row; accepted: a mapping of field and value"):
            await sizes(data, 5)


@given(st.lists(st.integers(0, 9), max_size=5), st.integers(1, 12), st.integers(40, 400))
@settings(deadline=None, max_examples=60)
async def test_no_row_is_lost_whatever_the_chunks(
    chunks: list[int], rows: int, most_bytes: int
) -> None:
    numbers = iter(range(1000))
    parts = [
        pa.table({"a": pa.array([next(numbers) for _ in range(n)], pa.int64())}) for n in chunks
    ]
    frame = Frame(pa.table({"a": pa.array([], pa.int64())}), *parts)
    made = [batch async for batch in batches_of(frame, rows, most_bytes)]
    found = [value for batch in made for value in batch.column("a").to_pylist()]
    assert found == list(range(sum(chunks)))
    assert all(0 < batch.num_rows <= rows and batch.nbytes <= most_bytes for batch in made)


async def test_no_rows_are_no_batches() -> None:
    nothing: tuple[Any, ...] = ([], pa.table({"a": []}), Frame(pa.table({"a": []})), iter(()))
    for data in nothing:
        assert await sizes(data, 2) == []


async def test_the_index_of_pandas_is_left_out() -> None:
    frame = Frame(pa.table({"a": [1], "__index_level_0__": [7]}))
    assert await values(frame) == [{"a": 1}]


@pytest.mark.parametrize("data", [7, "text", b"bytes", None])
async def test_what_holds_no_rows_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="holds no rows; accepted: a data frame, a pyarrow"):
        await sizes(data, 2)


@pytest.mark.parametrize("data", [[1], ["ab"], [[("a", 1)]]])
async def test_a_row_that_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="is no row; accepted: a mapping of field and value"):
        await sizes(data, 2)


async def test_rows_by_name_keep_each_value_as_it_is() -> None:
    given = [{"a": 1, "b": "x"}, {"a": "gale"}]
    assert [row async for row in rows_of(given)] == given
    assert [row async for row in rows_of(pa.table({"a": [1, 2]}))] == [{"a": 1}, {"a": 2}]
    assert [row async for row in rows_of({"a": np.float32(1)})] == [{"a": 1.0}]
