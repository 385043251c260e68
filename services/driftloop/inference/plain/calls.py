"""Predictions in our own formats: the call that reads a body and writes its answer."""

from typing import NamedTuple
from urllib.parse import parse_qs

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import InvalidInput, Retry
from driftloop.contracts.headers import ARROW
from driftloop.inference.core.call import Answered, Call, Served
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.lane import Lane
from driftloop.inference.plain.alike import Form
from driftloop.inference.plain.answers import stream, write, write_one
from driftloop.inference.plain.reading import Reader, reader_of


class Options(NamedTuple):
    """What a caller may ask for beside the answer."""

    top_k: int = 0
    """Only so many of the best classes; 0 is all."""
    explain: bool = False
    """What each feature contributed."""
    version: int = 0
    """A version by number; 0 is the champion."""


class PlainCall(Call):
    """A request in one of our formats; a transport says how `send` sends the answer."""

    __slots__ = ("body", "form", "kind", "reader", "top_k")

    kind: str
    form: Form
    body: bytes
    reader: Reader
    top_k: int

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Write the answer."""
        if self.kind == ARROW:
            self.send(stream(served.champion.manifest.version, answers))
        else:
            self.send(self.written(Answered(served, answers, best, self.event_ids())))

    def answered_one(self, served: Served, row: list[float], best: int) -> None:
        """Write the answer to one row."""
        if self.top_k or self.kind == ARROW:
            super().answered_one(served, row, best)
        else:
            id = self.ids[0] if self.ids else self.id
            self.send(write_one(self.kind, self.form, served, row, best, id))

    def written(self, answered: Answered) -> bytes:
        """The body of the answer."""
        return write(self.kind, self.form, answered, self.top_k)

    def thorough(self) -> Matrix:
        """The rows read through the data contract, which names what it refuses."""
        values = self.reader.thorough(self.kind, self.body).values
        if isinstance(values, list):
            with np.errstate(over="ignore"):
                return np.array(values, dtype=np.float32).reshape(self.rows, -1)
        return values

    def send(self, body: bytes) -> None:
        """Send the answer."""
        raise NotImplementedError


def read(
    call: PlainCall,
    engine: Engine,
    served: Served,
    kind: str,
    body: bytes,
    began: float,
    deadline: float = 0.0,
) -> None:
    """Fill a new call from a body; raises `Reject` that says what is wrong with it."""
    reader = reader_of(served.plan)
    values, rows, ids, form = reader.read(kind, body)
    call.__init__(served.plan, values, rows, "" if ids else next(engine.ids), began, deadline)  # type: ignore[misc]  # made by __new__
    call.ids = ids
    call.kind = kind
    call.form = form
    call.body = body
    call.reader = reader
    call.top_k = 0


async def served_or_why(
    engine: Engine, model: str, kind: str, body: bytes, version: int = 0
) -> tuple[Lane, Served]:
    """Who answers, read and loaded if need be.

    Where nobody answers yet, a body that is wrong is told first: to try again would not help.
    """
    try:
        return await engine.lane_of(model, version)
    except Retry:
        plan = engine.serving.plan(model)
        if plan is not None:
            asked = reader_of(plan).thorough(kind, body)
            with np.errstate(over="ignore"):  # what is too large is told by the plan
                values = np.asarray(asked.values, dtype=np.float32)
            plan.check(values.reshape(asked.rows, -1))
        raise


def options(query: bytes) -> Options:
    """The options of a query string; raises `InvalidInput` for one that is none."""
    if not query:
        return Options()
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    made: dict[str, int | bool] = {}
    for name, values in given.items():
        made[name] = _option(name, values[-1])
    return Options(**made)  # type: ignore[arg-type]  # `_option` gives each its type


def _option(name: str, value: str) -> int | bool:
    if name == "explain":
        if value.lower() in ("", "true", "1"):
            return True
        if value.lower() in ("false", "0"):
            return False
        raise InvalidInput(f"explain: {value!r:.40}; accepted: true or false")
    if name in ("top_k", "version"):
        if value.isascii() and value.isdigit() and int(value[:9]) > 0 and len(value) < 10:
            return int(value)
        raise InvalidInput(f"{name}: {value!r:.40}; accepted: a whole number from 1")
    raise InvalidInput(f"{name!r:.40} is no option; accepted: explain, top_k, version")
