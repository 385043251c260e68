"""Arrow IPC streams of the usual kind straight into a matrix, without a look at each column.

Usual is: float32 columns of exactly the features in their order, or one column `features` of lists;
one batch, nothing missing, uncompressed. The schema of a stream is the same bytes in every request
of a caller, so it is read once and known again by its bytes.
"""

import struct
from typing import Final, NamedTuple

import pyarrow as pa

from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.ipc import is_compressed
from driftloop.inference.domain.plan import Plan

MOST_SCHEMAS: Final = 64
MOST_SCHEMA_BYTES: Final = 65_536
_CONTINUATION: Final = b"\xff\xff\xff\xff"
_END: Final = (b"", _CONTINUATION + b"\0\0\0\0")
_LENGTH: Final = struct.Struct("<i")
_BAD: Final = (pa.ArrowException, OSError, ValueError, TypeError, IndexError, struct.error)


class _Known(NamedTuple):
    """A schema, and whether its one column is the matrix."""

    schema: pa.Schema
    whole: bool


class Streams:
    """Reads the usual streams for one plan."""

    def __init__(self, plan: Plan) -> None:
        self._names = list(plan.names)
        self._width = plan.width
        self._schemas: dict[bytes, _Known | None] = {}

    def read(self, body: bytes) -> Matrix | None:
        """The matrix, shape (rows, features); None for any other stream, good or bad."""
        try:
            end = _message_end(body, 0)
            head = body[:end]
            known = self._schemas[head] if head in self._schemas else self._learn(head)
            return None if known is None else _matrix(body, end, known)
        except _BAD:
            return None

    def _learn(self, head: bytes) -> _Known | None:
        if len(head) > MOST_SCHEMA_BYTES:
            return None
        schema = pa.ipc.read_schema(pa.py_buffer(head))
        whole = schema.names == ["features"] != self._names
        if whole:
            fits = schema.types == [pa.list_(pa.float32(), self._width)]
        else:
            fits = schema.names == self._names and set(schema.types) == {pa.float32()}
        if len(self._schemas) >= MOST_SCHEMAS:
            self._schemas.clear()
        self._schemas[head] = known = _Known(schema, whole) if fits else None
        return known


def _message_end(body: bytes, start: int) -> int:
    """Where the metadata of the message at `start` ends."""
    if body[start : start + 4] != _CONTINUATION:
        raise ValueError("no message")
    size = _LENGTH.unpack_from(body, start + 4)[0]
    end = start + 8 + int(size)
    if size <= 0 or end > len(body):
        raise ValueError("no message")
    return end


def _matrix(body: bytes, start: int, known: _Known) -> Matrix | None:
    end = _message_end(body, start)
    if is_compressed(body[start + 8 : end]):
        return None
    message = pa.ipc.read_message(pa.py_buffer(body)[start:])
    if message.type != "record batch" or body[end + message.body.size :] not in _END:
        return None
    batch = pa.ipc.read_record_batch(message, known.schema)
    batch.validate(full=True)
    if batch.num_rows == 0:
        return None
    if not known.whole:
        made: Matrix = batch.to_tensor(row_major=True).to_numpy()  # raises where a value is null
        return made
    column = batch.column(0)
    return None if column.null_count or column.values.null_count else matrix_of(column)
