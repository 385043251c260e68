"""Rows as JSON texts, for people and for a replay; many at once, for bad rows come in numbers."""

import json
from functools import lru_cache
from math import isfinite
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from driftloop.modelspec.findings import Mask
from driftloop.modelspec.values import listed, shown

MOST_ROW_TEXT: Final = 16_384
"""Characters of a row as JSON; a longer one is cut."""
_CHUNK: Final = 256
_ALIKE: Final = 1e15
"""Numbers below this read the same from each of the writers."""
_MOST_FIELDS: Final = 256
_lines: Final = msgspec.json.Encoder().encode_lines


def rows_as_json(rows: pa.RecordBatch) -> list[str]:
    """Each row as JSON, for a person and a replay; NaN and infinity as Python writes them."""
    columns, names = [shown(column) for column in rows.columns], tuple(rows.schema.names)
    if not columns:
        return ["{}"] * rows.num_rows
    record = _record(names)
    made = []
    for start in range(0, rows.num_rows, _CHUNK):  # bounds the Python objects alive at once
        odd: Mask = np.zeros(min(_CHUNK, rows.num_rows - start), dtype=np.bool_)
        values = [_values(column.slice(start, _CHUNK), odd) for column in columns]
        each = list(zip(*values, strict=True))
        records = [dict(zip(names, r, strict=True)) if record is None else record(*r) for r in each]
        texts = _lines(records).decode().split("\n")[:-1]
        for at in np.flatnonzero(odd).tolist():
            texts[at] = _json(dict(zip(names, each[at], strict=True)))
        made += [text[:MOST_ROW_TEXT] for text in texts]
    return made


def _values(column: pa.Array, odd: Mask) -> list[Any]:
    """The values; `odd` becomes true for rows with NaN, an infinite or a very large number."""
    if not pa.types.is_floating(column.type):
        return listed(column)
    numbers = column.to_numpy(zero_copy_only=False)
    values: list[Any] = numbers.tolist()
    beyond = ~(np.abs(numbers) < _ALIKE)
    if column.null_count:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        beyond &= ~missing
        for at in np.flatnonzero(missing).tolist():
            values[at] = None
    odd |= beyond
    return values


@lru_cache(maxsize=64)
def _record(names: tuple[str, ...]) -> type[msgspec.Struct] | None:
    """What is filled and written sooner than a dict; None where a name cannot be one of a field."""
    fields = [f"f{at}" for at in range(len(names))]
    if len(names) > _MOST_FIELDS:
        return None
    try:
        return msgspec.defstruct("Row", fields, rename=dict(zip(fields, names, strict=True)))
    except ValueError:
        return None


def _json(row: dict[str, Any]) -> str:
    if all(isfinite(value) for value in row.values() if isinstance(value, float)):
        return orjson.dumps(row, default=str).decode()
    return json.dumps(row, default=str, ensure_ascii=False, separators=(",", ":"))
