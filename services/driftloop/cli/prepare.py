"""Makes the batches of a file fit to be sent: ids and times where it has none, labels by name."""

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.cli.profile import without_missing_words
from driftloop.contracts.batches import LABEL_TIME, LABELS
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.columns import to_event_time
from driftloop.modelspec.rows import as_text
from driftloop.modelspec.spec import Spec


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What rows get that have none: ids numbered under the file's `prefix`, and the time `now_ms`.

    The same file gives the same ids, for its rows and for its labels, however often it is sent.
    """

    prefix: str
    now_ms: int


def rows(batches: Iterable[pa.RecordBatch], spec: Spec, stamp: Stamp) -> Iterator[pa.RecordBatch]:
    """Rows as the contract of the spec reads them; what is the label's stays at home."""
    sent = 0
    for batch in batches:
        made = {name: batch.column(name) for name in batch.schema.names}
        if spec.target.name in made:
            made.pop(LABEL_TIME.name, None)
            made.pop(spec.target.name)
        numbers = {f.name for f in spec.features if f.type != "category"}
        for name in numbers & made.keys():
            made[name] = _without_words(made[name])
        made[spec.columns.event_id] = _ids(batch, spec, stamp, sent)
        made[spec.columns.event_time] = _times(batch, spec, stamp)
        yield pa.RecordBatch.from_pydict(made)
        sent += batch.num_rows


def labels(batches: Iterable[pa.RecordBatch], spec: Spec, stamp: Stamp) -> Iterator[pa.RecordBatch]:
    """Event id, label and label time of each row that has a label."""
    sent = 0
    for batch in batches:
        names = batch.schema.names
        name = next((n for n in (spec.target.name, "label") if n in names), None)
        if name is None:
            raise InvalidInput(
                f"FILE: has no column {spec.target.name!r}; found: {', '.join(names)};"
                f" accepted: a column {spec.target.name!r} or 'label' with the labels"
            )
        if spec.columns.event_id not in names and not {f.name for f in spec.features} <= set(names):
            raise InvalidInput(
                f"FILE: has no column {spec.columns.event_id!r}; found: {', '.join(names)};"
                " accepted: the event ids of the rows, or the very file the rows were sent from"
            )
        made = pa.RecordBatch.from_arrays(
            [_ids(batch, spec, stamp, sent), as_text(batch.column(name)), _label_times(batch)],
            schema=LABELS,
        )
        yield made.filter(made.column("label").is_valid())
        sent += batch.num_rows


def _without_words(column: pa.Array) -> pa.Array:
    return without_missing_words(column) if pa.types.is_string(column.type) else column


def _ids(batch: pa.RecordBatch, spec: Spec, stamp: Stamp, sent: int) -> pa.Array:
    if spec.columns.event_id in batch.schema.names:
        return as_text(batch.column(spec.columns.event_id))
    return pa.array([f"{stamp.prefix}-{sent + at}" for at in range(batch.num_rows)], pa.string())


def _times(batch: pa.RecordBatch, spec: Spec, stamp: Stamp) -> pa.Array:
    name = spec.columns.event_time
    if name in batch.schema.names:
        return whole_numbers(batch.column(name))
    now = np.full(batch.num_rows, stamp.now_ms, dtype="datetime64[ms]")
    return pa.array(now).cast(pa.timestamp("ms", tz="UTC"))


def whole_numbers(column: pa.Array) -> pa.Array:
    """Texts that are all whole numbers as such: in CSV, milliseconds since 1970 are texts."""
    if not pa.types.is_string(column.type):
        return column
    digits = pc.all(pc.match_substring_regex(column, r"^\d+$")).as_py()
    return pc.cast(column, pa.int64()) if digits else column


def _label_times(batch: pa.RecordBatch) -> pa.Array:
    if LABEL_TIME.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, LABEL_TIME.type)
    return to_event_time(whole_numbers(batch.column(LABEL_TIME.name)))


def features(batches: Iterable[pa.RecordBatch], spec: Spec) -> Iterator[pa.RecordBatch]:
    """Only the columns that are features, for a question to the model."""
    for batch in batches:
        names = [f.name for f in spec.features if f.name in batch.schema.names]
        numbers = {f.name for f in spec.features if f.type != "category"}
        yield pa.RecordBatch.from_arrays(
            [_without_words(batch.column(n)) if n in numbers else batch.column(n) for n in names],
            names,
        )
