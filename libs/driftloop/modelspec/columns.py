"""One column of a batch into float32 model input, with what is wrong on which rows; no loop over values."""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.modelspec.findings import Findings, Mask
from driftloop.modelspec.spec import Feature

_NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
UNSEEN: Final = -1.0


def accepted(feature: Feature) -> str:
    """What a value of this feature may be, in words."""
    if feature.type == "category":
        shown = ", ".join(feature.categories[:12])
        said = f"one of {shown}{', ...' if len(feature.categories) > 12 else ''}"
    elif feature.type == "boolean":
        said = "true or false"
    else:
        said = "a whole number" if feature.type == "integer" else "a finite number"
        low, high = feature.min, feature.max
        if low is not None and high is not None:
            said += f" from {low:g} to {high:g}"
        elif low is not None:
            said += f" from {low:g}"
        elif high is not None:
            said += f" up to {high:g}"
    return f"{said}, or null" if feature.nullable else said


def encode_feature(feature: Feature, column: pa.Array | None, rows: int, found: Findings) -> NDArray[np.float32]:
    """Model input of one feature, shape (rows,); missing is NaN. Problems go to `found`."""
    if column is None:
        if not feature.nullable:
            found.add(feature.name, np.ones(rows, dtype=np.bool_), "is missing", accepted(feature))
        return np.full(rows, np.nan, dtype=np.float32)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    encode = {"category": _category, "boolean": _boolean}.get(feature.type, _number)
    values, missing = encode(feature, column, found)
    if not feature.nullable:
        found.add(feature.name, missing, "is missing", accepted(feature))
    return values


def _number(feature: Feature, column: pa.Array, found: Findings) -> tuple[NDArray[np.float32], Mask]:
    numbers, wrong = to_float(column)
    values = numbers.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    found.add(feature.name, wrong, "is not a number", accepted(feature), column)
    infinite = np.isinf(values)
    found.add(feature.name, infinite, "is infinite", accepted(feature), column)
    with np.errstate(invalid="ignore"):
        outside = np.zeros(len(values), dtype=np.bool_)
        if feature.min is not None:
            outside |= values < feature.min
        if feature.max is not None:
            outside |= values > feature.max
        found.add(feature.name, outside & ~infinite, "is out of range", accepted(feature), column)
        if feature.type == "integer":
            broken = ~infinite & (values != np.floor(values)) & ~np.isnan(values)
            found.add(feature.name, broken, "is not a whole number", accepted(feature), column)
        narrow = values.astype(np.float32)
    too_large = np.isinf(narrow) & ~infinite
    found.add(feature.name, too_large & ~outside, "does not fit float32", accepted(feature), column)
    return narrow, np.isnan(values) & ~wrong


def to_float(column: pa.Array) -> tuple[pa.Array, Mask]:
    """The column as float64 with null for what is no number, and the mask of values that are no number."""
    rows, kind = len(column), column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return column.cast(pa.float64(), safe=False), np.zeros(rows, dtype=np.bool_)
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64()), np.zeros(rows, dtype=np.bool_)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        given = pc.and_(column.is_valid(), pc.not_equal(pc.utf8_trim_whitespace(column), ""))
        given = pc.fill_null(given, False)
        good = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
        numbers = pc.cast(pc.utf8_trim_whitespace(pc.if_else(good, column, None)), pa.float64())
        return numbers, pc.and_not(given, good).to_numpy(zero_copy_only=False)
    return pa.nulls(rows, pa.float64()), column.is_valid().to_numpy(zero_copy_only=False)


def _category(feature: Feature, column: pa.Array, found: Findings) -> tuple[NDArray[np.float32], Mask]:
    texts = _to_text(column)
    codes = pc.index_in(texts, value_set=pa.array(feature.categories, pa.string()))
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    unseen = given & ~codes.is_valid().to_numpy(zero_copy_only=False)
    values = codes.cast(pa.float32()).to_numpy(zero_copy_only=False)
    if feature.unseen == "accept":
        values = np.where(unseen, np.float32(UNSEEN), values)
    else:
        found.add(feature.name, unseen, "is not a known category", accepted(feature), column)
    return values, ~given


def _to_text(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
    except pa.ArrowNotImplementedError:
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())


def _boolean(feature: Feature, column: pa.Array, found: Findings) -> tuple[NDArray[np.float32], Mask]:
    texts = pc.utf8_lower(_to_text(column))
    codes = pc.index_in(texts, value_set=pa.array(["false", "true"]))
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    wrong = given & ~codes.is_valid().to_numpy(zero_copy_only=False)
    found.add(feature.name, wrong, "is not a boolean", accepted(feature), column)
    return codes.cast(pa.float32()).to_numpy(zero_copy_only=False), ~given


def to_event_time(column: pa.Array) -> pa.Array:
    """The column as UTC timestamps in milliseconds, null for what cannot be read.

    Accepted are timestamps, dates, ISO 8601 texts (UTC where no zone is given) and whole milliseconds since 1970.
    """
    target = pa.timestamp("ms", tz="UTC")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        return column.cast(target, safe=False)
    if pa.types.is_date(column.type):
        return pc.assume_timezone(column.cast(pa.timestamp("ms")), "UTC")
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64()).cast(target)
    if not pa.types.is_string(column.type):
        return pa.nulls(len(column), target)
    for zone in (None, "UTC"):
        try:
            parsed = column.cast(pa.timestamp("us", tz=zone))
        except pa.ArrowInvalid:
            continue
        return (parsed if zone else pc.assume_timezone(parsed, "UTC")).cast(target, safe=False)
    return pa.array([_parse_time(text) for text in column.to_pylist()], target)


def _parse_time(text: str | None) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
