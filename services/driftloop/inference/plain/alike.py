"""Requests in MessagePack that are alike byte for byte but for their numbers, read all together.

A caller that asks in a loop sends one shape again and again. Where the numbers stand in it, and
which feature each of them is, is learned once: the numbers of a request are replaced by others,
and the usual reader is asked where it finds these. From then on requests of this shape are rows of
one array: what must not differ is compared, and the numbers are taken, in one operation for all.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import DriftloopError

MOST_KNOWN: Final = 64
"""Shapes that are known again, those of no use included."""
MOST_BYTES: Final = 16_384
"""A longer body is read alone: there the time of a request is not that of Python."""
_STARTS: Final = 8
"""The first bytes, and the number of all, tell shapes apart: what is there beside is compared."""
_FLOATS: Final = {0xCA: (">f4", 4), 0xCB: (">f8", 8)}
"""Type and size of a number, by the byte before it."""

Form = Literal["rows", "matrix", "arrow"]


class Asked(NamedTuple):
    """Numbers of the rows (flat, or a matrix), event ids if given, and the form of the answer."""

    values: list[float] | Matrix
    rows: int
    ids: Sequence[str]
    form: Form


Read = Callable[[bytes], Asked]
"""Reads one body."""


class _Shape(NamedTuple):
    """Where things stand in a body of so many bytes."""

    same: NDArray[np.intp]
    expected: NDArray[np.uint8]
    """The bytes at `same`."""
    numbers: NDArray[np.intp]
    """Their bytes, feature by feature."""
    kind: str
    id: slice
    form: Form


class Shapes:
    """The shapes of the requests for one plan with `width` features."""

    def __init__(self, read: Read, width: int) -> None:
        self._read = read
        self._width = width
        self._known: dict[tuple[int, bytes], _Shape | None] = {}

    def read(self, bodies: Sequence[bytes]) -> Asked | None:
        """Read bodies of the same length, a row each; None if they are not all of one shape."""
        size = len(bodies[0])
        key = size, bodies[0][:_STARTS]
        shape = self._known[key] if key in self._known else self._learn(key, bodies[0])
        if shape is None:
            return None
        whole = np.frombuffer(b"".join(bodies), np.uint8).reshape(len(bodies), size)
        if (whole.take(shape.same, axis=1) != shape.expected).any():
            return None
        numbers = whole.take(shape.numbers, axis=1).view(shape.kind)
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is one, too
            matrix: Matrix = numbers.astype(np.float32)
        try:
            ids = [body[shape.id].decode() for body in bodies] if shape.id.stop else []
        except UnicodeDecodeError:
            return None
        return Asked(matrix, len(bodies), ids, shape.form)

    def _learn(self, key: tuple[int, bytes], body: bytes) -> _Shape | None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        shape = None
        if len(body) <= MOST_BYTES:
            # Any other is read alone, which says what is wrong with it if anything is.
            with suppress(DriftloopError, ValueError, IndexError, RecursionError):
                shape = self._shape(body)
        self._known[key] = shape
        return shape

    def _shape(self, body: bytes) -> _Shape:
        found = _Found()
        if found.walk(body, 0) != len(body) or len(found.numbers) != self._width:
            raise ValueError("not one row of numbers")
        (mark,) = {body[at - 1] for at in found.numbers}
        kind, size = _FLOATS[mark]
        probe = bytearray(body)
        for place, at in enumerate(found.numbers):
            probe[at : at + size] = np.array(place + 1, kind).tobytes()
        values, rows, ids, form = self._read(bytes(probe))
        places = [int(value) - 1 for value in np.asarray(values).ravel()]
        if rows != 1 or sorted(places) != list(range(self._width)):
            raise ValueError("not each number is one feature")
        texts = [body[text].decode() for text in found.texts]
        if texts != list(ids):
            raise ValueError("a text that is no event id")
        id = found.texts[0] if texts else slice(0)
        starts = np.array([found.numbers[place] for place in places])
        numbers = (starts[:, None] + np.arange(size)).ravel()
        taken = np.zeros(len(body), dtype=np.bool_)
        taken[numbers] = taken[id] = True
        same = np.flatnonzero(~taken)
        return _Shape(same, np.frombuffer(body, np.uint8)[same], numbers, kind, id, form)


class _Found:
    """What is in a MessagePack value: https://github.com/msgpack/msgpack/blob/master/spec.md."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        """Where the bytes of each number begin."""
        self.texts: list[slice] = []
        """Texts that are no keys."""

    def walk(self, body: bytes, at: int, key: bool = False) -> int:
        """Take in the value at `at`; where it ends. Raises `ValueError` for any other kind."""
        mark, at = body[at], at + 1
        if mark in _FLOATS and not key:
            self.numbers.append(at)
            return at + _FLOATS[mark][1]
        if 0xA0 <= mark <= 0xBF or mark == 0xD9:
            size, at = (body[at], at + 1) if mark == 0xD9 else (mark & 0x1F, at)
            if not key:
                self.texts.append(slice(at, at + size))
            return at + size
        if 0x80 <= mark <= 0x9F and not key:
            size = mark & 0x0F
        elif mark in (0xDC, 0xDE) and not key:
            size, at = int.from_bytes(body[at : at + 2], "big"), at + 2
        else:
            raise ValueError("neither a number nor a text, a list or a map")
        for _ in range(size):
            if mark < 0x90 or mark == 0xDE:
                at = self.walk(body, at, key=True)
            at = self.walk(body, at)
        return at
