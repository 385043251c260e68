"""Column batches: their Arrow schemas, and Arrow IPC in and out.

Features travel as one float32 matrix in the order of the spec (a fixed-size list column): a missing
value is NaN, a category its position in the spec's list, an unseen category -1. A service turns the
column into a numpy matrix, and that into an onnxruntime input, without a copy.
"""

from collections.abc import Sequence
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


def encode(batch: pa.RecordBatch) -> bytes:
    """Arrow IPC stream bytes of one batch, schema included."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def decode(payload: bytes) -> pa.RecordBatch:
    """The batch in `payload`; several become one. Raises `Reject` if it is not Arrow IPC."""
    try:
        with pa.ipc.open_stream(payload) as reader:
            batches = list(reader)
            if len(batches) == 1:
                batch = batches[0]
            else:
                table = pa.Table.from_batches(batches, reader.schema).combine_chunks()
                batch = to_batch(table)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Reject(
            f"payload: not an Arrow IPC stream ({error}); accepted: one Arrow IPC stream"
        ) from error
    return batch


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
    return [int(n.removeprefix(SHADOW_PREFIX)) for n in names if n.startswith(SHADOW_PREFIX)]
