"""A labelled file in memory: rows in event-time order, each with its label and when that came."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.contracts.batches import to_batch
from driftloop.contracts.errors import InvalidInput
from driftloop.local.flights import load_flights
from driftloop.modelspec.columns import to_event_time
from driftloop.modelspec.rows import as_text
from driftloop.modelspec.spec import Spec

Times = NDArray[np.int64]


class Labelled(NamedTuple):
    """Rows as a contract reads them, and for each its event time, label and label time.

    Times are milliseconds since 1970; a label is null where there is none. Rows whose time cannot
    be read come last.
    """

    rows: pa.RecordBatch
    times: Times
    labels: pa.StringArray
    label_times: Times


def labelled(
    rows: pa.Table, spec: Spec, labels: pa.Array, label_times: pa.Array, delay_ms: int
) -> Labelled:
    """Rows with their labels; a label without a time comes `delay_ms` after its row.

    Raises `InvalidInput` when no row has an event time that can be read.
    """
    batch = to_batch(rows)
    read = to_event_time(batch.column(spec.columns.event_time))
    if not batch.num_rows or read.null_count == len(read):
        raise InvalidInput(
            f"{spec.columns.event_time}: no row has a time that can be read;"
            " accepted: ISO 8601 times or milliseconds since 1970"
        )
    times = read.cast(pa.int64()).fill_null(pc.max(read).cast(pa.int64())).to_numpy()
    given = to_event_time(label_times).cast(pa.int64())
    arrived = pc.coalesce(given, pa.array(times + delay_ms)).to_numpy()
    made = Labelled(batch, times, as_text(labels), arrived)
    return made if (np.diff(times) >= 0).all() else _taken(made, np.argsort(times, kind="stable"))


def flights() -> Labelled:
    """The flights of the demo."""
    table = load_flights()
    rows = to_batch(table.drop_columns(["label", "label_time"]))
    times = table["event_time"].cast(pa.int64()).to_numpy()
    arrived = pc.coalesce(table["label_time"].cast(pa.int64()), pa.array(times)).to_numpy()
    return Labelled(rows, times, as_text(table["label"].combine_chunks()), arrived)


def first(given: Labelled, rows: int) -> Labelled:
    """The first so many rows; 0 is all of them."""
    if not rows or rows >= len(given.times):
        return given
    return Labelled(
        given.rows.slice(0, rows),
        given.times[:rows],
        given.labels.slice(0, rows),
        given.label_times[:rows],
    )


def shuffled(given: Labelled, spec: Spec, seed: int) -> Labelled:
    """The control: the same rows dealt onto the same times at random, so only their order is lost.

    Each label comes as long after its row as it really did.
    """
    order = np.random.default_rng(seed).permutation(len(given.times))
    delays = given.label_times - given.times
    dealt = _taken(given, order)
    name = spec.columns.event_time
    at = dealt.rows.schema.get_field_index(name)
    times = pa.array(given.times).view(pa.timestamp("ms", tz="UTC"))
    rows = dealt.rows.set_column(at, name, times)
    return Labelled(rows, given.times, dealt.labels, given.times + delays[order])


def _taken(given: Labelled, order: NDArray[np.int64]) -> Labelled:
    at = pa.array(order)
    return Labelled(
        given.rows.take(at), given.times[order], given.labels.take(at), given.label_times[order]
    )
