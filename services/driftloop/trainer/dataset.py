"""Datasets: ranges of the outcomes log, read back and proved by their digest."""

import hashlib
import io
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftloop.bus.bus import Bus
from driftloop.bus.log import rows_total
from driftloop.bus.messages import Delivered
from driftloop.contracts import subjects
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import Dataset
from driftloop.modelspec.spec import Training
from driftloop.trainer.domain.window import Part, choose

STREAM = "OUTCOMES"
COLUMNS = ("event_id", "event_time", "features", "label", "label_time")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset with its rows: features of shape (rows, width) float32, labels (rows,) float64."""

    dataset: Dataset
    table: pa.Table

    @property
    def features(self) -> Matrix:
        """The feature matrix."""
        return matrix_of(self.table.column("features").combine_chunks())

    @property
    def labels(self) -> NDArray[np.float64]:
        """The labels."""
        return np.asarray(self.table.column("label").to_numpy(), dtype=np.float64)


async def newest(
    bus: Bus, model: str, training: Training, since_time: int
) -> tuple[Rows, Rows, str]:
    """Training and holdout rows of the newest window, and why these; raises `InvalidInput`."""
    subject = subjects.outcomes(model)
    last = await bus.log.last(STREAM, subject)
    if last is None:
        raise InvalidInput(
            f"training rows: there are no outcomes of {model}; accepted: some labelled rows"
        )
    skip = max(0, rows_total(last) - training.window_rows)
    first = await bus.log.with_total(STREAM, subject, skip)
    assert first is not None
    messages = [m async for m in bus.log.range(STREAM, subject, first.seq, last.seq)]
    tables = [_table(m) for m in messages]
    parts = [_part(m, t) for m, t in zip(messages, tables, strict=True)]
    window = choose(parts, training, since_time)
    train = _rows(messages[window.first : window.cut], tables[window.first : window.cut])
    return train, _rows(messages[window.cut :], tables[window.cut :]), window.why


async def rebuild(bus: Bus, model: str, dataset: Dataset) -> Rows:
    """The rows of a named dataset; raises `InvalidInput` when the log holds them no more."""
    subject = subjects.outcomes(model)
    messages = [
        m async for m in bus.log.range(STREAM, subject, dataset.first_seq, dataset.last_seq)
    ]
    rows = _rows(messages, [_table(m) for m in messages]) if messages else None
    if rows is None or rows.dataset != dataset:
        raise InvalidInput(
            f"dataset: {STREAM} {dataset.first_seq} to {dataset.last_seq} has another content; "
            f"accepted: the one with SHA-256 {dataset.sha256}"
        )
    return rows


def snapshot(parts: Sequence[Rows]) -> bytes:
    """The rows as a Parquet file; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(
        pa.concat_tables([p.table for p in parts]).combine_chunks(), sink, compression="zstd"
    )
    return sink.getvalue()


def _table(message: Delivered) -> pa.Table:
    return pa.Table.from_batches([message.batch().select(list(COLUMNS))])


def _part(message: Delivered, table: pa.Table) -> Part:
    newest_time = pc.max(table.column("event_time").cast(pa.int64())).as_py()
    return Part(message.seq, table.num_rows, int(newest_time or 0))


def _rows(messages: Sequence[Delivered], tables: Sequence[pa.Table]) -> Rows:
    content = hashlib.sha256()
    for message in messages:
        content.update(message.payload)
    table = pa.concat_tables(tables)
    dataset = Dataset(
        stream=STREAM,
        first_seq=messages[0].seq,
        last_seq=messages[-1].seq,
        rows=table.num_rows,
        sha256=content.hexdigest(),
    )
    return Rows(dataset=dataset, table=table)
