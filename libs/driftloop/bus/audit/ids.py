"""Sets of event ids that may be larger than memory: sorted runs of hashes, the older ones on disk.

An id is kept as the 64 bits of Python's keyed hash of texts (SipHash, another key in each process),
so two of a million different ids are taken for one with a chance of 3 in 100 million, and of ten
million with one of 3 in a million.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.int64]

IN_MEMORY: Final = 1 << 18
"""Hashes of a set that wait in memory (2 MiB) before they become a run on disk."""
SLICE: Final = 1 << 20
"""Hashes of all sets together that are compared at a time, about."""
_NONE: Final[Hashes] = np.zeros(0, np.int64)


def hashes(column: pa.Array) -> Hashes:
    """A hash for each text of a column; null counts as the empty text."""
    texts = column.fill_null("") if column.null_count else column
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))


class IdSet:
    """The ids of one kind with all their copies; `path` is the file they overflow into."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[Hashes] = []
        self._unsaved = 0
        self._runs: list[tuple[int, int]] = []
        """First hash and length of each run in the file."""
        self.copies = 0
        """Ids added, each as often as it was."""

    def add(self, found: Hashes) -> None:
        """Add ids."""
        self._waiting.append(found)
        self._unsaved += len(found)
        self.copies += len(found)
        if self._unsaved >= IN_MEMORY:
            self._save()

    def between(self, low: int, high: int) -> Hashes:
        """The hashes from `low` up to, not including, `high`; sorted, copies included."""
        parts = [run[_at(run, low) : _at(run, high)] for run in self._sorted()]
        return np.sort(np.concatenate(parts)) if parts else _NONE

    def _sorted(self) -> Iterator[Hashes]:
        if self._unsaved:
            self._waiting = [np.sort(np.concatenate(self._waiting))]
            yield self._waiting[0]
        if self._runs:
            file = np.memmap(self._path, np.int64, "r")
            yield from (file[first : first + length] for first, length in self._runs)

    def _save(self) -> None:
        run = np.sort(np.concatenate(self._waiting))
        first = sum(self._runs[-1]) if self._runs else 0
        with self._path.open("ab") as file:
            run.tofile(file)
        self._runs.append((first, len(run)))
        self._waiting, self._unsaved = [], 0


class IdSets:
    """Sets of ids by kind, made when something is added; their overflow is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sets: dict[str, IdSet] = {}

    def add(self, kind: str, found: Hashes) -> None:
        """Add ids to one of the sets."""
        made = self._sets.get(kind)
        if made is None:
            made = self._sets[kind] = IdSet(self._folder / kind)
        made.add(found)

    def copies(self, kind: str) -> int:
        """Ids added to one of the sets, copies included."""
        made = self._sets.get(kind)
        return made.copies if made is not None else 0

    def slices(self) -> Iterator[Mapping[str, Hashes]]:
        """All sets a range of hashes at a time: sorted, copies included; about `SLICE` together."""
        total = sum(made.copies for made in self._sets.values())
        count = max(1, -(-total // SLICE))
        bounds = [-(1 << 63) + (1 << 64) * at // count for at in range(count + 1)]
        for low, high in pairwise(bounds):
            yield {kind: made.between(low, high) for kind, made in self._sets.items()}


def _at(run: Hashes, bound: int) -> int:
    """Where a bound lies in a sorted run; the last bound is above all 64-bit numbers."""
    if bound >= 1 << 63:
        return len(run)
    return int(np.searchsorted(run, np.int64(bound)))
