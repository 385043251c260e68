"""Rows on their way into the log: each with an event id, in batches the bus can carry."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import digest
from driftloop.modelspec.rows import as_text, plain
from driftloop.modelspec.spec import Spec


def usual_names(spec: Spec) -> tuple[str, ...]:
    """The columns the spec names: what its rows usually have, and no others."""
    own = (spec.columns.event_id, spec.columns.event_time, spec.columns.key, spec.target.name)
    return tuple(dict.fromkeys([*filter(None, own), *(f.name for f in spec.features)]))


def named(spec: Spec, batch: str, parts: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """`parts` of the producer's `batch` with an event id on every row.

    Ids are minted from the batch's id and the row's place in it: a retry mints the same ones.
    """
    prefix, first = digest(f"{spec.name}:{batch}".encode())[:20], 0
    for part in parts:
        yield _with_ids(spec, plain(part), prefix, first)
        first += part.num_rows


def pieces(
    parts: Sequence[pa.RecordBatch], most_rows: int, most_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at most `most_rows` rows and `most_bytes` bytes of columns."""
    for part in parts:
        for start in range(0, part.num_rows, most_rows):
            yield from _halved(part.slice(start, most_rows), most_bytes)


def _halved(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    # The whole buffers are seen at a glance; what a slice has of them takes longer to say.
    if batch.get_total_buffer_size() <= most_bytes or batch.nbytes <= most_bytes:
        yield batch
    elif batch.num_rows == 1:
        raise InvalidInput(
            f"rows: one has {batch.nbytes} bytes; accepted: at most {most_bytes} in a row"
        )
    else:
        half = batch.num_rows // 2
        yield from _halved(batch.slice(0, half), most_bytes)
        yield from _halved(batch.slice(half), most_bytes)


def _with_ids(spec: Spec, batch: pa.RecordBatch, prefix: str, first: int) -> pa.RecordBatch:
    name = spec.columns.event_id
    if name not in batch.schema.names:
        return batch.append_column(name, _minted(prefix, first, batch.num_rows))
    given = batch.column(name)
    ids = as_text(given)
    if ids.null_count or not pc.binary_length(ids).to_numpy().all():
        missing = pc.fill_null(pc.equal(ids, ""), True)
        ids = pc.if_else(missing, _minted(prefix, first, batch.num_rows), ids)
    elif ids is given:
        return batch
    return batch.set_column(batch.schema.get_field_index(name), name, ids)


def _minted(prefix: str, first: int, rows: int) -> pa.Array:
    numbers = pa.array(range(first, first + rows), pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(prefix, numbers, "-")
