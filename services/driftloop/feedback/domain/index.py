"""A hash table in numpy arrays: 64-bit hashes to numbers, a batch at a time."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from driftloop.feedback.domain.ids import Hashes, Mask, Rows

LANES: Final = 8
"""Entries of a bucket; one that finds its bucket full goes to the next one."""
BUCKETS: Final = 128
FULLEST: Final = 0.6
SLICE: Final = 1 << 16
ABSENT: Final = -1

Same = Callable[[Rows, Rows], Mask]
"""Whether entries (their numbers) are what was looked for (rows of the query)."""
_FIRST: Final = np.array([LANES, *(8 - n.bit_length() for n in range(1, 256))], np.int64)
"""The first lane of a set of lanes, as `packbits` writes it."""
_BIT: Final = np.array([128 >> lane for lane in range(LANES)], np.uint8)


class Index:
    """Open addressing: 16 bytes a slot, of which at most 60 % are used.

    Several entries may have the same hash, `same` tells them apart: a collision costs time, and
    never gives another's entry.
    """

    def __init__(self) -> None:
        self.size = 0
        self._make(BUCKETS)

    def find(self, hashes: Hashes, same: Same) -> tuple[Rows, Rows]:
        """The slots of entries with these hashes, and their numbers; `ABSENT` where there is none.

        `same` is asked about every entry with such a hash.
        """
        slots = np.full(len(hashes), ABSENT, np.int64)
        values = np.full(len(hashes), ABSENT, np.int64)
        rows = np.arange(len(hashes))
        bucket = self._home(hashes)
        while len(rows):
            lanes = np.packbits(self._keys.take(bucket, axis=0) == hashes[:, None])
            at = lanes.nonzero()[0]
            while len(at):
                lane = _FIRST[lanes[at]]
                slot, row = bucket[at] * LANES + lane, rows[at]
                value = self._values[slot]
                good = same(row, value)
                if good.all():
                    slots[row], values[row] = slot, value
                    break
                slots[row[good]], values[row[good]] = slot[good], value[good]
                lanes[at] ^= _BIT[lane]
                at = at[~good & (lanes[at] != 0)]
            if not self._overflows:
                break
            more = ((self._passed.take(bucket) > 0) & (slots.take(rows) < 0)).nonzero()[0]
            rows, hashes, bucket = rows[more], hashes[more], (bucket[more] + 1) & self._mask
        return slots, values

    def put(self, hashes: Hashes, values: Rows) -> None:
        """New entries. No two of all numbers in the index are the same."""
        needed = self.size + len(hashes)
        buckets = len(self._keys)
        while needed > buckets * LANES * FULLEST:
            buckets *= 2
        if buckets != len(self._keys):
            self._resize(buckets)
        self._place(hashes, values)
        self.size = needed

    def change(self, slots: Rows, values: Rows) -> None:
        """Other numbers for entries."""
        self._values[slots] = values

    def remove(self, slots: Rows) -> None:
        """Forget entries."""
        bucket = slots // LANES
        home = self._home(self._flat[slots])
        self._flat[slots] = 0
        while len(far := (home != bucket).nonzero()[0]):
            home, bucket = home[far], bucket[far]
            np.subtract.at(self._passed, home, 1)
            self._overflows -= len(far)
            home = (home + 1) & self._mask
        self.size -= len(slots)
        if self.size * 16 < len(self._flat) and len(self._keys) > BUCKETS:
            self._resize(len(self._keys) // 4)

    def _make(self, buckets: int) -> None:
        self._mask = buckets - 1
        self._keys: NDArray[np.uint64] = np.zeros((buckets, LANES), np.uint64)  # 0 is free
        self._flat = self._keys.reshape(-1)
        self._values: NDArray[np.int64] = np.zeros(buckets * LANES, np.int64)
        self._passed: NDArray[np.int32] = np.zeros(buckets, np.int32)  # entries that went on
        self._overflows = 0

    def _home(self, hashes: Hashes) -> Rows:
        return (hashes & np.uint64(self._mask)).view(np.int64)

    def _resize(self, buckets: int) -> None:
        keys, values = self._keys, self._values.reshape(-1, LANES)
        self._make(buckets)
        for start in range(0, len(keys), SLICE):
            part, numbers = keys[start : start + SLICE], values[start : start + SLICE]
            for lane in range(LANES):  # a lane at a time: few meet in one bucket
                used = part[:, lane].nonzero()[0]
                self._place(part[used, lane], numbers[used, lane])

    def _place(self, hashes: Hashes, values: Rows) -> None:
        """Write each into the first free lane; who was overwritten by another, tries again."""
        bucket = self._home(hashes)
        while len(hashes):
            lane = _FIRST[np.packbits(self._keys.take(bucket, axis=0) == 0)]
            slots = bucket * LANES + lane
            full = lane == LANES
            if full.any():
                on, fits = full.nonzero()[0], (~full).nonzero()[0]
                np.add.at(self._passed, bucket[on], 1)
                self._overflows += len(on)
                bucket[on] = (bucket[on] + 1) & self._mask
                self._write(slots[fits], hashes[fits], values[fits])
            else:
                self._write(slots, hashes, values)
            again = self._values.take(slots, mode="clip") != values
            again |= full
            if not again.any():
                return
            hashes, values, bucket = hashes[again], values[again], bucket[again]

    def _write(self, slots: Rows, hashes: Hashes, values: Rows) -> None:
        """Where two want one slot, the same one of them gets both its hash and its number there."""
        self._flat[slots] = hashes
        self._values[slots] = values
