"""Which rows of a batch have the id of an earlier one: guessed by numbers, proved by the texts.

Each id becomes a number made of its ends, and the numbers are sorted. Ids that are the same have
the same number, so where no number comes twice, no id does. Where one does, the ids are compared.
"""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.modelspec.findings import Mask

_WORD: Final = 8
_LAST, _FIRST, _SIZE, _BATCH = (
    np.uint64(odd)
    for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)
"""Odd, and unlike each other in all their bits."""


def repeated(ids: pa.Array, counts: NDArray[np.int64]) -> Mask | None:
    """The rows whose id an earlier row of the same batch has; None if there are none.

    `ids` are the texts of batches of `counts` rows, one after the other. Rows whose id is null or
    empty are not compared.
    """
    sizes, numbers = _numbers(ids)
    numbers += np.repeat(np.arange(len(counts), dtype=np.uint64) * _BATCH, counts)
    missing = sizes == 0
    if ids.null_count:
        missing |= ids.is_null().to_numpy(zero_copy_only=False)
    given = np.flatnonzero(~missing) if missing.any() else None
    compared = numbers if given is None else numbers[given]
    ordered = np.sort(compared)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return None
    at = np.flatnonzero(np.isin(compared, twice))
    return _proved(ids, counts, at if given is None else given[at])


def _numbers(ids: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """The bytes of each id, and the number made of its first and last 8 bytes and its size."""
    _, offsets, data = ids.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(ids) + 1, 4 * ids.offset)
    sizes = np.diff(bounds)
    if data is None or data.size < _WORD:  # hardly an id: compare them all
        return sizes, np.zeros(len(ids), np.uint64)
    words = np.ndarray((data.size - _WORD + 1,), "<u8", data, strides=(1,))
    ends = bounds[1:].astype(np.intp)
    numbers = words[np.maximum(ends - _WORD, 0)]
    early = int(np.searchsorted(ends, _WORD))  # before these rows there are less than 8 bytes
    numbers[:early] <<= (8 * (_WORD - ends[:early])).astype(np.uint64)
    numbers >>= (8 * np.maximum(_WORD - sizes, 0)).astype(np.uint64)
    numbers *= _LAST
    if sizes.max(initial=0) > _WORD:
        firsts = words[np.maximum(np.minimum(bounds[:-1], ends - _WORD), 0)]
        numbers += firsts * _FIRST * (sizes >= _WORD)
    numbers += sizes.astype(np.uint64) * _SIZE
    return sizes, numbers


def _proved(ids: pa.Array, counts: NDArray[np.int64], at: NDArray[np.intp]) -> Mask | None:
    """The same, of the rows at `at` by their texts."""
    texts = ids.take(pa.array(at)).dictionary_encode()
    batch = np.repeat(np.arange(len(counts)), counts)[at]
    codes = texts.indices.to_numpy() + batch * len(texts.dictionary)
    firsts = np.unique(codes, return_index=True)[1]
    if len(firsts) == len(at):
        return None
    made = np.zeros(len(ids), dtype=np.bool_)
    made[at] = True
    made[at[firsts]] = False
    return made
