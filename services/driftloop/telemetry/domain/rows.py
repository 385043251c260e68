"""Column batches as rows of their tables."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.contracts import batches
from driftloop.contracts.errors import Reject
from driftloop.telemetry.domain.lists import float_lists, shadow_lists

TIME = batches.EVENT_TIME.type
EARLIEST = pa.scalar(-2_208_988_800_000, pa.int64()).cast(TIME)
"""1900-01-01, the first time a DateTime64 can hold."""
LATEST = pa.scalar(10_413_791_999_999, pa.int64()).cast(TIME)
"""The last millisecond of 2299."""

Rows = tuple[str, pa.RecordBatch]
"""A table's name, and rows in its columns."""
Seqs = int | NDArray[np.uint64]
"""The place of a batch in its log; or one place a row, where several batches became one."""
Make = Callable[[str, Seqs, pa.RecordBatch], Rows]


class Part(NamedTuple):
    """The batch of a message, and what makes rows of it."""

    make: Make
    model: str
    seq: int
    batch: pa.RecordBatch

    def is_like(self, other: "Part") -> bool:
        """Whether both become rows of one table together."""
        same = self.make is other.make and self.model == other.model
        return same and bool(self.batch.schema.equals(other.batch.schema))


def together(parts: Sequence[Part]) -> Rows:
    """The rows of batches that are alike. Raises `Reject` if one of them cannot be made to rows."""
    first = parts[0]
    if len(parts) == 1:
        return first.make(first.model, first.seq, first.batch)
    counts = [part.batch.num_rows for part in parts]
    seqs = np.repeat(np.array([part.seq for part in parts], np.uint64), counts)
    whole = batches.to_batch(pa.Table.from_batches([part.batch for part in parts]))
    return first.make(first.model, seqs, whole)


def valid(model: str, seq: Seqs, batch: pa.RecordBatch) -> Rows:
    """Rows that passed the contract; their features come with the scored rows."""
    return "rows_valid", _with_place(model, seq, _who(batch))


def quarantined(model: str, seq: Seqs, batch: pa.RecordBatch) -> Rows:
    """Rows that did not, with the reason."""
    columns = [f.with_nullable(True) for f in batches.QUARANTINED]
    return "quarantine", _with_place(model, seq, _fields(batch, columns))


def labels(model: str, seq: Seqs, batch: pa.RecordBatch) -> Rows:
    """Labels as they were sent."""
    return "labels", _with_place(model, seq, _fields(batch, list(batches.LABELS)))


def unmatched(model: str, seq: Seqs, batch: pa.RecordBatch) -> Rows:
    """Labels that found no prediction, with the reason."""
    return "unmatched", _with_place(model, seq, _fields(batch, list(batches.UNMATCHED)))


def scored(model: str, seq: Seqs, batch: pa.RecordBatch) -> Rows:
    """Rows with the live answer and the shadows' answers."""
    return "scored", _with_place(model, seq, [*_answered(batch), *_latency(batch)])


def outcomes(model: str, seq: Seqs, batch: pa.RecordBatch) -> Rows:
    """Scored rows with their label."""
    columns = [*_answered(batch), *_fields(batch, [batches.LABEL, batches.LABEL_TIME])]
    return "outcomes", _with_place(model, seq, columns)


Columns = list[tuple[str, pa.Array]]


def _who(batch: pa.RecordBatch) -> Columns:
    return _fields(batch, [batches.EVENT_ID, batches.EVENT_TIME, batches.KEY])


def _answered(batch: pa.RecordBatch) -> Columns:
    names = [f"{batches.SHADOW_PREFIX}{v}" for v in batches.shadow_versions(batch.schema)]
    shadows = shadow_lists(list(_shadows(batch, names)), batch.num_rows)
    return [
        *_who(batch),
        *_fields(batch, [batches.VERSION]),
        ("answer", float_lists("answer", _column(batch, "answer"))),
        ("features", float_lists("features", _column(batch, "features"))),
        ("shadow_versions", shadows.versions),
        ("shadow_answers", shadows.answers),
    ]


def _latency(batch: pa.RecordBatch) -> Columns:
    """Rows of the stream have none: nobody waited for their answers."""
    if batches.LATENCY.name not in batch.schema.names:
        return [(batches.LATENCY.name, pa.nulls(batch.num_rows, batches.LATENCY.type))]
    return _fields(batch, [batches.LATENCY])


def _shadows(batch: pa.RecordBatch, names: list[str]) -> Iterator[tuple[int, str, pa.Array]]:
    for name in names:
        yield int(name.removeprefix(batches.SHADOW_PREFIX)), name, _column(batch, name)


def _fields(batch: pa.RecordBatch, fields: list[pa.Field]) -> Columns:
    return [(field.name, _cast(batch, field)) for field in fields]


def _cast(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    column = _column(batch, field.name)
    try:
        column = column if column.type == field.type else column.cast(field.type)
    except pa.ArrowException as error:
        raise Reject(f"{field.name}: is {column.type}; accepted: {field.type}") from error
    if not field.nullable and column.null_count:
        raise Reject(f"{field.name}: {column.null_count} are null; accepted: no null")
    return _storable(column, field) if field.type == TIME else column


def _storable(times: pa.Array, field: pa.Field) -> pa.Array:
    """Times ClickHouse can hold: others become null, or the nearest where null is not allowed."""
    if not len(times) or not pc.any(_outside(times)).as_py():
        return times
    if field.nullable:
        return pc.if_else(_outside(times), pa.scalar(None, TIME), times)
    return pc.min_element_wise(pc.max_element_wise(times, EARLIEST), LATEST)


def _outside(times: pa.Array) -> pa.Array:
    return pc.or_(pc.less(times, EARLIEST), pc.greater(times, LATEST))


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    at = batch.schema.get_field_index(name)
    if at < 0:
        raise Reject(f"{name}: is missing; found: {', '.join(batch.schema.names)}")
    return batch.column(at)


def _with_place(model: str, seq: Seqs, columns: Columns) -> pa.RecordBatch:
    rows = len(columns[0][1])
    named = {
        "model": pa.repeat(model, rows),
        **dict(columns),
        "seq": pa.array(np.full(rows, seq, np.uint64)),
    }
    return pa.RecordBatch.from_pydict(named)
