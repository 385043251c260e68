"""Event ids as 64-bit hashes, a whole Arrow column at once."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

STRIP: Final = 64
"""Bytes of every id that are read at once; longer ids take more rounds."""
WORDS: Final = STRIP // 8
_MOST: Final = 2**64 - 1
_SEED: Final = hash("driftloop.feedback") & _MOST
"""Another one in every process, as for Python's own hashes of texts: nobody can choose ids that
collide. Nothing that is said depends on it.
"""
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_END: Final = np.uint64(0x94D049BB133111EB)
_HALF: Final = np.uint64(32)
_NEVER_ZERO: Final = np.uint64(1 << 63)
_KEPT: Final = np.tril(np.full((STRIP + 1, STRIP), 255, np.uint8), -1).view(np.uint64)
"""For every length up to a strip, the mask of the bytes that belong to the id."""


class Ids:
    """Event ids of a batch (a text column without nulls) and their hashes."""

    __slots__ = ("array", "hashes")

    def __init__(self, array: pa.StringArray, hashes: Hashes | None = None) -> None:
        self.array = array
        self.hashes = hash_texts(array) if hashes is None else hashes

    @classmethod
    def of(cls, event_ids: "pa.Array | Iterable[str]") -> "Ids":
        """The ids of a column, or of any texts; one that is null counts as the empty one."""
        array = event_ids if isinstance(event_ids, pa.Array) else pa.array(event_ids, pa.string())
        if array.type != pa.string():
            array = array.cast(pa.string())
        return cls(array.fill_null("") if array.null_count else array)

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, rows: Rows) -> "Ids":
        """Some of the ids, copied: the batch they come from is not held."""
        return Ids(self.array.take(pa.array(rows)), self.hashes[rows])

    def first_of(self, among: Mask) -> Mask:
        """Those rows of `among` whose id is not in an earlier row of `among`."""
        ordered = np.sort(self.hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            return among
        rows = np.flatnonzero(among)
        codes = self.array.dictionary_encode().indices.to_numpy()[rows]
        first = np.zeros_like(among)
        first[rows[np.unique(codes, return_index=True)[1]]] = True
        return first


def hash_texts(array: pa.StringArray) -> Hashes:
    """A hash a text, never 0, of all its bytes and its length: the same in any batch."""
    rows = len(array)
    if not rows:
        return np.zeros(0, np.uint64)
    _, offsets_buffer, data = array.buffers()
    # A buffer may be longer than it has to be, by any number of bytes.
    offsets = np.frombuffer(offsets_buffer, np.int32, rows + 1, 4 * array.offset)
    lengths = offsets[1:] - offsets[:-1]
    longest, begin, end = int(lengths.max()), int(offsets[0]), int(offsets[-1])
    text = np.zeros(end - begin + STRIP, np.uint8)
    if end > begin:
        text[: end - begin] = np.frombuffer(data, np.uint8, end - begin, begin)
    starts = offsets[:-1] - begin
    hashes = lengths.astype(np.uint64) * _ODD
    for strip in range(-(-longest // STRIP)):
        done = strip * STRIP
        longer = slice(None) if not strip else np.flatnonzero(lengths > done)
        left = lengths[longer] - done
        hashes[longer] += _strip_sums(text, starts[longer] + done, left, strip)
    hashes ^= hashes >> _HALF
    hashes *= _END
    hashes ^= hashes >> _HALF
    hashes |= _NEVER_ZERO
    return hashes


def _strip_sums(
    text: NDArray[np.uint8], starts: NDArray[np.int32], left: NDArray[np.int32], strip: int
) -> Hashes:
    """Of each id from its start on, up to `STRIP` bytes: its words, each times a number of its own.

    Words beyond the end are 0 and add nothing.
    """
    words = -(-min(int(left.max()), STRIP) // 8)
    windows = np.ndarray((len(text) - STRIP + 1, words * 8), np.uint8, text, strides=(1, 1))
    read = windows[starts].view(np.uint64)
    read &= _KEPT[:, :words].take(left, axis=0, mode="clip")
    sums: Hashes = read.dot(_factors(strip)[:words])
    return sums


@lru_cache(maxsize=64)
def _factors(strip: int) -> Hashes:
    """An odd number for each word of a strip, as good as drawn by lot."""
    mixed = np.arange(strip * WORDS + 1, (strip + 1) * WORDS + 1, dtype=np.uint64)
    for odd in (_ODD, _END, _ODD):
        mixed = (mixed + np.uint64(_SEED)) * odd
        mixed ^= mixed >> _HALF
    return mixed | np.uint64(1)
