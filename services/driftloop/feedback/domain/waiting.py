"""What waits in the join, and where in the logs it lies."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa


class Low(NamedTuple):
    """Positions in the logs: all before them is settled."""

    scored: int
    labels: int
    refused: int
    outcomes: int

    def text(self) -> str:
        """As a header, for example `SCORED:5,LABELS:3,ROWS:1,OUTCOMES:2`."""
        return f"SCORED:{self.scored},LABELS:{self.labels},ROWS:{self.refused},OUTCOMES:{self.outcomes}"

    @classmethod
    def parse(cls, text: str) -> "Low":
        """The positions in a header's text."""
        found = dict(part.split(":") for part in text.split(","))
        return cls(*(int(found[name]) for name in ("SCORED", "LABELS", "ROWS", "OUTCOMES")))


@dataclass(slots=True)
class Chunk:
    """A scored batch some of whose rows wait for their labels."""

    seq: int
    batch: pa.RecordBatch
    time: float
    outcomes_seq: int
    waiting: int


@dataclass(slots=True, frozen=True)
class Label:
    """A label that waits for its prediction, or is about to meet it."""

    seq: int
    text: str
    number: float
    at: int | None
    time: float
    outcomes_seq: int


class ShiftRegister:
    """The newest event ids of one kind, at most `most` of them, with the log position each came from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: OrderedDict[str, int] = OrderedDict()

    @property
    def oldest(self) -> int:
        """Position of the oldest id kept; 0 when there is none."""
        return next(iter(self._ids.values()), 0)

    def add(self, event_ids: Iterable[str], seq: int) -> None:
        """Remember these ids, and forget the oldest beyond the bound."""
        self._ids.update(dict.fromkeys(event_ids, seq))
        while len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def known(self, event_ids: list[str]) -> set[str]:
        """Those of `event_ids` that are remembered."""
        return self._ids.keys() & set(event_ids) if self._ids else set()
