"""What the columns of a data file hold: kind, range, distinct values; pure."""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.cli.files import MISSING
from driftloop.modelspec.columns import to_event_time, to_float
from driftloop.modelspec.rows import as_text

Kind = Literal["empty", "integer", "number", "boolean", "time", "text"]

KEPT_VALUES: Final = 50
_WHOLE: Final = r"^\s*[+-]?\d+\s*$"
_CODE: Final = r"^0\d"
_NAMED_TIME: Final = ("time", "date", "timestamp", "ts", "_at")
_MILLIS: Final = (10**11, 10**13)
"""Whole numbers in this range are milliseconds between 1973 and 2286, if the name says so."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A column: its range (of times in milliseconds), its distinct values if they are few."""

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    low: float = 0.0
    high: float = 0.0
    p05: float = 0.0
    p95: float = 0.0
    ordered: bool = False
    values: tuple[str, ...] = ()

    @property
    def unique(self) -> bool:
        """Whether each row has its own value."""
        return self.missing == 0 and self.distinct == self.rows

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.kind in ("integer", "number")


def profiles(table: pa.Table) -> Iterator[Profile]:
    """A profile of each column."""
    for name in table.column_names:
        yield profile(name, table.column(name).combine_chunks())


def profile(name: str, column: pa.Array) -> Profile:
    """What one column holds."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    given = _blank(column)
    if given.null_count == len(given):
        return Profile(name=name, kind="empty", rows=len(column), missing=len(column), distinct=0)
    times = _times(name, given)
    if times is not None:
        return _measured(name, "time", given, times.cast(pa.int64()).cast(pa.float64()))
    numbers = _numbers(given)
    if numbers is not None:
        whole = _whole(given)
        return _measured(name, "integer" if whole else "number", given, numbers)
    # Not a number: `NA` may be a name here, so only what is empty is missing.
    values = pc.unique(as_text(column).drop_null())
    boolean = (
        set(pc.utf8_lower(values).to_pylist()) <= {"true", "false"} if len(values) <= 4 else False
    )
    return Profile(
        name=name,
        kind="boolean" if boolean else "text",
        rows=len(column),
        missing=column.null_count,
        distinct=len(values),
        values=_few(values),
    )


def without_missing_words(column: pa.Array) -> pa.Array:
    """A column of texts with null for the words that stand for a missing value."""
    return pc.if_else(
        pc.is_in(column, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), column
    )


def _blank(column: pa.Array) -> pa.Array:
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    return without_missing_words(column) if pa.types.is_string(column.type) else column


def _measured(name: str, kind: Kind, given: pa.Array, numbers: pa.Array) -> Profile:
    values = numbers.drop_null().to_numpy(zero_copy_only=False)
    values = values[np.isfinite(values)]
    distinct = pc.unique(given.drop_null())
    low, p05, p95, high = (
        np.quantile(values, [0, 0.05, 0.95, 1]).tolist() if len(values) else (0.0,) * 4
    )
    return Profile(
        name=name,
        kind=kind,
        rows=len(given),
        missing=len(given) - len(values),
        distinct=len(distinct),
        low=low,
        high=high,
        p05=p05,
        p95=p95,
        ordered=bool(np.all(np.diff(values) >= 0)),
        values=_few(as_text(distinct)),
    )


def _few(values: pa.Array) -> tuple[str, ...]:
    if len(values) > KEPT_VALUES:
        return ()
    return tuple(sorted((str(v) for v in values.to_pylist()), key=_natural))


def _natural(value: str) -> tuple[int, float, str]:
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)


def _times(name: str, given: pa.Array) -> pa.Array | None:
    """The column as UTC milliseconds if all of it are times."""
    kind = given.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return to_event_time(given)
    named = any(part in name.lower() for part in _NAMED_TIME)
    numbers = _numbers(given)
    if numbers is not None:
        bounds = pc.min_max(numbers).as_py()
        millis = (
            named and _whole(given) and _MILLIS[0] <= bounds["min"] <= bounds["max"] < _MILLIS[1]
        )
        return to_event_time(numbers.cast(pa.int64())) if millis else None
    if not pa.types.is_string(kind):
        return None
    first = given.drop_null().slice(0, 20)
    if to_event_time(first).null_count:
        return None
    times = to_event_time(given)
    return times if times.null_count == given.null_count else None


def _numbers(given: pa.Array) -> pa.Array | None:
    """The column as float64 if all of it are numbers; codes such as 007 are none."""
    if pa.types.is_boolean(given.type):
        return None
    if pa.types.is_string(given.type) and pc.any(pc.match_substring_regex(given, _CODE)).as_py():
        return None
    numbers, wrong = to_float(given)
    return None if wrong.any() else numbers


def _whole(given: pa.Array) -> bool:
    if pa.types.is_string(given.type):
        return bool(pc.all(pc.match_substring_regex(given, _WHOLE)).as_py())
    return bool(pa.types.is_integer(given.type))
