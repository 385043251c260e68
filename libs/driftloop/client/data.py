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
"""A frame, one row, or an iterable, also an asynchronous one, of frames or of rows.

A frame is what has the Arrow C interface (`__arrow_c_stream__` or `__arrow_c_array__`): a pandas or
Polars data frame, a pyarrow Table, RecordBatch or RecordBatchReader. A row is a mapping.
"""

_PART: Final = 1024
_INDEX: Final = "__index_level_"
_ACCEPTED: Final = (
    "a data frame, a pyarrow Table or RecordBatch, or an iterable of mappings or frames"
)
_STREAM, _ARRAY = "__arrow_c_stream__", "__arrow_c_array__"


async def batches_of(data: Data, rows: int, most_bytes: int) -> AsyncIterator[pa.RecordBatch]:
    """`data` in order as batches of at most `rows` rows and `most_bytes` bytes."""
    if isinstance(data, AsyncIterable):
        async for chunk in _chunks(data, rows):
            for part in _parts(chunk, rows):
                for batch in _fitting(plain(part), rows, most_bytes):
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
    elif isinstance(data, Iterable) and not _is_frame(data):
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
    elif hasattr(data, _STREAM):
        yield from _frame(pa.RecordBatchReader.from_stream(data), rows)
    elif hasattr(data, _ARRAY):
        yield pa.record_batch(data)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        yield from _items(iter(data), rows)
    else:
        raise InvalidInput(f"data: {type(data).__name__} holds no rows; accepted: {_ACCEPTED}")


def _items(source: Iterator[Any], rows: int) -> Iterator[pa.RecordBatch]:
    """Frames one after another, or rows in chunks; what the first one is, all are."""
    for first in source:
        if _is_frame(first):
            yield from _parts(first, rows)
        else:
            chunk = [_row(first), *(_row(row) for row in islice(source, rows - 1))]
            yield from_dicts(chunk)


def _is_frame(data: Any) -> bool:
    return hasattr(data, _STREAM) or hasattr(data, _ARRAY)


def _frame(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
    """The batches of a data frame, short ones joined, without the index that pandas adds."""
    names = [name for name in reader.schema.names if not name.startswith(_INDEX)]
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        held.append(batch.select(names))
        count += batch.num_rows
        if count >= rows:
            yield to_batch(pa.Table.from_batches(held))
            held, count = [], 0
    if held:
        yield to_batch(pa.Table.from_batches(held))


def _fitting(batch: pa.RecordBatch, rows: int, most_bytes: int) -> Iterator[pa.RecordBatch]:
    # What a slice has in bytes takes long to say, so it is asked of many rows at once.
    if batch.num_rows <= 1 or batch.nbytes <= most_bytes:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
    else:
        half = batch.num_rows // 2
        if batch.num_rows > rows:  # at the end of a batch
            half = max(rows, half - half % rows)
        yield from _fitting(batch.slice(0, half), rows, most_bytes)
        yield from _fitting(batch.slice(half), rows, most_bytes)


def _row(row: Any) -> Row:
    if not isinstance(row, Mapping):
        shown = f"{row!r:.80}"
        raise InvalidInput(f"data: {shown} is no row; accepted: a mapping of field and value")
    return row


async def _chunks(data: AsyncIterable[Any], rows: int) -> AsyncIterator[list[Any]]:
    """As many rows as make a batch, or one frame."""
    chunk: list[Any] = []
    async for item in data:
        chunk.append(item)
        if len(chunk) == rows or _is_frame(item):
            yield chunk
            chunk = []
    if chunk:
        yield chunk
