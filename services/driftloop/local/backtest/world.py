"""The file as the services would see it: valid rows in batches, and outcomes as labels come.

What is here does not hang on any model: it is made once, for all policies that are compared. A row
and its label stand on one line of the file, so the join is a sort. Batches are cut as the client,
validation and feedback cut them.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.client.client import BATCH_ROWS
from driftloop.contracts.batches import EVENT_TIME, LABEL, LABEL_TIME, Matrix, matrix_of
from driftloop.contracts.errors import InvalidInput
from driftloop.feedback.domain.labels import LabelCodec
from driftloop.local.backtest.table import Labelled, Times
from driftloop.modelspec.contract import Checked, Contract
from driftloop.modelspec.rows import as_text
from driftloop.modelspec.spec import Spec

CHECK_ROWS: Final = 16_384
"""Rows that the contract looks at together; it costs less."""

Rows = NDArray[np.int64]
Cuts = tuple[slice, ...]


class Slice(NamedTuple):
    """What is sent before `clock` (milliseconds): batches of valid rows, then of outcomes."""

    clock: int
    scored: Cuts
    outcomes: Cuts


class Counts(NamedTuple):
    """What became of the rows and labels of the file."""

    rows: int
    valid: int
    quarantined: int
    duplicate: int
    labels: int
    outcomes: int


class World(NamedTuple):
    """Valid rows in the order in which they are scored, and outcomes in theirs.

    `row` are the valid rows that the outcomes are of; `valid` and `outcomes` are their columns, and
    `features` and `outcome_features` the matrices in these, shape (rows, features). The places,
    shape (rows, 2), are the batch of the log each is in, from 1 on, and its row there.
    """

    slices: tuple[Slice, ...]
    counts: Counts
    valid: pa.RecordBatch
    features: Matrix
    times: Times
    row: Rows
    outcomes: pa.RecordBatch
    outcome_features: Matrix
    outcome_times: Times
    labels: NDArray[np.float64]
    label_times: Times
    row_places: Rows
    outcome_places: Rows


class _Joined(NamedTuple):
    """Outcomes in order: their rows, labels, label times, and the batch (slice, part) of each."""

    row: Rows
    labels: NDArray[np.float64]
    label_times: Times
    slice_of: Rows
    part_of: Rows


def build(spec: Spec, given: Labelled, slice_ms: int) -> World:
    """The world of this spec; raises `InvalidInput` when nothing of it is left."""
    row_slice = (given.times - given.times[0]) // slice_ms
    cuts = list(_cuts(row_slice))
    checked = _checked(spec, given, cuts)
    valid = pa.Table.from_batches([c.valid for c in checked]).combine_chunks().to_batches()
    if not valid:
        why = next(c.quarantined.column("reason")[0].as_py() for c in checked if c.quarantined)
        raise InvalidInput(f"FILE: every row breaks the contract of the spec; the first: {why}")
    joined = _join(spec, given, valid[0], slice_ms)
    batches = _sizes_to_cuts([c.valid.num_rows for c in checked])
    slices = tuple(_slices(given.times[0], slice_ms, row_slice, cuts, batches, joined))
    outcomes = valid[0].take(pa.array(joined.row)).append_column(LABEL, pa.array(joined.labels))
    arrived = pa.array(joined.label_times).view(LABEL_TIME.type)
    return World(
        slices=slices,
        counts=_count(given, checked, joined),
        valid=valid[0],
        features=matrix_of(valid[0].column("features")),
        times=_millis(valid[0]),
        row=joined.row,
        outcomes=outcomes.append_column(LABEL_TIME, arrived),
        outcome_features=matrix_of(outcomes.column("features")),
        outcome_times=_millis(outcomes),
        labels=joined.labels,
        label_times=joined.label_times,
        row_places=_places([cut for part in slices for cut in part.scored]),
        outcome_places=_places([cut for part in slices for cut in part.outcomes]),
    )


def _places(cuts: list[slice]) -> Rows:
    """Batch and row in it of all rows in these cuts, which follow each other."""
    sizes = [cut.stop - cut.start for cut in cuts]
    starts = np.repeat([cut.start for cut in cuts], sizes)
    batches = np.repeat(np.arange(1, len(cuts) + 1), sizes)
    return np.column_stack([batches, np.arange(len(starts)) - starts]).astype(np.int64)


def _millis(batch: pa.RecordBatch) -> Times:
    return np.asarray(batch.column(EVENT_TIME.name).cast(pa.int64()), dtype=np.int64)


def _cuts(row_slice: Rows) -> Iterator[slice]:
    """Batches as the client sends them: a slice, in pieces of `BATCH_ROWS`."""
    edges = np.r_[0, np.flatnonzero(np.diff(row_slice)) + 1, len(row_slice)].tolist()
    for start, end in pairwise(edges):
        for at in range(start, end, BATCH_ROWS):
            yield slice(at, min(at + BATCH_ROWS, end))


def _checked(spec: Spec, given: Labelled, cuts: list[slice]) -> list[Checked]:
    """What the contract makes of each batch."""
    contract, now = Contract(spec), int(given.times[-1])
    made: list[Checked] = []
    group: list[pa.RecordBatch] = []
    held = 0
    for cut in cuts:
        group.append(given.rows.slice(cut.start, cut.stop - cut.start))
        held += cut.stop - cut.start
        if held >= CHECK_ROWS:
            made += contract.check_each(group, now)
            group, held = [], 0
    return made + (contract.check_each(group, now) if group else [])


def _join(spec: Spec, given: Labelled, valid: pa.RecordBatch, slice_ms: int) -> _Joined:
    """Every label that finds its row, in the order in which feedback would say the outcomes.

    Of rows and of labels with one id the first counts. A label from before its row waits for it.
    """
    sent = np.flatnonzero(given.labels.is_valid().to_numpy(zero_copy_only=False))
    sent = sent[np.argsort(given.label_times[sent], kind="stable")]
    names = as_text(given.rows.column(spec.columns.event_id)).take(pa.array(sent))
    found = pc.index_in(names, value_set=valid.column("event_id")).fill_null(-1)
    found = found.to_numpy().astype(np.int64)
    numbers = LabelCodec(spec).numbers(given.labels.take(pa.array(sent)))
    slices = (given.label_times[sent] - given.times[0]) // slice_ms
    begins = np.searchsorted(slices, slices)
    parts = (np.arange(len(sent)) - begins) // BATCH_ROWS
    slices = np.maximum(slices, (_millis(valid)[found] - given.times[0]) // slice_ms)
    good = np.flatnonzero((found >= 0) & ~np.isnan(numbers))
    good = good[np.sort(np.unique(found[good], return_index=True)[1])]
    order = good[np.lexsort((found[good], parts[good], slices[good]))]
    times = given.label_times[sent]
    return _Joined(found[order], numbers[order], times[order], slices[order], parts[order])


def _sizes_to_cuts(sizes: list[int]) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(np.r_[0, np.cumsum(sizes)].tolist())]


def _slices(
    start: int,
    slice_ms: int,
    row_slice: Rows,
    cuts: list[slice],
    batches: list[slice],
    joined: _Joined,
) -> Iterator[Slice]:
    """The slices in which anything happens, in order."""
    scored: dict[int, list[slice]] = {}
    for cut, batch in zip(cuts, batches, strict=True):
        if batch.start < batch.stop:
            scored.setdefault(int(row_slice[cut.start]), []).append(batch)
    outcomes: dict[int, list[slice]] = {}
    changes = np.diff(joined.slice_of).astype(bool) | np.diff(joined.part_of).astype(bool)
    edges = np.r_[0, np.flatnonzero(changes) + 1, len(joined.row)].tolist()
    for a, b in pairwise(edges):
        if a < b:
            outcomes.setdefault(int(joined.slice_of[a]), []).append(slice(a, b))
    for at in sorted(scored.keys() | outcomes.keys()):
        clock = int(start) + (at + 1) * slice_ms
        yield Slice(clock, tuple(scored.get(at, ())), tuple(outcomes.get(at, ())))


def _count(given: Labelled, checked: list[Checked], joined: _Joined) -> Counts:
    return Counts(
        rows=len(given.times),
        valid=sum(c.valid.num_rows for c in checked),
        quarantined=sum(c.quarantined.num_rows for c in checked),
        duplicate=sum(c.duplicates for c in checked),
        labels=len(given.labels) - given.labels.null_count,
        outcomes=len(joined.row),
    )
