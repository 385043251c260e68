"""Bodies in the four formats as batches of columns; an error says where the body is wrong."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import msgspec
import pyarrow as pa
from pyarrow import csv

from driftloop.contracts import batches
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.headers import ARROW
from driftloop.modelspec.rows import from_dicts
from driftloop.runtime.problems import TooLarge, UnsupportedType

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
CHUNK_ROWS: Final = 8192
"""Rows turned into columns at once; a value of an odd type makes texts of its own chunk alone."""

Row = dict[str, Any]
Reader = Callable[[bytes, str, int], list[pa.RecordBatch]]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(Row)
_rows = msgspec.json.Decoder(list[Row])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(content_type: str, body: bytes, what: str, most: int) -> list[pa.RecordBatch]:
    """The `what` (rows or labels) in `body`, at most `most` of them, in one or more batches."""
    kind = content_type.partition(";")[0].strip().lower()
    reader = _READERS.get(kind)
    if reader is None:
        accepted = ", ".join(_READERS)
        raise UnsupportedType(f"content-type: {kind[:80]!r} is not read here; accepted: {accepted}")
    if not body or body.isspace():
        raise InvalidInput(f"{what}: the body is empty; accepted: one or more")
    made = reader(body, what, most)
    rows = sum(batch.num_rows for batch in made)
    if rows == 0:
        raise InvalidInput(f"{what}: there is none; accepted: one or more")
    if rows > most:
        _too_many(what, most)
    return made


def _json(body: bytes, what: str, most: int) -> list[pa.RecordBatch]:
    if body.count(b"{") > most + 1:  # looked up first: a decoded row takes far more memory
        _too_many(what, most)
    if body.lstrip()[:1] != b"{":
        return _columns(_list(body, what))
    try:
        given = _object.decode(body)
    except _UNREADABLE as error:
        _not_json(body, "body", error)
    if list(given) == [what]:
        return _columns(_list(bytes(given[what]), what))
    return _columns(_list(b"[" + body + b"]", what))


def _ndjson(body: bytes, what: str, most: int) -> list[pa.RecordBatch]:
    if body.count(b"{") > most:
        _too_many(what, most)
    try:
        return _columns(_row.decode_lines(body))
    except _UNREADABLE:
        lines = [line for line in body.splitlines() if line.strip()]
        return _columns([_one(line, f"{what} line {at}") for at, line in enumerate(lines, 1)])


def _csv(body: bytes, what: str, most: int) -> list[pa.RecordBatch]:
    """Every value as the text it is: what a text means is for the spec to say."""
    convert = csv.ConvertOptions(
        default_column_type=pa.string(), null_values=[""], strings_can_be_null=True
    )
    parse = csv.ParseOptions(newlines_in_values=True)
    reading = csv.ReadOptions(use_threads=False, block_size=max(1 << 20, len(body)))
    try:
        table = csv.read_csv(pa.BufferReader(body), reading, parse, convert)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Reject(f"body: {error}; accepted: CSV with a header line, in UTF-8") from error
    return [batches.to_batch(table)]


def _arrow(body: bytes, what: str, most: int) -> list[pa.RecordBatch]:
    return [batches.decode(body)]


_READERS: Final[dict[str, Reader]] = {JSON: _json, NDJSON: _ndjson, ARROW: _arrow, CSV: _csv}
ACCEPTED: Final = tuple(_READERS)


def _columns(rows: Sequence[Row]) -> list[pa.RecordBatch]:
    return [from_dicts(rows[at : at + CHUNK_ROWS]) for at in range(0, len(rows), CHUNK_ROWS)]


def _list(text: bytes, what: str) -> list[Row]:
    """A JSON list of objects."""
    try:
        return _rows.decode(text)
    except _UNREADABLE as error:
        first = error
    try:
        values = _values.decode(text)
    except msgspec.ValidationError:
        shown = text.strip()[:80].decode("utf-8", "replace")
        raise InvalidInput(
            f'{what}: {shown} is no list; accepted: a list of objects, {{"{what}": [...]}} or one object'
        ) from first
    except _UNREADABLE as error:
        _not_json(text, "body", error)
    return [_one(bytes(value), f"{what}[{at}]") for at, value in enumerate(values)]


def _one(text: bytes, where: str) -> Row:
    """One JSON object. A number beyond every float, such as 1e999, is read as infinite: validation
    tells its row apart from the good ones.
    """
    try:
        return _row.decode(text)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            made: Row = json.loads(text)
            return made
        shown = text.strip()[:80].decode("utf-8", "replace")
        raise InvalidInput(
            f"{where}: {shown} is no object; accepted: an object of field and value"
        ) from error
    except _UNREADABLE as error:
        _not_json(text, where, error)


def _not_json(text: bytes, where: str, error: Exception) -> NoReturn:
    told = str(error)
    if isinstance(error, RecursionError):
        told = "nested too deep"
    elif "truncated" in told:
        told = f"it ends too early (byte {len(text)})"
    raise Reject(
        f"{where}: not JSON: {told}; accepted: JSON without NaN and Infinity, in UTF-8"
    ) from error


def _too_many(what: str, most: int) -> NoReturn:
    raise TooLarge(
        f"{what}: more than {most} in one request; accepted: at most {most}, send several"
    )
