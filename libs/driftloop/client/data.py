"""Whatever a producer holds its rows in, as column batches of bounded size."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import to_batch
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.rows import from_dicts, plain

Row = Mapping[str, Any]
Data = Any
"""A pandas or Polars data frame (anything with `__arrow_c_stream__`), a pyarrow Table or
RecordBatch, or an iterable, also an asynchronous one, of mappings. One mapping is one row.
"""

_PART: Final = 1024
_INDEX: Final = "__index_level_"
_ACCEPTED: Final = "a data frame, a pyarrow Table or RecordBatch, or an iterable of mappings"


async def batches_of(data: Data, rows: int, most_bytes: int) -> AsyncIterator[pa.RecordBatch]:
    """`data` in order as batches of at most `rows` rows and `most_bytes` bytes."""
    if isinstance(data, AsyncIterable):
        async for chunk in _chunks(data, rows):
            for batch in _fitting(from_dicts(chunk), rows, most_bytes):
                yield batch
        return
    for part in _parts(data, rows):
        for batch in _fitting(plain(part), rows, most_bytes):
            yield batch


async def rows_of(data: Data) -> AsyncIterator[Row]:
    """`data` in order as mappings of name and value."""
    if isinstance(data, Mapping):
        yield data
    elif isinstance(data, AsyncIterable):
        async for row in data:
            yield _row(row)
    elif isinstance(data, Iterable) and not hasattr(data, "__arrow_c_stream__"):
        for row in data:
            yield _row(row)
    else:
        for part in _parts(data, _PART):
            for row in plain(part).to_pylist():
                yield row


def plain_value(value: Any) -> Any:
    """A value MessagePack does not know as one it does."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _parts(data: Data, rows: int) -> Iterator[pa.RecordBatch]:
    if isinstance(data, Mapping):
        data = [data]
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, pa.Table):
        for start in range(0, data.num_rows, rows):
            yield to_batch(data.slice(start, rows))
    elif hasattr(data, "__arrow_c_stream__"):
        yield from _frame(pa.RecordBatchReader.from_stream(data), rows)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        source = iter(data)
        while chunk := list(islice(source, rows)):
            yield from_dicts([_row(row) for row in chunk])
    else:
        raise InvalidInput(f"data: {type(data).__name__} holds no rows; accepted: {_ACCEPTED}")


def _frame(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
    """The batches of a data frame, short ones joined, without the index that pandas adds."""
    names = [name for name in reader.schema.names if not name.startswith(_INDEX)]
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch.select(names))
        if sum(part.num_rows for part in held) >= rows:
            yield to_batch(pa.Table.from_batches(held))
            held = []
    if held:
        yield to_batch(pa.Table.from_batches(held))


def _fitting(batch: pa.RecordBatch, rows: int, most_bytes: int) -> Iterator[pa.RecordBatch]:
    if batch.num_rows > rows:
        for start in range(0, batch.num_rows, rows):
            yield from _fitting(batch.slice(start, rows), rows, most_bytes)
    elif batch.nbytes <= most_bytes or batch.num_rows == 1:
        if batch.num_rows:
            yield batch
    else:
        half = batch.num_rows // 2
        yield from _fitting(batch.slice(0, half), rows, most_bytes)
        yield from _fitting(batch.slice(half), rows, most_bytes)


def _row(row: Any) -> Row:
    if not isinstance(row, Mapping):
        shown = f"{row!r:.80}"
        raise InvalidInput(f"data: {shown} is no row; accepted: a mapping of field and value")
    return row


async def _chunks(data: AsyncIterable[Any], rows: int) -> AsyncIterator[list[Row]]:
    chunk: list[Row] = []
    async for row in data:
        chunk.append(_row(row))
        if len(chunk) == rows:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
