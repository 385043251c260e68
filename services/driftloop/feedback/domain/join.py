"""The label join of one model.

Predictions wait for labels and labels for predictions, whichever comes first; each pair becomes one
outcome. What waits is bounded in rows and in time, and what is given up is said with a reason. The
clocks are those of the log (when the broker stored a message), so a replay decides as the first run
did.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import EVENT_ID, LABEL, LABEL_TIME, ROW_QUARANTINED
from driftloop.feedback.domain.ids import Ids, Mask, Rows
from driftloop.feedback.domain.known import KEY_MASK, ROW_BITS, Known, one_batch, pick
from driftloop.feedback.domain.labels import LabelCodec
from driftloop.feedback.domain.waiting import Chunk, Low, Said, ShiftRegister
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec

EARLY: Final = pa.schema([EVENT_ID, pa.field("text", pa.string()), LABEL, LABEL_TIME])


NOWHERE: Final = np.empty(0, np.int64)


class GivenUp(NamedTuple):
    """A label that will not be joined, and why."""

    event_id: str
    label: str | None
    reason: str


class Joined(NamedTuple):
    """What one input led to: outcomes (or None), and labels given up.

    `places` says where the predictions of the outcomes lay, row by row.
    """

    outcomes: pa.RecordBatch | None
    given_up: list[GivenUp]
    places: Rows = NOWHERE

    def scored(self, start: int, stop: int) -> list[int]:
        """Sequences of the scored messages of these outcomes, each once."""
        found: list[int] = np.unique(self.places[start:stop] >> ROW_BITS & KEY_MASK).tolist()
        return found


class Join:
    """State and decisions of the join of one model; feed it every message of the log once."""

    def __init__(self, spec: Spec) -> None:
        self.adopt(spec)
        self._known = Known()
        self._predictions = self._known.shelf(Chunk)
        self._chunks = self._predictions.blocks
        self._early = self._known.shelf(Chunk)
        self._done = ShiftRegister(self._most, self._known)
        self._refused = ShiftRegister(self._most)
        self._given_up: dict[tuple[str, str | None], int] = {}
        self._given_up_to = 0
        self.duplicates = 0
        self.expired_predictions = 0

    def adopt(self, spec: Spec) -> None:
        """Go on with the classes, times and bounds of this spec."""
        self._codec = LabelCodec(spec)
        self._labels_wait = durations.seconds(spec.join.labels_wait)
        self._predictions_wait = durations.seconds(spec.join.predictions_wait)
        self._most = spec.join.max_rows

    @property
    def waiting_predictions(self) -> int:
        """Predictions without a label so far."""
        return self._predictions.rows

    @property
    def waiting_labels(self) -> int:
        """Labels without a prediction so far."""
        return self._early.rows

    def low(self, low: Low) -> Low:
        """The lowest positions a rebuild has to read from; `low` is where the logs stand now."""
        chunk, label = self._predictions.oldest, self._early.oldest
        said = [waiting.said for waiting in (chunk, label) if waiting]
        return Low(
            scored=min(chunk.seq, low.scored) if chunk else low.scored,
            labels=min(label.seq, low.labels) if label else low.labels,
            refused=min(self._refused.oldest or low.refused, low.refused),
            outcomes=min([low.outcomes, *(s.outcomes for s in said)]),
            given_up=min([low.given_up, *(s.given_up for s in said)]),
        )

    def restore(self, event_ids: pa.Array | Iterable[str], seq: int) -> None:
        """These were joined before: rebuilding skips them. Say so before anything is heard."""
        self._done.add(event_ids, seq)

    def restore_given_up(self, labels: Iterable[tuple[str, str | None]], labels_read: int) -> None:
        """These ids and labels were given up when what is before `labels_read` had been read."""
        self._given_up.update(dict.fromkeys(labels, labels_read))
        self._given_up_to = max(self._given_up_to, labels_read)

    def add_scored(self, batch: pa.RecordBatch, seq: int, time: float, said: Said) -> Joined:
        """Predictions arrive; those whose labels came early are joined."""
        ids = Ids.of(batch.column(0))
        slots, places, kinds = self._known.find(ids)
        new = ids.first_of((kinds < 0) | (kinds == self._early.kind))
        count = int(np.count_nonzero(new))
        self.duplicates += len(ids) - count
        if not count:
            return Joined(None, self._bound())
        chunk = Chunk(seq, batch, count, new, time=time, said=said)
        base = self._predictions.add(chunk, seq)
        outcomes, places_of = None, NOWHERE
        if self._early.rows and len(early := np.flatnonzero(new & (kinds >= 0))):
            labels = _in_order(self._early.take, places[early])
            self._done.move_here(ids.take(early), slots[early], said.outcomes)
            places_of = base + early
            outcomes = self._outcomes(places_of, labels.column(2), labels.column(3))
        waits = np.flatnonzero(new & (kinds < 0))
        self._known.learn(ids, waits, base + waits)
        return Joined(outcomes, self._bound(), places_of)

    def add_labels(self, batch: pa.RecordBatch, seq: int, time: float, said: Said) -> Joined:
        """Labels arrive; those whose predictions wait are joined, the others wait."""
        ids, texts = Ids.of(batch.column(0)), batch.column(1)
        numbers = self._codec.numbers(texts)
        columns = [ids.array, texts, pa.array(numbers), _times(batch.column(2))]
        told = self._told_before(ids, texts, seq)
        good = ~(np.isnan(numbers) | told)
        slots, places, kinds = self._known.find(ids)
        refused = np.zeros_like(good)
        if self._refused.shelf.rows and (unknown := good & (kinds < 0)).any():
            refused = unknown & self._refused.knows(ids)
        first = ids.first_of(good)
        met = np.flatnonzero(first & (kinds == self._predictions.kind))
        early = np.flatnonzero(first & (kinds < 0) & ~refused)
        gone = np.flatnonzero(refused | ~(good | told))
        self.duplicates += len(ids) - len(met) - len(early) - len(gone)
        given_up = self._not_joined(columns, gone, refused[gone]) if len(gone) else []
        outcomes = None
        if len(met):
            order = met[np.argsort(places[met])]
            self._done.move_here(ids.take(met), slots[met], said.outcomes)
            sent, at = pick(columns[2], order), pick(columns[3], order)
            outcomes = self._outcomes(places[order], sent, at)
        if len(early):
            rows = pa.RecordBatch.from_arrays(columns, schema=EARLY).take(pa.array(early))
            chunk = Chunk(seq, rows, len(early), _all(len(early)), time=time, said=said)
            base = self._early.add(chunk)
            self._known.learn(ids, early, base + np.arange(len(early)))
        return Joined(outcomes, given_up + self._bound(), places[order] if len(met) else NOWHERE)

    def refuse(self, event_ids: pa.Array | Sequence[str], seq: int) -> list[GivenUp]:
        """These rows were quarantined: their labels will never find a prediction."""
        self._refused.add(event_ids, seq)
        if not self._early.rows:
            return []
        ids = Ids.of(event_ids)
        slots, places, kinds = self._known.find(ids)
        waiting = np.flatnonzero(ids.first_of(kinds == self._early.kind))
        if not len(waiting):
            return []
        labels = _in_order(self._early.take, places[waiting])
        self._known.forget(slots[waiting])
        return _given_up(labels, ROW_QUARANTINED)

    def expire(self, scored_clock: float, labels_clock: float) -> list[GivenUp]:
        """Give up what waited too long: each side waits on the clock of the other one's log."""
        given_up: list[GivenUp] = []
        while (label := self._early.oldest) and label.time + self._labels_wait < scored_clock:
            gone = self._known.drop(self._early)
            given_up += _given_up(gone, "no prediction came for it in time")
        while (chunk := self._predictions.oldest) and (
            chunk.time + self._predictions_wait < labels_clock
        ):
            self._drop(chunk)
        return given_up

    def _told_before(self, ids: Ids, texts: pa.StringArray, seq: int) -> Mask:
        """Labels that are heard again after a restart, and were given up before it."""
        if seq >= self._given_up_to:
            self._given_up.clear()
        if not self._given_up:
            return np.zeros(len(ids), np.bool_)
        sent = zip(ids.array.to_pylist(), texts.to_pylist(), strict=True)
        return np.array([self._given_up.get(label, 0) > seq for label in sent], np.bool_)

    def _not_joined(self, columns: list[pa.Array], rows: Rows, refused: Mask) -> list[GivenUp]:
        """Why these labels are given up at once: their rows were quarantined, or no such class."""
        ids, texts = (column.take(pa.array(rows)).to_pylist() for column in columns[:2])
        accepted = self._codec.accepted
        reasons = [
            ROW_QUARANTINED if bad_row else f"label: {text!r} is not accepted; accepted: {accepted}"
            for text, bad_row in zip(texts, refused.tolist(), strict=True)
        ]
        return list(map(_MAKE, zip(ids, texts, reasons, strict=True)))

    def _outcomes(self, places: Rows, numbers: pa.Array, times: pa.Array) -> pa.RecordBatch:
        """One outcome a pair, in the order of the scored log: predictions with these labels."""
        rows = one_batch(self._predictions.take(places))
        return rows.append_column(LABEL, numbers).append_column(LABEL_TIME, times)

    def _bound(self) -> list[GivenUp]:
        """Keep what waits within `join.max_rows`, the oldest goes first."""
        while self._predictions.rows > self._most and len(self._chunks) > 1:
            self._drop(next(iter(self._chunks.values())))
        given_up: list[GivenUp] = []
        while self._early.rows > self._most:
            gone = self._known.drop(self._early, self._early.rows - self._most)
            given_up += _given_up(gone, "more labels wait than join.max_rows")
        return given_up

    def _drop(self, chunk: Chunk) -> None:
        self.expired_predictions += chunk.waiting
        self._known.drop(self._predictions)


def _in_order(take: Callable[[Rows], list[pa.RecordBatch]], places: Rows) -> pa.RecordBatch:
    """Take rows off a shelf, and give them in the order of `places`."""
    order = np.argsort(places)
    rows = one_batch(take(places[order]))
    return rows.take(pa.array(np.argsort(order)))


def _given_up(labels: pa.RecordBatch, reason: str) -> list[GivenUp]:
    ids, texts = labels.column(0).to_pylist(), labels.column(1).to_pylist()
    return list(map(_MAKE, zip(ids, texts, repeat(reason))))


def _times(column: pa.Array) -> pa.Array:
    """Times of labels; numbers are milliseconds since 1970."""
    same = column.type == LABEL_TIME.type
    return column if same else column.cast(pa.int64()).cast(LABEL_TIME.type)


def _all(rows: int) -> Mask:
    return np.ones(rows, np.bool_)


_MAKE: Final = partial(tuple.__new__, GivenUp)
"""Makes them as fast as tuples: there may be many at once."""
