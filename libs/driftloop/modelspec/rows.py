"""Rows as producers have them into a batch of plain columns; no value is judged here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.contracts.errors import InvalidInput

MOST_CELLS: Final = 8_000_000
"""Rows times columns: many rows that each name another field would fill the memory."""

_UNLIKE: Final = (pa.ArrowException, OverflowError, TypeError, ValueError)
"""What pyarrow raises for values that do not share a type."""
_EXACT: Final = 2.0**53
MOST_COLUMNS: Final = 2_000
MOST_NAME: Final = 256
"""Characters of a column's name."""


def lenient_json(text: bytes) -> Any:
    """JSON whose numbers may be beyond every float, such as 1e999: these are read as infinite.

    The contract then tells which field of which row it was. Raises `ValueError`.
    """
    return json.loads(text, parse_int=_integer, parse_constant=_no_constant)


def _integer(digits: str) -> int | float:
    """Python refuses to read integers of thousands of digits, which no column holds anyway."""
    return int(digits) if len(digits) < 400 else float(digits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def from_dicts(rows: Sequence[Mapping[str, object]]) -> pa.RecordBatch:
    """A batch of `rows` with a column for every name in any of them; what a row lacks is null.

    Values of one column that share no type become texts: one bad value cannot spoil the batch.
    """
    alike = _alike(rows)
    names = list(rows[0] if alike else dict.fromkeys(chain.from_iterable(rows)))
    check_names(names)
    if len(names) * len(rows) > MOST_CELLS:
        raise InvalidInput(
            f"rows: {len(rows)} rows name {len(names)} fields; accepted: at most {MOST_CELLS} cells"
        )
    if alike and len(names) > 1:  # in one go, which takes half the time
        columns: Iterable[Sequence[object]] = zip(*map(itemgetter(*names), rows), strict=True)
    else:
        columns = ([row.get(name) for row in rows] for name in names)
    return pa.RecordBatch.from_arrays([column(values) for values in columns], names)


def _alike(rows: Sequence[Mapping[str, object]]) -> bool:
    """Whether all are plain dicts with the same names."""
    if not rows or set(map(type, rows)) != {dict}:
        return False
    names = rows[0].keys()
    return all(row.keys() == names for row in rows)


def check_names(names: Sequence[object]) -> None:
    """Raise `InvalidInput` unless these can name the columns of one batch."""
    if not names:
        raise InvalidInput("rows: no row has a field; accepted: one or more objects with fields")
    if len(names) > MOST_COLUMNS:
        raise InvalidInput(
            f"columns: {len(names)} different names; accepted: at most {MOST_COLUMNS}"
        )
    for name in names:
        if not isinstance(name, str) or len(name) > MOST_NAME:
            shown = f"{name!r:.80}"
            raise InvalidInput(
                f"columns: {shown} cannot name one;"
                f" accepted: texts of at most {MOST_NAME} characters"
            )
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InvalidInput(f"columns: {twice!r} stands there twice; accepted: different names")


def column(values: Sequence[object]) -> pa.Array:
    """The values as one column of the type they share; as texts where they share none.

    `msgspec.UNSET` is null, as None is.
    """
    try:
        made = pa.array(values)
    except _UNLIKE:
        if any(value is msgspec.UNSET for value in values):
            return column([None if value is msgspec.UNSET else value for value in values])
        made = None
    if made is None or pa.types.is_nested(made.type) or _hides_booleans(made, values):
        return pa.array([text(value) for value in values], pa.string())
    return plain_column(made)


def _hides_booleans(made: pa.Array, values: Sequence[object]) -> bool:
    """Whether Arrow took a boolean for 0 or 1, as it does behind a float: `[0.5, True]`."""
    if not pa.types.is_floating(made.type):
        return False
    numbers = made.to_numpy(zero_copy_only=False)
    return bool(((numbers == 0) | (numbers == 1)).any()) and bool in set(map(type, values))


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` in columns of numbers, booleans, times and texts; anything else becomes text."""
    names = batch.schema.names
    check_names(names)
    if all(_is_plain(kind) for kind in batch.schema.types):
        return batch
    return pa.RecordBatch.from_arrays([plain_column(c) for c in batch.columns], names)


def plain_column(column: pa.Array) -> pa.Array:
    """`column` as one of the types a contract knows."""
    kind = column.type
    if _is_plain(kind):
        return column
    if isinstance(kind, pa.BaseExtensionType):
        return plain_column(column.storage)
    if pa.types.is_dictionary(kind):
        return plain_column(column.dictionary).take(column.indices)
    if pa.types.is_run_end_encoded(kind):
        try:
            return plain_column(pc.run_end_decode(column))
        except pa.ArrowNotImplementedError:  # of texts as views
            return as_text(column)
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    return as_text(column)


def as_text(column: pa.Array) -> pa.Array:
    """The column as texts, null where it is null; never fails.

    A whole number reads the same whether it came as 7 or as 7.0.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), _EXACT))
        whole_numbers = pc.if_else(whole, column, None).cast(pa.int64())
        return pc.coalesce(whole_numbers.cast(pa.string()), column.cast(pa.string()))
    try:
        return column.cast(pa.string())
    except (pa.ArrowException, NotImplementedError):
        return pa.array([None if v is None else text(v) for v in _values(column)], pa.string())


def text(value: Any) -> str | None:
    """One value as text: JSON for what has parts, and None for None."""
    if value is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (msgspec.MsgspecError, *_UNLIKE, RecursionError):
        return str(value).encode("utf-8", "replace").decode()


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_float32(kind)
        or types.is_float64(kind)
        or types.is_decimal(kind)
        or types.is_timestamp(kind)
        or types.is_date(kind)
    )


def _values(column: pa.Array) -> list[object]:
    """The values one at a time; where Python cannot hold one of them, what they are."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types
    except _UNLIKE:
        return [
            f"{column.type} value" if valid else None for valid in column.is_valid().to_pylist()
        ]
