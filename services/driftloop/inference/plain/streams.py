"""Arrow IPC streams of the usual kind straight into a matrix, without a look at each column.

Usual is: float32 columns of exactly the features in their order, or one column `features` of lists;
one batch, nothing missing, uncompressed. What comes before the numbers is the same bytes in every
request of a caller with so many rows: it is read once, and known again by its bytes.
"""

import struct
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import Matrix
from driftloop.contracts.ipc import is_compressed
from driftloop.inference.domain.plan import Plan

MOST_KNOWN: Final = 64
"""Schemas, and kinds of batches (their number of rows, above all), that are known again."""
MOST_BYTES: Final = 65_536
_CONTINUATION: Final = b"\xff\xff\xff\xff"
_END: Final = (b"", _CONTINUATION + b"\0\0\0\0")
_LENGTH: Final = struct.Struct("<i")
_FLOAT32: Final = np.dtype("<f4")
_BAD: Final = (pa.ArrowException, OSError, ValueError, TypeError, IndexError, struct.error)


class _Layout(NamedTuple):
    """Where the numbers lie in the body of a batch."""

    shape: tuple[int, int]
    offset: int
    strides: tuple[int, int]
    size: int
    """Bytes of the body."""


class Streams:
    """Reads the usual streams for one plan."""

    def __init__(self, plan: Plan) -> None:
        self._names = list(plan.names)
        self._width = plan.width
        self._schemas: dict[bytes, bool] = {}
        self._layouts: dict[tuple[bytes, bytes], _Layout | None] = {}

    def read(self, body: bytes) -> Matrix | None:
        """The matrix, shape (rows, features); None for any other stream, good or bad."""
        try:
            start = _message_end(body, 0)
            end = _message_end(body, start)
            key = body[:start], body[start:end]
            layout = self._layouts[key] if key in self._layouts else self._learn(key, body)
            if layout is None or body[end + layout.size :] not in _END:
                return None
            at = end + layout.offset
            numbers: Matrix = np.ndarray(layout.shape, _FLOAT32, body, at, layout.strides)
            return np.ascontiguousarray(numbers)
        except _BAD:
            return None

    def _learn(self, key: tuple[bytes, bytes], body: bytes) -> _Layout | None:
        head, metadata = key
        if len(head) > MOST_BYTES or len(metadata) > MOST_BYTES:
            return None
        if len(self._schemas) >= MOST_KNOWN:
            self._schemas.clear()
        if head not in self._schemas:
            self._schemas[head] = self._fits(head)
        layout = _layout(body, len(head), metadata) if self._schemas[head] else None
        if len(self._layouts) >= MOST_KNOWN:
            self._layouts.clear()
        self._layouts[key] = layout
        return layout

    def _fits(self, head: bytes) -> bool:
        """Whether a schema is that of the features."""
        schema = pa.ipc.read_schema(pa.py_buffer(head))
        if schema.names == ["features"] != self._names:
            return bool(schema.types == [pa.list_(pa.float32(), self._width)])
        return schema.names == self._names and set(schema.types) == {pa.float32()}


def _message_end(body: bytes, start: int) -> int:
    """Where the metadata of the message at `start` ends."""
    if body[start : start + 4] != _CONTINUATION:
        raise ValueError("no message")
    size = _LENGTH.unpack_from(body, start + 4)[0]
    end = start + 8 + int(size)
    if size <= 0 or end > len(body):
        raise ValueError("no message")
    return end


def _layout(body: bytes, start: int, metadata: bytes) -> _Layout | None:
    """The layout of the batch at `start`; None where something is missing, or nothing is there."""
    if is_compressed(metadata[8:]):
        return None
    whole = pa.py_buffer(body)
    message = pa.ipc.read_message(whole[start:])
    if message.type != "record batch":
        return None
    batch = pa.ipc.open_stream(whole).read_next_batch()  # from the first byte: its order may differ
    batch.validate(full=True)
    columns = [c.values if pa.types.is_fixed_size_list(c.type) else c for c in batch.columns]
    if not batch.num_rows or any(c.null_count for c in (*batch.columns, *columns)):
        return None
    begin = whole.address + start + len(metadata)
    starts = [column.buffers()[-1].address - begin for column in columns]
    if len(columns) == 1 and columns[0] is not batch.column(0):
        width = len(columns[0]) // batch.num_rows
        strides = (4 * width, 4)
    else:
        width = len(columns)
        strides = (4, starts[1] - starts[0] if width > 1 else 4)
    even = [starts[0] + at * strides[1] for at in range(len(starts))]
    if starts != even or not 0 <= starts[0] <= message.body.size:  # a copy
        return None
    return _Layout((batch.num_rows, width), starts[0], strides, message.body.size)
