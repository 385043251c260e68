"""Control events as the feed keeps them, and which of them somebody asks for."""

from collections import deque
from collections.abc import Collection, Iterator

import msgspec

from driftloop.contracts.facts import Fact

_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A control event as JSON (`raw`, a `Fact`), and what it is looked for by."""

    seq: int
    id: str
    model: str
    kind: str
    service: str
    correlation: str
    raw: bytes


def told_of(fact: Fact) -> Told:
    """What the feed keeps of an event."""
    return Told(
        seq=fact.seq,
        id=fact.id,
        model=fact.model,
        kind=fact.kind,
        service=fact.service,
        correlation=fact.correlation,
        raw=_encode(fact),
    )


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events somebody wants; "" is any, `models` None is all. `text` may be anywhere."""

    model: str = ""
    kind: str = ""
    service: str = ""
    correlation: str = ""
    text: str = ""
    models: frozenset[str] | None = None

    def has(self, told: Told) -> bool:
        """Whether this one is among them."""
        return (
            (not self.model or told.model == self.model)
            and (self.models is None or told.model in self.models)
            and (not self.kind or told.kind == self.kind)
            and (not self.service or told.service == self.service)
            and (not self.correlation or told.correlation == self.correlation)
            and (not self.text or self.text.lower().encode() in told.raw.lower())
        )


class Feed:
    """The newest control events; of more than `most` the oldest goes, and is counted."""

    def __init__(self, most: int) -> None:
        self.kept: deque[Told] = deque(maxlen=most)
        self.dropped = 0
        self.begins = 0
        """The first event of the log that was read; 0 before the reading began."""

    @property
    def last_seq(self) -> int:
        """The newest event; 0 before the first."""
        return self.kept[-1].seq if self.kept else 0

    @property
    def whole(self) -> bool:
        """Whether there is no older event than those that are kept."""
        return self.begins == 1 and not self.dropped

    @property
    def first_seq(self) -> int:
        """The oldest event that is kept; 0 before the first."""
        return self.kept[0].seq if self.kept else 0

    def add(self, fact: Fact) -> Told | None:
        """Keep an event; None for one that was there already."""
        if fact.seq <= self.last_seq:
            return None
        self.dropped += len(self.kept) == self.kept.maxlen
        told = told_of(fact)
        self.kept.append(told)
        return told

    def find(self, wanted: Wanted, before: int = 0) -> Iterator[Told]:
        """Those that are wanted, before sequence `before` (0: all), newest first."""
        for told in reversed(self.kept):
            if (not before or told.seq < before) and wanted.has(told):
                yield told


def joined(told: Collection[Told]) -> bytes:
    """A JSON array of events."""
    return b"[%b]" % b",".join([its.raw for its in told])
