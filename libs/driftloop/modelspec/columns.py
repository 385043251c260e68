"""One column of a batch into float32 model input, with what is wrong on which rows."""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.modelspec.findings import Findings, Mask
from driftloop.modelspec.rows import as_text
from driftloop.modelspec.spec import Feature

_NUMBER: Final = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan|inf|infinity))$"
_MILLIS: Final = r"^[+-]?\d{11,}$"
"""Shorter digits may be a date such as 20130101."""
_TIME: Final = pa.timestamp("ms", tz="UTC")
_FIRST: Final = -62_135_596_800_000.0
_LAST: Final = 253_402_300_799_999.0
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


def encode_feature(
    feature: Feature, column: pa.Array | None, rows: int, found: Findings
) -> NDArray[np.float32]:
    """Model input of one feature, shape (rows,); missing is NaN. Problems go to `found`."""
    if column is None:
        if not feature.nullable:
            found.add(feature.name, np.ones(rows, dtype=np.bool_), "is missing", accepted(feature))
        return np.full(rows, np.nan, dtype=np.float32)
    encode = {"category": _category, "boolean": _boolean}.get(feature.type, _number)
    values, missing = encode(feature, column, found)
    if not feature.nullable:
        found.add(feature.name, missing, "is missing", accepted(feature))
    return values


def _number(
    feature: Feature, column: pa.Array, found: Findings
) -> tuple[NDArray[np.float32], Mask]:
    numbers, wrong = to_float(column)
    values = numbers.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    found.add(feature.name, wrong, "is not a number", accepted(feature), column)
    infinite = np.isinf(values)
    found.add(feature.name, infinite, "is infinite", accepted(feature), column)
    with np.errstate(invalid="ignore", over="ignore"):
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
    """The column as float64, null for what is no number, and the mask of what is no number."""
    rows, kind = len(column), column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return column.cast(pa.float64(), safe=False), np.zeros(rows, dtype=np.bool_)
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64()), np.zeros(rows, dtype=np.bool_)
    if pa.types.is_string(kind):
        return _parse_numbers(column)
    return pa.nulls(rows, pa.float64()), column.is_valid().to_numpy(zero_copy_only=False)


def _parse_numbers(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Texts as numbers; an empty text is null. The slow way only where a text is no number."""
    texts = pc.utf8_trim_whitespace(column)
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    try:
        return pc.cast(texts, pa.float64()), np.zeros(len(column), dtype=np.bool_)
    except pa.ArrowInvalid:
        good = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
        numbers = pc.cast(pc.if_else(good, texts, None), pa.float64())
        return numbers, pc.and_not(texts.is_valid(), good).to_numpy(zero_copy_only=False)


def _category(
    feature: Feature, column: pa.Array, found: Findings
) -> tuple[NDArray[np.float32], Mask]:
    texts = as_text(column)
    codes = pc.index_in(texts, value_set=pa.array(feature.categories, pa.string()))
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    unseen = given & ~codes.is_valid().to_numpy(zero_copy_only=False)
    values = codes.cast(pa.float32()).to_numpy(zero_copy_only=False)
    if feature.unseen == "accept":
        values = np.where(unseen, np.float32(UNSEEN), values)
    else:
        found.add(feature.name, unseen, "is not a known category", accepted(feature), column)
    return values, ~given


def _boolean(
    feature: Feature, column: pa.Array, found: Findings
) -> tuple[NDArray[np.float32], Mask]:
    texts = pc.utf8_lower(as_text(column))
    codes = pc.index_in(texts, value_set=pa.array(["false", "true"]))
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    wrong = given & ~codes.is_valid().to_numpy(zero_copy_only=False)
    found.add(feature.name, wrong, "is not a boolean", accepted(feature), column)
    return codes.cast(pa.float32()).to_numpy(zero_copy_only=False), ~given


def to_event_time(column: pa.Array) -> pa.Array:
    """The column as UTC timestamps in milliseconds, null for what cannot be read.

    Accepted are timestamps, dates, ISO 8601 texts (UTC where no zone is given) and whole
    milliseconds since 1970, as numbers or as texts of at least 11 digits.
    """
    kind = column.type
    if kind == _TIME and _in_range(column):
        return column
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _known_time(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _millis(column.cast(pa.float64(), safe=False))
    if not pa.types.is_string(kind):
        return pa.nulls(len(column), _TIME)
    for zone in (None, "UTC"):
        try:
            parsed = column.cast(pa.timestamp("us", tz=zone))
        except pa.ArrowInvalid:
            continue
        return _known_time(parsed)
    column = pc.utf8_trim_whitespace(column)
    digits = pc.fill_null(pc.match_substring_regex(column, _MILLIS), False)
    millis = _millis(pc.cast(pc.if_else(digits, column, None), pa.float64()))
    if pc.all(pc.or_(digits, column.is_null())).as_py():
        return millis
    return pc.coalesce(millis, pa.array([_parse_time(t) for t in column.to_pylist()], _TIME))


def _in_range(column: pa.Array) -> bool:
    ticks = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return bool(((ticks >= _FIRST) & (ticks <= _LAST)).all())


def _known_time(column: pa.Array) -> pa.Array:
    """Timestamps or dates as UTC milliseconds; null outside of the years 1 to 9999."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    ticks, unit = column.cast(pa.int64()), column.type.unit
    if unit in ("us", "ns"):
        ticks = pc.divide(ticks, 1_000 if unit == "us" else 1_000_000)
    ticks = ticks.cast(pa.float64(), safe=False)
    return _millis(pc.multiply(ticks, 1_000.0) if unit == "s" else ticks)


def _millis(millis: pa.Array) -> pa.Array:
    """Numbers of milliseconds as times; null for fractions and outside of the years 1 to 9999."""
    good = pc.and_(pc.greater_equal(millis, _FIRST), pc.less_equal(millis, _LAST))
    good = pc.and_(good, pc.equal(pc.floor(millis), millis))
    return pc.if_else(good, millis, None).cast(pa.int64(), safe=False).cast(_TIME)


def _parse_time(text: str | None) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text or "")
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
