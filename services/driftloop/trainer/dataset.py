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
from driftloop.contracts.events import Dataset, TrainingStarted, Window
from driftloop.modelspec.spec import Training
from driftloop.trainer.domain.window import Part, choose

STREAM = "OUTCOMES"
COLUMNS = ("event_id", "event_time", "features", "label", "label_time")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset with its rows: features of shape (rows, width) float32, labels (rows,) float64.

    `messages` are those of the log, whose payloads the table looks at.
    """

    dataset: Dataset
    table: pa.Table
    messages: tuple[Delivered, ...] = ()

    @property
    def features(self) -> Matrix:
        """The feature matrix."""
        return matrix_of(self.table.column("features").combine_chunks())

    @property
    def labels(self) -> NDArray[np.float64]:
        """The labels."""
        return np.asarray(self.table.column("label").to_numpy(), dtype=np.float64)

    def since(self, first_seq: int) -> "Rows":
        """The rows from a sequence of the log on, a dataset of their own."""
        if first_seq <= self.dataset.first_seq:
            return self
        return _rows([m for m in self.messages if m.seq >= first_seq])


class Sets(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one run: `train` covers every window that is tried, `holdout` judges them."""

    train: Rows
    holdout: Rows
    windows: tuple[Window, ...]


async def newest(bus: Bus, model: str, training: Training, since_time: int) -> Sets:
    """The rows of a new run, out of the newest; raises `InvalidInput` when there are too few."""
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
    plan = choose([_part(m) for m in messages], training, since_time)
    return Sets(
        train=_rows(messages[plan.first : plan.cut]),
        holdout=_rows(messages[plan.cut :]),
        windows=plan.windows,
    )


async def again(bus: Bus, started: TrainingStarted) -> Sets:
    """The rows of a run that has begun; raises `InvalidInput` when the log holds them no more."""
    train = await rebuild(bus, started.model, started.train)
    every = Window(
        name="newest",
        why=started.window,
        rows=started.train.rows,
        first_seq=started.train.first_seq,
    )
    return Sets(
        train=train,
        holdout=await rebuild(bus, started.model, started.holdout),
        windows=started.windows or (every,),  # an event of before there were several
    )


async def rebuild(bus: Bus, model: str, dataset: Dataset) -> Rows:
    """The rows of a named dataset; raises `InvalidInput` when the log holds them no more."""
    subject = subjects.outcomes(model)
    messages = [
        m async for m in bus.log.range(STREAM, subject, dataset.first_seq, dataset.last_seq)
    ]
    rows = _rows(messages) if messages else None
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


def _part(message: Delivered) -> Part:
    times = message.batch().column("event_time")
    newest_time = pc.max(times.cast(pa.int64())).as_py()
    return Part(message.seq, len(times), int(newest_time or 0))


def _rows(messages: Sequence[Delivered]) -> Rows:
    content = hashlib.sha256()
    for message in messages:
        content.update(message.payload)
    table = pa.Table.from_batches([m.batch().select(list(COLUMNS)) for m in messages])
    dataset = Dataset(
        stream=STREAM,
        first_seq=messages[0].seq,
        last_seq=messages[-1].seq,
        rows=table.num_rows,
        sha256=content.hexdigest(),
    )
    return Rows(dataset=dataset, table=table, messages=tuple(messages))
