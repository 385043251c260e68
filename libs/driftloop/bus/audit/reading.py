"""Reads the event ids of one model from the streams, batch by batch."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from driftloop.bus.audit.ids import IdSets, hashes
from driftloop.bus.audit.pace import FULL, Pace
from driftloop.bus.audit.sums import UNKEPT
from driftloop.bus.audit.window import Window
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.contracts import headers, subjects
from driftloop.contracts.errors import Reject
from driftloop.contracts.letters import LetterDropped
from driftloop.modelspec.rows import as_text, plain

EXPIRED: Final = frozenset(
    {"no prediction came for it in time", "more labels wait than join.max_rows"}
)
"""Reasons of labels given up that are a matter of time and room, not of the label or its row."""

Progress = Callable[[int], None]
"""Hears how many ids were read more."""


class Reading:
    """What the streams hold of one model within a window."""

    def __init__(self, bus: Bus, model: str, span: Window, sets: IdSets, pace: Pace = FULL) -> None:
        self._bus = bus
        self._pace = pace
        self._model = model
        self._window = span
        self._sets = sets
        self._dead: defaultdict[str, set[str]] = defaultdict(set)
        self.copies: Counter[str] = Counter()
        """Rows received, labels and outcomes, copies included."""
        self.unreadable = 0
        """Messages of the window that hold no batch of rows."""
        self.end: dict[str, int] = {}
        """The last sequence that was read of each stream."""

    async def read(self, progress: Progress) -> None:
        """Read all of it; raises `Retry` when the broker is away."""
        model = self._model
        await self._letters()
        names = await self._id_columns()
        for stream, subject, take in (
            ("ROWS", f"rows.{model}.*.*", lambda m: self._row(m, names)),
            ("SCORED", subjects.scored(model), self._scored),
            ("LABELS", subjects.labels(model), self._label),
            ("OUTCOMES", subjects.outcomes(model), self._outcome),
            ("DEAD", f"dead.*.{model}", self._given_up),
        ):
            await self._each(stream, subject, take, progress)

    async def _each(
        self, stream: str, subject: str, take: Callable[[Delivered], int], progress: Progress
    ) -> None:
        last = await self._bus.log.last(stream, subject)
        start = self._window.start(stream)
        self.end[stream] = last.seq if last is not None else 0
        async for message in self._bus.log.range(stream, subject, start, self.end[stream]):
            try:
                progress(take(message))
            except Reject:  # among the dead letters of whoever works on it
                self.unreadable += 1
            await self._pace.rest()

    async def _letters(self) -> None:
        """The positions of dead letters by who could not use them, those that were dropped too."""
        dropped = subjects.event(self._model, LetterDropped.kind)
        for stream, subject in (("DEAD", f"dead.*.{self._model}"), ("EVENTS", dropped)):
            last = await self._bus.log.last(stream, subject)
            if last is None:
                continue
            async for message in self._bus.log.range(stream, subject, 1, last.seq):
                event = message.event() if stream == "EVENTS" else None
                if isinstance(event, LetterDropped):
                    self._dead[event.service].add(event.position)
                elif headers.READ not in message.headers:
                    service = message.subject.split(".")[1]
                    origin = message.headers.get(headers.ORIGIN, "")
                    self._dead[service].add(origin.rpartition(" ")[2])

    async def _id_columns(self) -> list[str]:
        """What the id's column of received rows may be named."""
        registered = await self._bus.specs.get(self._model)
        named = [registered.spec.columns.event_id] if registered is not None else []
        return [*named, "event_id"]

    def _is_dead(self, message: Delivered, *services: str) -> bool:
        return any(message.position in self._dead[service] for service in services)

    def _add(self, kind: str, message: Delivered, ids: pa.Array, telemetry: str) -> int:
        unkept = self._is_dead(message, telemetry)
        found = hashes(ids)
        self._sets.add(kind + UNKEPT if unkept else kind, found)
        return len(found)

    def _row(self, message: Delivered, names: list[str]) -> int:
        state = message.subject.split(".")[2]
        if state == "received":
            return self._received(message, names)
        ids = message.batch().column(0)
        before = "-before" if _input(message) < self._window.start("ROWS") else ""
        if state == "valid" and self._is_dead(message, "inference-scored", "inference-backlog"):
            self._sets.add("valid-dead", hashes(ids))
        return self._add(state + before, message, ids, "telemetry-rows")

    def _received(self, message: Delivered, names: list[str]) -> int:
        rows = plain(message.batch())
        name = next((name for name in names if name in rows.schema.names), "")
        ids = as_text(rows.column(name)) if name else pa.nulls(rows.num_rows, pa.string())
        found = hashes(ids)
        self._sets.add("received", found)
        self.copies["received"] += len(found)
        if self._is_dead(message, *subjects.CHECKS.values()):
            self._sets.add("received-dead", found)
        return len(found)

    def _scored(self, message: Delivered) -> int:
        kind = "scored"
        if headers.INPUT not in message.headers:
            kind = "asked"
        elif _input(message) < self._window.start("ROWS"):
            kind = "scored-before"
        return self._add(kind, message, message.batch().column(0), "telemetry-scored")

    def _label(self, message: Delivered) -> int:
        added = self._add("labels", message, message.batch().column(0), "telemetry-labels")
        self.copies["labels"] += added
        return added

    def _outcome(self, message: Delivered) -> int:
        added = self._add("outcomes", message, message.batch().column(0), "telemetry-outcomes")
        self.copies["outcomes"] += added
        return added

    def _given_up(self, message: Delivered) -> int:
        if headers.READ not in message.headers:
            return 0
        batch = message.batch()
        late = [reason in EXPIRED for reason in batch.column("reason").to_pylist()]
        for kind, mask in (("expired", late), ("unmatched", [not one for one in late])):
            self._add(kind, message, batch.column(0).filter(pa.array(mask)), "telemetry-dead")
        return int(batch.num_rows)


def _input(message: Delivered) -> int:
    """The sequence of ROWS a message was made from; 0 where it does not say."""
    at: Mapping[str, str] = message.headers
    seq = at.get(headers.INPUT, "").rpartition(":")[2]
    return int(seq) if seq.isdigit() else 0
