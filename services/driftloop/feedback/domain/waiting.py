"""What waits in the join, and where in the logs it lies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import EVENT_ID
from driftloop.feedback.domain.ids import Ids, Mask, Rows
from driftloop.feedback.domain.known import Block, Known

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


@dataclass(slots=True, kw_only=True)
class Chunk(Block):
    """Rows of a message of the log, scored rows or labels, that wait for their counterparts."""

    time: float
    """The clock of the log when they came."""
    said: Said


class ShiftRegister:
    """The newest event ids of one kind, at most `most`, with the log position each came from."""

    def __init__(self, most: int, known: Known | None = None) -> None:
        self._most = most
        self._known = known or Known()
        self.shelf = self._known.shelf(Block)

    @property
    def oldest(self) -> int:
        """Position of the oldest id kept; 0 when there is none."""
        return self.shelf.oldest.seq if self.shelf.oldest else 0

    def add(self, event_ids: pa.Array | Iterable[str], seq: int) -> None:
        """Remember these ids, and forget the oldest beyond the bound."""
        ids = Ids.of(event_ids)
        if not len(ids):
            return
        slots, places, kinds = self._known.find(ids)
        again = kinds == self.shelf.kind
        rows = np.flatnonzero(ids.first_of(again | (kinds < 0)))
        if not len(rows):
            return  # each waits on another shelf
        before, new = again[rows], rows[~again[rows]]
        self.shelf.take(np.sort(places[rows[before]]))
        here = self._shelve(ids.take(rows), seq)
        self._known.move(slots[rows[before]], here[before])
        self._known.learn(ids, new, here[~before])
        self._forget_oldest()

    def move_here(self, ids: Ids, slots: Rows, seq: int) -> None:
        """The same for ids that were on another shelf of the same index; they are told apart."""
        self._known.move(slots, self._shelve(ids, seq))
        self._forget_oldest()

    def known(self, event_ids: list[str]) -> set[str]:
        """Those of `event_ids` that are remembered."""
        ids = Ids.of(event_ids)
        return set(ids.array.filter(pa.array(self.knows(ids))).to_pylist())

    def knows(self, ids: Ids) -> Mask:
        """Which of the ids are remembered."""
        return np.asarray(self._known.find(ids).kinds == self.shelf.kind)

    def _shelve(self, ids: Ids, seq: int) -> Rows:
        rows = len(ids)
        batch = pa.RecordBatch.from_arrays([ids.array], schema=_REMEMBERED)
        block = Block(seq, batch, rows, np.ones(rows, np.bool_))
        return self.shelf.add(block) + np.arange(rows)

    def _forget_oldest(self) -> None:
        while self.shelf.rows > self._most:
            self._known.drop(self.shelf, self.shelf.rows - self._most)


_REMEMBERED = pa.schema([EVENT_ID])
