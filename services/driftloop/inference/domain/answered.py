"""Rows answered on request that wait for the log: bounded, and put together a version at a time."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.contracts.batches import (
    EVENT_ID,
    EVENT_TIME,
    KEY,
    LATENCY,
    Matrix,
    matrix_column,
)
from driftloop.modelspec.spec import Spec

Ids = str | tuple[str, int]
"""The event id of one row, or that of several rows that are numbered under it."""
PART_BYTES: Final = 4 << 20
"""A part is as large as this at most, and one micro-batch beyond it."""
ROW_BYTES: Final = 96
"""What an id and a latency take in memory as objects, beside the characters of the id."""
CALL_BYTES: Final = 512
"""What one micro-batch takes as objects, beside its numbers."""


@dataclass(slots=True)
class Part:
    """Micro-batches that one version answered by one spec, in the order they came."""

    model: str
    version: int
    spec: Spec
    matrices: list[Matrix] = field(default_factory=list)
    answers: list[Matrix] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    """When each micro-batch was answered, in milliseconds since 1970 UTC."""
    ids: list[Ids] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """One for each of `ids`."""
    count: int = 0
    """Rows."""
    size: int = 0
    """Bytes in memory, about."""

    def matrix(self) -> Matrix:
        """The features, shape (rows, features)."""
        return _together(self.matrices)

    def answer(self) -> Matrix:
        """The answers, shape (rows, width)."""
        return _together(self.answers)

    def rows(self, matrix: Matrix) -> pa.RecordBatch:
        """The rows as a batch, with their latency and without answers; `matrix` is `matrix()`."""
        times = np.repeat(np.array(self.times), [len(given) for given in self.matrices])
        seconds = np.fromiter(self.seconds, np.float32, len(self.seconds))
        if len(seconds) != len(matrix):
            seconds = np.repeat(seconds, [_rows(ids) for ids in self.ids])
        columns = [
            event_ids(self.ids),
            pa.array(times).view(EVENT_TIME.type),
            pa.nulls(len(matrix), KEY.type),
            matrix_column(matrix),
            pa.array(seconds),
        ]
        features = pa.field("features", columns[3].type)
        schema = pa.schema([EVENT_ID, EVENT_TIME, KEY, features, LATENCY])
        return pa.RecordBatch.from_arrays(columns, schema=schema)


class Backlog:
    """What waits, at most `rows` rows and about `size` bytes; a part is cut at `part_rows` rows."""

    def __init__(self, rows: int, size: int, part_rows: int) -> None:
        self._most_rows = rows
        self._most_bytes = size
        self._part_rows = part_rows
        self._open: dict[tuple[str, int, int], Part] = {}
        self._cut: list[Part] = []
        self._rows = 0
        self._bytes = 0
        self.waiting: dict[str, int] = {}
        """Rows of each model that were added and are not settled, those in hand included."""

    @property
    def enough(self) -> bool:
        """Whether there is a whole part."""
        return bool(self._cut)

    def room(self, rows: int) -> bool:
        """Whether so many more rows would be kept, unless they are very large."""
        return self._rows + rows <= self._most_rows and self._bytes < self._most_bytes

    def add(
        self,
        key: tuple[str, int, Spec],
        matrix: Matrix,
        answers: Matrix,
        ids: Sequence[Ids],
        seconds: Sequence[float],
        at: int,
    ) -> bool:
        """Keep a micro-batch of (model, version, spec); False, and nothing is kept, without room.

        `at` is when it was answered, in milliseconds since 1970 UTC.
        """
        rows = len(matrix)
        size = matrix.nbytes + answers.nbytes + CALL_BYTES + _size(ids)
        if self._rows + rows > self._most_rows or self._bytes + size > self._most_bytes:
            return False
        model, version, spec = key
        place = (model, version, id(spec))  # the part holds the spec, so its id stays its own
        part = self._open.get(place)
        if part is None:
            part = self._open[place] = Part(model, version, spec)
        part.matrices.append(matrix)
        part.answers.append(answers)
        part.times.append(at)
        part.ids.extend(ids)
        part.count += rows
        part.seconds.extend(seconds)
        part.size += size
        self._rows += rows
        self._bytes += size
        self.waiting[model] = self.waiting.get(model, 0) + rows
        if part.count >= self._part_rows or part.size >= PART_BYTES:
            self._cut.append(self._open.pop(place))
        return True

    def take(self) -> list[Part]:
        """All parts, to be settled row by row and then freed; until then they still count."""
        taken = [*self._cut, *self._open.values()]
        self._cut, self._open = [], {}
        return taken

    def settle(self, model: str, rows: int) -> None:
        """So many rows are in the log, or counted as dropped: they wait no more."""
        self._rows -= rows
        self.waiting[model] -= rows

    def free(self, part: Part) -> None:
        """The part is held no more."""
        self._bytes -= part.size


def warm_up() -> None:
    """Make a batch: the first one imports what pyarrow leaves for later, which takes 0.2 s."""
    part = Part("", 0, Spec(name="", task="regression", features=()))
    part.ids, part.seconds, part.times = ["", ("", 1)], [0.0, 0.0], [0]
    part.matrices = [np.zeros((2, 1), dtype=np.float32)]
    part.rows(part.matrix())


def chosen(batch_id: str, share: float) -> bool:
    """Whether a batch is among the `share` (0 to 1) of all that shadows answer too.

    It hangs on the hash of the id alone, so neither the rows nor the load can bias it, and a batch
    is in or out as a whole: the shadow gets one matrix, and nothing is gathered row by row.
    """
    first = hashlib.blake2b(batch_id.encode(), digest_size=8).digest()
    return int.from_bytes(first, "big") < share * 2**64


def pieces(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    """`batch` in halves of halves until each holds at most `most` bytes, or one row."""
    if batch.num_rows > 1 and batch.nbytes > most:
        half = batch.num_rows // 2
        yield from pieces(batch.slice(0, half), most)
        yield from pieces(batch.slice(half), most)
    else:
        yield batch


def _together(matrices: Sequence[Matrix]) -> Matrix:
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)


def event_ids(ids: Sequence[Ids]) -> pa.Array:
    """The event id of each row; rows numbered under one id are named without a loop over them."""
    pieces: list[pa.Array] = []
    for kind, group in itertools.groupby(ids, key=type):
        if kind is tuple:
            pieces += [_numbered(*given) for given in group if isinstance(given, tuple)]
        else:
            pieces.append(_texts([given for given in group if isinstance(given, str)]))
    return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)


def _numbered(id: str, rows: int) -> pa.Array:
    """`id-0`, `id-1` and so on, as `core.call.row_ids` tells the caller."""
    numbers = _numbers(1 << (rows - 1).bit_length() if rows > 1 else 1).slice(0, rows)
    return pc.binary_join_element_wise(_texts([id])[0], numbers, "-")


@lru_cache(maxsize=24)
def _numbers(most: int) -> pa.Array:
    return pa.array([str(number) for number in range(most)], EVENT_ID.type)


def _rows(ids: Ids) -> int:
    return ids[1] if isinstance(ids, tuple) else 1


def _size(ids: Sequence[Ids]) -> int:
    """Bytes in memory, about."""
    return sum(len(i) + ROW_BYTES if isinstance(i, str) else i[1] * ROW_BYTES for i in ids)


def _texts(ids: Sequence[str]) -> pa.Array:
    """Ids as a column; half a surrogate pair is escaped, since one id must not cost the others."""
    try:
        return pa.array(ids, EVENT_ID.type)
    except UnicodeEncodeError:
        return pa.array([i.encode("utf-8", "backslashreplace").decode() for i in ids])
