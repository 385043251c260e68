"""What waits in the join, and where in the logs it lies."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

STREAMS = ("SCORED", "LABELS", "ROWS", "OUTCOMES", "DEAD")


class Said(NamedTuple):
    """How far the join's own outputs are, in sequences: what comes later was said later."""

    outcomes: int = 0
    given_up: int = 0


class Low(NamedTuple):
    """Positions in the logs of input and output: all before them is settled, or has been read."""

    scored: int
    labels: int
    refused: int
    outcomes: int
    given_up: int

    def text(self) -> str:
        """As a header, for example `SCORED:5,LABELS:3,ROWS:1,OUTCOMES:2,DEAD:1`."""
        return ",".join(f"{name}:{at}" for name, at in zip(STREAMS, self, strict=True))

    @classmethod
    def parse(cls, text: str) -> "Low":
        """The positions in a header's text."""
        found = dict(part.split(":") for part in text.split(","))
        return cls(*(int(found[name]) for name in STREAMS))

    @classmethod
    def at(cls, inputs: Mapping[str, int], said: Said) -> "Low":
        """These positions of the inputs, and of the outputs."""
        return cls(inputs["SCORED"], inputs["LABELS"], inputs["ROWS"], *said)

    def of(self, stream: str) -> int:
        """The position in one of the logs."""
        return self[STREAMS.index(stream)]


BEGINNING = Low(1, 1, 1, 1, 1)
"""Where the join of a model begins that has said nothing yet."""


@dataclass(slots=True)
class Chunk:
    """A scored batch some of whose rows wait for their labels."""

    seq: int
    batch: pa.RecordBatch
    time: float
    said: Said
    waiting: int
    rows: NDArray[np.int64] | None = None
    """Which rows of the scored batch are still held; None is all of them."""

    def take(self, rows: NDArray[np.int64]) -> pa.RecordBatch:
        """Rows by their (ascending) place in the scored batch."""
        return self.batch.take(pa.array(self.places(rows)))

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where these rows lie in what is held."""
        return rows if self.rows is None else np.searchsorted(self.rows, rows)

    def held(self) -> Iterable[tuple[int, str]]:
        """Row numbers and event ids of what is held."""
        rows = range(self.batch.num_rows) if self.rows is None else self.rows.tolist()
        return zip(rows, self.batch.column(0).to_pylist(), strict=True)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Hold these (ascending) rows alone: a few late labels must not hold whole batches."""
        self.batch, self.rows = self.take(rows), rows


@dataclass(slots=True, frozen=True)
class Label:
    """A label that waits for its prediction, or is about to meet it."""

    seq: int
    text: str
    number: float
    at: int | None
    time: float
    said: Said


class ShiftRegister:
    """The newest event ids of one kind, at most `most`, with the log position each came from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: OrderedDict[str, int] = OrderedDict()

    @property
    def oldest(self) -> int:
        """Position of the oldest id kept; 0 when there is none."""
        return next(iter(self._ids.values()), 0)

    def add(self, event_ids: Iterable[str], seq: int) -> None:
        """Remember these ids, and forget the oldest beyond the bound."""
        new = dict.fromkeys(event_ids, seq)
        for event_id in self._ids.keys() & new.keys():
            del self._ids[event_id]  # so that the order stays that of the positions
        self._ids.update(new)
        while len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def known(self, event_ids: list[str]) -> set[str]:
        """Those of `event_ids` that are remembered."""
        return self._ids.keys() & set(event_ids) if self._ids else set()
