"""Rows known by their event ids: blocks of rows on shelves, and one index over all of them."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.contracts.batches import to_batch
from driftloop.feedback.domain.ids import Ids, Mask, Rows
from driftloop.feedback.domain.index import Index

ROW_BITS: Final = 24
ROW_MASK: Final = (1 << ROW_BITS) - 1
KEY_BITS: Final = 37
KEY_MASK: Final = (1 << KEY_BITS) - 1
KIND_BITS: Final = ROW_BITS + KEY_BITS
"""A place is one number: the shelf, the block's number on it, and the row in that block. The first
two are the block's key.
"""
FEW: Final = 6
"""So many runs of neighbours are cheaper to put together than rows are to copy."""


@dataclass(slots=True)
class Block:
    """Rows that came together, some of which are still on their shelf; column 0 is the event id."""

    seq: int
    batch: pa.RecordBatch
    waiting: int
    alive: Mask
    """Which of the held rows are still on the shelf."""
    rows: Rows | None = None
    """Which rows of the first batch are still held (ascending); None is all of them."""

    def at(self, rows: Rows) -> Rows:
        """Where these rows of the first batch lie in what is held."""
        return rows if self.rows is None else np.searchsorted(self.rows, rows)

    def left(self) -> tuple[Rows, Rows]:
        """What is still on the shelf: where it lies, and its rows in the first batch."""
        at = np.flatnonzero(self.alive)
        return at, at if self.rows is None else self.rows[at]

    def keep_alive(self) -> None:
        """Hold nothing else: a few late rows must not hold whole batches."""
        at, rows = self.left()
        self.batch = self.batch.take(pa.array(at))
        self.alive, self.rows = np.ones(len(at), np.bool_), rows


A = TypeVar("A", pa.RecordBatch, pa.Array)
B = TypeVar("B", bound=Block)


class Shelf(Generic[B]):
    """Blocks of one kind, the oldest first; make it with `Known.shelf`."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.blocks: OrderedDict[int, B] = OrderedDict()
        self.rows = 0
        self._next = 0

    @property
    def oldest(self) -> B | None:
        """The block whose rows are here longest."""
        return next(iter(self.blocks.values()), None)

    def add(self, block: B, number: int | None = None) -> int:
        """Add a block, numbered above all others; returns the place of its first row."""
        number = self._next if number is None else number
        self._next = number + 1
        key = self.kind << KEY_BITS | number
        self.blocks[key] = block
        self.rows += block.waiting
        return key << ROW_BITS

    def take(self, places: Rows) -> list[pa.RecordBatch]:
        """Take rows off, by their (ascending) places; what was their block lets go by and by."""
        taken: list[pa.RecordBatch] = []
        for key, rows in _by_block(places):
            block = self.blocks[key]
            at = block.at(rows)
            taken += _pieces(block.batch, at)
            block.alive[at] = False
            self._less(key, block, len(at))
        return taken

    def _less(self, key: int, block: B, rows: int) -> None:
        self.rows -= rows
        block.waiting -= rows
        if not block.waiting:
            del self.blocks[key]
        elif block.waiting * 2 < block.batch.num_rows:
            block.keep_alive()


class Found(NamedTuple):
    """What is known of some ids: slots in the index and places, or `ABSENT`; and the shelves."""

    slots: Rows
    places: Rows
    kinds: Rows


class Known:
    """The index over the rows of some shelves; an id is on one of them at most."""

    def __init__(self) -> None:
        self._index = Index()
        self._shelves: list[Shelf[Block]] = []

    def shelf(self, of: type[B]) -> Shelf[B]:
        """A new shelf."""
        made: Shelf[B] = Shelf(len(self._shelves))
        self._shelves.append(made)  # type: ignore[arg-type]  # it is only read as Shelf[Block]
        return made

    def find(self, ids: Ids) -> Found:
        """Where these ids are."""

        def same(rows: Rows, places: Rows) -> Mask:
            return self._are(ids.array, rows, places)

        slots, places = self._index.find(ids.hashes, same)
        return Found(slots, places, places >> KIND_BITS)

    def move(self, slots: Rows, places: Rows) -> None:
        """Ids that are known are elsewhere now."""
        self._index.change(slots, places)

    def learn(self, ids: Ids, rows: Rows, places: Rows) -> None:
        """Some ids that were not known are here. Slots that were found before are worth nothing."""
        self._index.put(ids.hashes[rows], places)

    def forget(self, slots: Rows) -> None:
        """Ids that have been taken off their shelves. Slots found before are worth nothing."""
        self._index.remove(slots)

    def drop(self, shelf: Shelf[B], most: int | None = None) -> pa.RecordBatch:
        """Take off and forget the rows of the oldest block, or the `most` oldest of them."""
        key, block = next(iter(shelf.blocks.items()))
        at, rows = block.left()
        places = (key << ROW_BITS) + rows[:most]
        ids = Ids(pick(block.batch.column(0), at[:most]))
        slots, _ = self._index.find(ids.hashes, lambda asked, found: places[asked] == found)
        self._index.remove(slots)
        return one_batch(shelf.take(places))

    def _are(self, ids: pa.StringArray, rows: Rows, places: Rows) -> Mask:
        """Whether the ids in these places are those of these rows: the texts, not the hashes."""
        asked, back = pick(ids, rows), None
        if not (places[1:] > places[:-1]).all():
            places, back = np.unique(places, return_inverse=True)
        parts: list[pa.StringArray] = []
        for key, held in _by_block(places):
            block = self._shelves[key >> KEY_BITS].blocks[key]
            parts += _pieces(block.batch.column(0), block.at(held))
        found = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        found = found if back is None else found.take(pa.array(back))
        if found.equals(asked):
            return np.ones(len(rows), np.bool_)
        return np.asarray(pc.equal(found, asked).to_numpy(zero_copy_only=False))


def one_batch(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """All rows of some batches, at least one; a column that one of them lacks is null there."""
    if len(parts) == 1:
        return parts[0]
    try:
        return to_batch(pa.Table.from_batches(parts, parts[0].schema))
    except pa.ArrowInvalid:  # of different schemas
        tables = [pa.Table.from_batches([part]) for part in parts]
        return to_batch(pa.concat_tables(tables, promote_options="default"))


def pick(rows: A, at: Rows) -> A:
    """Rows of a batch or column; without a copy where they are neighbours."""
    if len(at) and at[-1] - at[0] == len(at) - 1 and (at[1:] > at[:-1]).all():
        return rows.slice(int(at[0]), len(at))
    return rows.take(pa.array(at))


def _pieces(rows: A, at: Rows) -> list[A]:
    """Rows (ascending) of a batch or column: as they lie, or a copy where they are scattered."""
    if at[-1] - at[0] == len(at) - 1:
        return [rows.slice(int(at[0]), len(at))]
    cuts: Rows = (at[1:] - at[:-1] > 1).nonzero()[0] + 1
    if len(cuts) >= FEW:
        return [rows.take(pa.array(at))]
    ends = [0, *cuts.tolist(), len(at)]
    return [rows.slice(int(at[a]), b - a) for a, b in pairwise(ends)]


def _by_block(places: Rows) -> Iterator[tuple[int, Rows]]:
    """The keys of the blocks of (ascending) places, and the rows in each."""
    if not len(places):
        return
    keys, rows = places >> ROW_BITS, places & ROW_MASK
    if keys[0] == keys[-1]:
        yield int(keys[0]), rows
        return
    starts = [0, *((keys[1:] != keys[:-1]).nonzero()[0] + 1).tolist(), len(places)]
    for key, (start, end) in zip(keys[starts[:-1]].tolist(), pairwise(starts), strict=True):
        yield key, rows[start:end]
