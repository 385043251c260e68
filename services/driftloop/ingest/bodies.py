"""Bodies in the four formats as batches of columns; an error says where the body is wrong."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from driftloop.contracts import batches
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.headers import ARROW
from driftloop.contracts.ipc import refuse_compressed
from driftloop.modelspec.rows import MOST_CELLS, column, from_dicts, lenient_json
from driftloop.runtime.problems import TooLarge, UnsupportedType

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
OBJECTS: Final = (JSON, NDJSON)
ACCEPTED: Final = (*OBJECTS, ARROW, CSV)
CHUNK_ROWS: Final = 8192
"""Rows turned into columns at once; a value of an odd type makes texts of its own chunk alone."""
_LOOK_BYTES: Final = 1 << 20
"""Bytes in which line ends are looked for at once: their places take up to eight times as much."""

Row = dict[str, Any]
T = TypeVar("T")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(Row)
_rows = msgspec.json.Decoder(list[Row])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def kind_of(content_type: str) -> str:
    """The format a `content-type` names; raises `UnsupportedType`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ACCEPTED:
        accepted = ", ".join(ACCEPTED)
        raise UnsupportedType(f"content-type: {kind[:80]!r} is not read here; accepted: {accepted}")
    return kind


def objects(kind: str, body: bytes, what: str, most: int) -> list[Row]:
    """The `what` (rows or labels) in a JSON or NDJSON body, at most `most` of them."""
    _check_size(body, what, most)
    made = _json(body, what) if kind == JSON else _ndjson(body, what)
    return _some(made, len(made), what, most)


def columns(
    kind: str, body: bytes, what: str, most: int, names: tuple[str, ...] = ()
) -> list[pa.RecordBatch]:
    """The `what` in a body of any kind, in one or more batches.

    `names` are those a row usually has; NDJSON with no others is read twice as fast.
    """
    if kind == JSON:
        rows = objects(kind, body, what, most)
        return [from_dicts(rows[at : at + CHUNK_ROWS]) for at in range(0, len(rows), CHUNK_ROWS)]
    if kind == NDJSON:
        _check_size(body, what, most)
        made = list(_ndjson_columns(body, what, names))
        return _some(made, sum(int(part.num_rows) for part in made), what, most)
    if kind == ARROW:
        refuse_compressed(body)
    batch = batches.decode(body) if kind == ARROW else _csv(body)
    return [_some(batch, batch.num_rows, what, most)]


def _check_size(body: bytes, what: str, most: int) -> None:
    """Look before decoding: a decoded row takes far more memory than its text."""
    if not body or body.isspace():
        raise InvalidInput(f"{what}: the body is empty; accepted: one or more")
    if len(body) > 2 * most and np.count_nonzero(_is(body, b"{")) > most + 1:
        raise _too_many(what, most)


def _is(body: bytes, byte: bytes) -> NDArray[np.bool_]:
    """Which bytes of the body are this one; several times as fast as `bytes.count`."""
    found: NDArray[np.bool_] = np.frombuffer(body, np.uint8) == byte[0]
    return found


def _some(made: T, rows: int, what: str, most: int) -> T:
    if rows == 0:
        raise InvalidInput(f"{what}: there is none; accepted: one or more")
    if rows > most:
        raise _too_many(what, most)
    return made


def _too_many(what: str, most: int) -> TooLarge:
    return TooLarge(f"{what}: too many in one request; accepted: at most {most}, send several")


def _json(body: bytes, what: str) -> list[Row]:
    if body[:64].lstrip()[:1] != b"{":
        return _list(body, what)
    try:
        given = _object.decode(body)
    except _UNREADABLE as error:
        raise _not_json(body, "body", error) from error
    return _list(bytes(given[what]) if list(given) == [what] else b"[" + body + b"]", what)


def _ndjson(body: bytes, what: str, first: int = 1) -> list[Row]:
    """The rows of these lines, the first of which is line `first` of the body."""
    try:
        return _row.decode_lines(body)
    except _UNREADABLE:  # once more, line by line, to tell which
        lines = body.split(b"\n")
        return [_one(t, f"{what} line {at}") for at, t in enumerate(lines, first) if t.strip()]


def _ndjson_columns(body: bytes, what: str, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Chunk by chunk, so that only one is in memory as rows."""
    decoder = _line_decoder(names) if names else None
    ends = [0, *_chunk_ends(body), len(body)]
    for chunk, (start, end) in enumerate(pairwise(ends)):
        lines = body[start:end]
        made = None if decoder is None else _usual(lines, names, decoder)
        if made is not None:
            yield made
        elif rows := _ndjson(lines, what, 1 + chunk * CHUNK_ROWS):
            yield from_dicts(rows)


def _chunk_ends(body: bytes) -> Iterator[int]:
    """Where the line after each `CHUNK_ROWS` lines begins."""
    seen = 0
    for start in range(0, len(body), _LOOK_BYTES):
        ends = np.flatnonzero(_is(body[start : start + _LOOK_BYTES], b"\n"))
        yield from (start + 1 + ends[(-seen - 1) % CHUNK_ROWS :: CHUNK_ROWS]).tolist()
        seen += len(ends)


@lru_cache(maxsize=64)
def _line_decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any] | None:
    """Reads an object with no other fields than these; none for names that it cannot have."""
    if len(names) * CHUNK_ROWS > MOST_CELLS:
        return None
    fields = [(f"f{at}", Any, msgspec.UNSET) for at in range(len(names))]
    rename = {f"f{at}": name for at, name in enumerate(names)}
    try:
        row = msgspec.defstruct("Row", fields, rename=rename, gc=False, forbid_unknown_fields=True)
    except ValueError:
        return None
    return msgspec.json.Decoder(row)


def _usual(
    lines: bytes, names: tuple[str, ...], decoder: msgspec.json.Decoder[Any]
) -> pa.RecordBatch | None:
    """The batch that `from_dicts` makes of these lines, in the order of `names`, made faster.

    None where a line has another field or is not JSON, and where there is no field at all.
    """
    try:
        rows = decoder.decode_lines(lines)
    except _UNREADABLE:
        return None
    if not rows:
        return None
    values = zip(*map(msgspec.structs.astuple, rows), strict=True)
    made = {
        name: column(given)
        for name, given in zip(names, values, strict=True)
        if not all(value is msgspec.UNSET for value in given)
    }
    return pa.RecordBatch.from_arrays(list(made.values()), list(made)) if made else None


def _csv(body: bytes) -> pa.RecordBatch:
    """Every value as the text it is: what a text means is for the spec to say."""
    convert = csv.ConvertOptions(
        default_column_type=pa.string(), null_values=[""], strings_can_be_null=True
    )
    parse = csv.ParseOptions(newlines_in_values=True)
    reading = csv.ReadOptions(use_threads=False, block_size=max(1 << 20, len(body)))
    try:
        table = csv.read_csv(pa.BufferReader(body), reading, parse, convert)
        _ = table.schema.names  # read now: they may not be UTF-8
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Reject(f"body: {error}; accepted: CSV with a header line, in UTF-8") from error
    return batches.to_batch(table)


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
            f"{what}: {shown} is no list;"
            f' accepted: a list of objects, {{"{what}": [...]}} or one object'
        ) from first
    except _UNREADABLE as error:
        raise _not_json(text, "body", error) from error
    return [_one(bytes(value), f"{what}[{at}]") for at, value in enumerate(values)]


def _one(text: bytes, where: str) -> Row:
    """One JSON object. A number beyond every float, such as 1e999, is read as infinite: validation
    tells its row apart from the good ones.
    """
    try:
        return _row.decode(text)
    except msgspec.ValidationError as error:
        made = None
        if "out of range" in str(error):
            try:
                made = lenient_json(text)
            except (ValueError, RecursionError) as wrong:
                raise _not_json(text, where, wrong) from wrong
        if isinstance(made, dict):
            return made
        shown = text.strip()[:80].decode("utf-8", "replace")
        raise InvalidInput(
            f"{where}: {shown} is no object; accepted: an object of field and value"
        ) from error
    except _UNREADABLE as error:
        raise _not_json(text, where, error) from error


def _not_json(text: bytes, where: str, error: Exception) -> Reject:
    told = str(error)
    if isinstance(error, RecursionError):
        told = "nested too deep"
    elif "truncated" in told:
        told = f"it ends too early (byte {len(text)})"
    return Reject(f"{where}: not JSON: {told}; accepted: JSON without NaN and Infinity, in UTF-8")
