"""A request in the queue: its values, and how its answer is given back."""

import asyncio
import itertools
import struct
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.inference.domain.plan import Plan
from driftloop.inference.versions import Champion


class Served(NamedTuple):
    """What answers for a model at one moment: the compiled spec and the version."""

    plan: Plan
    champion: Champion


class Call:
    """One request of one or more rows. A protocol says how to give the answer back.

    `values` are the rows as one flat list of numbers (few rows) or a (rows, features) float32
    matrix; times are on the clock of `time.perf_counter`, and a `deadline` of 0 is none. `ids` are
    the event ids of the rows where the caller gave them; else they are made from `id`.
    """

    __slots__ = ("began", "deadline", "id", "ids", "plan", "queued", "rows", "values")

    requests: int = 1
    """How many requests of a caller this is."""

    def __init__(
        self,
        plan: Plan,
        values: list[float] | Matrix,
        rows: int,
        id: str,
        began: float,
        deadline: float = 0.0,
    ) -> None:
        self.plan = plan
        self.values = values
        self.rows = rows
        self.id = id
        self.began = began
        self.deadline = deadline
        self.ids: Sequence[str] = ()
        self.queued = time.perf_counter()

    def event_ids(self) -> Sequence[str]:
        """The event id of each row, by which a label may come later."""
        return self.ids or row_ids(self.id, self.rows)

    def thorough(self) -> Matrix:
        """The rows read again because one may be bad; raises `InvalidInput` that names it."""
        return one(self)

    def apart(self) -> "Sequence[Call]":
        """The calls of its requests one by one, where one may be wrong and the others not."""
        return [self]

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Give back `answers` (rows, width) of `served`; `best` is each row's class, if any."""
        raise NotImplementedError

    def answered_one(self, served: Served, row: list[float], best: int) -> None:
        """The same for a call of one row; for a run of such calls alone, which is the usual."""
        answers: Matrix = np.array([row], dtype=np.float32)
        self.answered(served, answers, [best] if served.plan.spec.target.classes else [])

    def refused(self, error: Exception) -> None:
        """Give back an error."""
        raise NotImplementedError


class Answered(NamedTuple):
    """The answer as a value: (rows, width) float32, each row's class, and who gave it."""

    served: Served
    answers: Matrix
    best: list[int]
    ids: Sequence[str]


Done = Callable[[Answered | Exception], None]


class CallBack(Call):
    """A call whose answer goes to a function, in the same event loop."""

    __slots__ = ("done",)

    done: Done

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Hand the answer on."""
        self.done(Answered(served, answers, best, self.event_ids()))

    def refused(self, error: Exception) -> None:
        """Hand the error on."""
        self.done(error)


def into(future: asyncio.Future[Answered]) -> Done:
    """A function that resolves `future`."""

    def done(result: Answered | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    return done


def row_ids(id: str, rows: int) -> Sequence[str]:
    """The event ids of the rows of a request: its own for a single row, numbered for several."""
    return [id] if rows == 1 else [f"{id}-{row}" for row in range(rows)]


def apart(calls: Sequence[Call]) -> list[Call]:
    """Each request as a call of its own; the rows stay in order."""
    return [alone for call in calls for alone in call.apart()]


def one(call: Call) -> Matrix:
    """The rows of a call as a matrix; infinite where a number does not fit float32."""
    if not isinstance(call.values, list):
        return call.values
    with np.errstate(over="ignore"):
        made: Matrix = np.array(call.values, dtype=np.float32).reshape(call.rows, -1)
    return made


def joined(calls: Sequence[Call], width: int) -> Matrix:
    """The rows of all calls, in order; raises `OverflowError` for a number beyond float32."""
    numbers = flat(calls)
    if numbers is not None:
        return packed(numbers, width)
    if len(calls) == 1:
        return one(calls[0])
    return np.concatenate([one(call) for call in calls])


def flat(calls: Sequence[Call]) -> list[float] | None:
    """The numbers of all calls in one list; None if some have theirs in a matrix."""
    values = [call.values for call in calls]
    if set(map(type, values)) != {list}:
        return None
    return list(itertools.chain.from_iterable(values))


def packed(numbers: list[float], width: int) -> Matrix:
    """Numbers as rows (rows, width); raises `OverflowError` for one beyond float32."""
    # A list of Python floats is packed three times as fast as numpy reads it.
    made: Matrix = np.frombuffer(_floats(len(numbers)).pack(*numbers), dtype=np.float32)
    return made.reshape(-1, width)


@lru_cache(maxsize=1024)
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"={count}f")
