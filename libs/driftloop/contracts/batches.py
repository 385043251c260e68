"""Column batches: their Arrow schemas, and Arrow IPC in and out.

Features travel as one float32 matrix in the order of the spec (a fixed-size list column): a missing
value is NaN, a category its position in the spec's list, an unseen category -1. A service turns the
column into a numpy matrix, and that into an onnxruntime input, without a copy.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.errors import Reject

Matrix = NDArray[np.float32]

EVENT_ID: Final = pa.field("event_id", pa.string(), nullable=False)
EVENT_TIME: Final = pa.field("event_time", pa.timestamp("ms", tz="UTC"), nullable=False)
KEY: Final = pa.field("key", pa.string())
VERSION: Final = pa.field("version", pa.int32())
LATENCY: Final = pa.field("latency", pa.float32())
"""Seconds from the request to its answer; only rows answered on request have it."""
LABEL: Final = pa.field("label", pa.float64(), nullable=False)
LABEL_TIME: Final = pa.field("label_time", pa.timestamp("ms", tz="UTC"))
SHADOW_PREFIX: Final = "shadow_v"

LABELS: Final = pa.schema([EVENT_ID, pa.field("label", pa.string()), LABEL_TIME])
QUARANTINED: Final = pa.schema(
    [
        EVENT_ID,
        EVENT_TIME.with_nullable(True),
        pa.field("reason", pa.string()),
        pa.field("row", pa.string()),
    ]
)
UNMATCHED: Final = pa.schema(
    [EVENT_ID, pa.field("label", pa.string()), pa.field("reason", pa.string())]
)
ROW_QUARANTINED: Final = "its row was quarantined"
"""The reason of a label that was given up because its row was."""


_MARK: Final = b"\xff\xff\xff\xff"
_END: Final = _MARK + bytes(4)
"""What ends a stream (https://arrow.apache.org/docs/format/Columnar.html, "IPC Streaming")."""
_MOST_HEAD: Final = 1 << 16
"""Bytes of a schema that is kept."""
_BROKEN: Final = (pa.ArrowException, OSError, EOFError, ValueError)
"""What pyarrow raises for a stream that is none."""


def encode(batch: pa.RecordBatch) -> bytes:
    """Arrow IPC stream bytes of one batch, schema included."""
    head = batch.schema.serialize().to_pybytes()
    if _schema(head) is not None:
        return b"".join((head, batch.serialize(), _END))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def decode(payload: bytes) -> pa.RecordBatch:
    """The batch in `payload`; several become one. Raises `Reject` if it is not Arrow IPC."""
    try:
        batch = _lone(payload)
        if batch is None:
            batch = _any(payload)
        batch.validate(full=True)
    except _BROKEN as error:
        raise Reject(
            f"payload: not an Arrow IPC stream ({error}); accepted: one Arrow IPC stream"
        ) from error
    return batch


def _any(payload: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(payload) as reader:
        if not _named_in_utf8(reader.schema):
            raise ValueError("the name of a column is not UTF-8")
        batches = list(reader)
        if len(batches) == 1:
            return batches[0]
        return to_batch(pa.Table.from_batches(batches, reader.schema).combine_chunks())


def _named_in_utf8(schema: pa.Schema) -> bool:
    """Whether every name can be read: pyarrow looks at a name only when it is asked for."""
    try:
        fields = list(schema)
        while fields:
            field = fields.pop()
            _ = field.name
            kind = field.type
            if isinstance(kind, pa.BaseExtensionType):
                kind = kind.storage_type
            fields += [kind.field(at) for at in range(kind.num_fields)]
    except UnicodeDecodeError:
        return False
    return True


def _lone(payload: bytes) -> pa.RecordBatch | None:
    """The same where a known schema and one batch are all there is; else None.

    Neighbours mostly have the same schema, and to read it takes longer than to read the columns.
    """
    size = len(_END) + int.from_bytes(payload[4:8], "little")
    if not payload.startswith(_MARK) or size > _MOST_HEAD:
        return None
    schema = _schema(payload[:size])
    if schema is None:
        return None
    source = pa.BufferReader(payload)
    source.seek(size)
    try:
        message = pa.ipc.read_message(source)
    except _BROKEN:  # to be told by the reader of streams
        return None
    if message.type != "record batch" or payload[source.tell() :][: len(_END) + 1] != _END:
        return None
    return pa.ipc.read_record_batch(message, schema)


def _schema(head: bytes) -> pa.Schema | None:
    """The schema in the first message of a stream; None if dictionaries belong to it.

    None, too, if we would write it in another way: then the stream may be of another byte order.
    """
    return _kept(head) if len(head) <= _MOST_HEAD else None


@lru_cache(maxsize=64)
def _kept(head: bytes) -> pa.Schema | None:
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(head))
    except _BROKEN:
        return None
    ours = schema.serialize().to_pybytes() == head
    plain = ours and not any(map(_has_dictionary, schema.types))
    return schema if plain and _named_in_utf8(schema) else None


def _has_dictionary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    fields = (kind.field(at).type for at in range(kind.num_fields))
    return pa.types.is_dictionary(kind) or any(map(_has_dictionary, fields))


def to_batch(table: pa.Table) -> pa.RecordBatch:
    """One batch of all rows of `table`, which may be empty."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def matrix_column(matrix: Matrix) -> pa.FixedSizeListArray:
    """A float32 matrix of shape (rows, width) as a fixed-size list column, without a copy."""
    flat = np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), matrix.shape[1])


def matrix_of(column: pa.Array) -> Matrix:
    """The (rows, width) float32 matrix of a fixed-size list column; null rows become NaN."""
    width = column.type.list_size
    if column.null_count == 0:
        whole: Matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        return whole
    made = np.full((len(column), width), np.nan, dtype=np.float32)
    made[column.is_valid().to_numpy(zero_copy_only=False)] = (
        column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    )
    return made


def valid_schema(width: int) -> pa.Schema:
    """Schema of rows that passed the contract, `width` features each."""
    return pa.schema(
        [EVENT_ID, EVENT_TIME, KEY, pa.field("features", pa.list_(pa.float32(), width))]
    )


def null_answers(rows: int, width: int) -> pa.Array:
    """The answer column before a first model exists."""
    return pa.nulls(rows, pa.list_(pa.float32(), width))


def with_column(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    """`batch` with one more column at its end."""
    return batch.append_column(name, column)


def shadow_versions(schema: pa.Schema) -> list[int]:
    """The versions of the shadows that answered beside the champion in a batch of this schema."""
    names: Sequence[str] = schema.names
    ends = [n.removeprefix(SHADOW_PREFIX) for n in names if n.startswith(SHADOW_PREFIX)]
    return [int(end) for end in ends if end.isascii() and end.isdigit() and len(end) < 10]
