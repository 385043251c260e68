"""Batches of several requests as one; what a value means to the contract does not change by it."""

import contextlib
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from driftloop.contracts.batches import to_batch
from driftloop.modelspec.rows import as_text

MOST_NAMES: Final = 256
"""Columns of a merged batch: requests that name ever new ones must not multiply each other."""


def fits(names: set[str], batch: pa.RecordBatch) -> bool:
    """Whether `batch` can join batches that have columns of these names."""
    union = names.union(batch.schema.names)
    return len(union) <= max(MOST_NAMES, len(names))


def merged(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of all `parts` in order; a column that a part lacks is null on its rows."""
    if len(parts) == 1:
        return parts[0]
    if all(part.schema.equals(parts[0].schema) for part in parts[1:]):
        return to_batch(pa.Table.from_batches(parts))
    names = list(dict.fromkeys(name for part in parts for name in part.schema.names))
    return pa.RecordBatch.from_arrays([_column(parts, name) for name in names], names)


def _column(parts: Sequence[pa.RecordBatch], name: str) -> pa.Array:
    columns = [part.column(name) if name in part.schema.names else None for part in parts]
    types = {column.type for column in columns if column is not None} - {pa.null()}
    if len(types) > 1:
        columns = _alike(columns)
        types = {column.type for column in columns if column is not None}
    kind = types.pop() if types else pa.null()
    return pa.concat_arrays(
        [
            pa.nulls(part.num_rows, kind) if column is None else column.cast(kind)
            for part, column in zip(parts, columns, strict=True)
        ]
    )


def _alike(columns: list[pa.Array | None]) -> list[pa.Array | None]:
    """Columns of different types as one: whole numbers among floats, anything else as texts."""
    given = [column for column in columns if column is not None]
    if all(_is_number(column.type) for column in given):
        with contextlib.suppress(pa.ArrowInvalid):  # a whole number that no float holds
            return [column if column is None else column.cast(pa.float64()) for column in columns]
    return [column if column is None else as_text(column) for column in columns]


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))
