"""The label join of one model.

Predictions wait for labels and labels for predictions, whichever comes first; each pair becomes one
outcome. What waits is bounded in rows and in time, and what is given up is said with a reason. The
clocks are those of the log (when the broker stored a message), so a replay decides as the first run
did.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import LABEL, LABEL_TIME, to_batch
from driftloop.feedback.domain.labels import LabelCodec
from driftloop.feedback.domain.waiting import Chunk, Label, Low, Said, ShiftRegister
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec

ROW_BITS = 24
ROW_MASK = (1 << ROW_BITS) - 1


class GivenUp(NamedTuple):
    """A label that will not be joined, and why."""

    event_id: str
    label: str | None
    reason: str


class Joined(NamedTuple):
    """What one input led to: outcomes (or None), and labels given up."""

    outcomes: pa.RecordBatch | None
    given_up: list[GivenUp]


class Join:
    """State and decisions of the join of one model; feed it every message of the log once."""

    def __init__(self, spec: Spec) -> None:
        self.adopt(spec)
        self._chunks: OrderedDict[int, Chunk] = OrderedDict()
        self._predictions: dict[str, int] = {}
        self._early: OrderedDict[str, Label] = OrderedDict()
        self._done = ShiftRegister(self._most)
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
        return len(self._predictions)

    @property
    def waiting_labels(self) -> int:
        """Labels without a prediction so far."""
        return len(self._early)

    def low(self, low: Low) -> Low:
        """The lowest positions a rebuild has to read from; `low` is where the logs stand now."""
        chunk = next(iter(self._chunks.values()), None)
        label = next(iter(self._early.values()), None)
        said = [waiting.said for waiting in (chunk, label) if waiting]
        return Low(
            scored=min(chunk.seq, low.scored) if chunk else low.scored,
            labels=min(label.seq, low.labels) if label else low.labels,
            refused=min(self._refused.oldest or low.refused, low.refused),
            outcomes=min([low.outcomes, *(s.outcomes for s in said)]),
            given_up=min([low.given_up, *(s.given_up for s in said)]),
        )

    def restore(self, event_ids: Iterable[str], seq: int) -> None:
        """These were joined before: rebuilding skips them."""
        self._done.add(event_ids, seq)

    def restore_given_up(self, labels: Iterable[tuple[str, str | None]], labels_read: int) -> None:
        """These ids and labels were given up when what is before `labels_read` had been read."""
        self._given_up.update(dict.fromkeys(labels, labels_read))
        self._given_up_to = max(self._given_up_to, labels_read)

    def add_scored(self, batch: pa.RecordBatch, seq: int, time: float, said: Said) -> Joined:
        """Predictions arrive; those whose labels came early are joined."""
        ids: list[str] = batch.column(0).to_pylist()
        base = seq << ROW_BITS
        new = dict(zip(reversed(ids), range(base + len(ids) - 1, base - 1, -1), strict=True))
        for event_id in self._done.known(ids) | (self._predictions.keys() & new.keys()):
            del new[event_id]
        self.duplicates += len(ids) - len(new)
        if new:
            self._chunks[seq] = Chunk(seq, batch, time, said, len(new))
        early = sorted(self._early.keys() & new.keys(), key=new.__getitem__)
        met = {new.pop(event_id): self._early.pop(event_id) for event_id in early}
        self._predictions.update(new)
        return Joined(self._outcomes(met, early, said.outcomes), self._bound())

    def add_labels(self, batch: pa.RecordBatch, seq: int, time: float, said: Said) -> Joined:
        """Labels arrive; those whose predictions wait are joined, the others wait."""
        ids: list[str] = batch.column(0).to_pylist()
        texts: list[str | None] = batch.column(1).to_pylist()
        times: list[int | None] = batch.column(2).cast(pa.int64()).to_pylist()
        numbers = self._codec.numbers(texts)
        if seq >= self._given_up_to:
            self._given_up.clear()
        met: dict[int, Label] = {}
        joined: dict[str, None] = {}
        given_up: list[GivenUp] = []
        done, refused = self._done.known(ids), self._refused.known(ids)
        for event_id, text, number, at in zip(ids, texts, numbers, times, strict=True):
            if self._given_up and self._given_up.get((event_id, text), 0) > seq:
                self.duplicates += 1
                continue
            if number is None:
                reason = f"label: {text!r} is not accepted; accepted: {self._codec.accepted}"
                given_up.append(GivenUp(event_id, text, reason))
                continue
            label = Label(seq, text or "", number, at, time, said)
            place = self._predictions.pop(event_id, None)
            if place is not None:
                met[place] = label
                joined[event_id] = None
            elif event_id in done or event_id in self._early or event_id in joined:
                self.duplicates += 1
            elif event_id in refused:
                given_up.append(GivenUp(event_id, text, "its row was quarantined"))
            else:
                self._early[event_id] = label
        return Joined(self._outcomes(met, list(joined), said.outcomes), given_up + self._bound())

    def refuse(self, event_ids: Sequence[str], seq: int) -> list[GivenUp]:
        """These rows were quarantined: their labels will never find a prediction."""
        self._refused.add(event_ids, seq)
        waiting = [(e, self._early.pop(e).text) for e in event_ids if e in self._early]
        return [GivenUp(e, text, "its row was quarantined") for e, text in waiting]

    def expire(self, scored_clock: float, labels_clock: float) -> list[GivenUp]:
        """Give up what waited too long: each side waits on the clock of the other one's log."""
        given_up: list[GivenUp] = []
        while self._early:
            event_id, label = next(iter(self._early.items()))
            if label.time + self._labels_wait >= scored_clock:
                break
            del self._early[event_id]
            given_up.append(GivenUp(event_id, label.text, "no prediction came for it in time"))
        while self._chunks:
            chunk = next(iter(self._chunks.values()))
            if chunk.time + self._predictions_wait >= labels_clock:
                break
            self._drop(chunk)
        return given_up

    def _outcomes(
        self, met: dict[int, Label], event_ids: list[str], outcomes_seq: int
    ) -> pa.RecordBatch | None:
        """One outcome a pair, in the order of the scored log; `met` maps places to labels."""
        if not met:
            return None
        self._done.add(event_ids, outcomes_seq)
        places = np.fromiter(sorted(met), dtype=np.int64, count=len(met))
        seqs, rows = places >> ROW_BITS, places & ROW_MASK
        starts = np.flatnonzero(np.r_[True, seqs[1:] != seqs[:-1]])
        parts = []
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(places)], strict=True):
            chunk = self._chunks[int(seqs[start])]
            parts.append(pa.Table.from_batches([chunk.take(rows[start:end])]))
            self._taken(chunk, end - start)
        table = pa.concat_tables(parts, promote_options="default")
        labels = [met[place] for place in places.tolist()]
        table = table.append_column(LABEL, pa.array([label.number for label in labels], LABEL.type))
        table = table.append_column(
            LABEL_TIME, pa.array([label.at for label in labels], LABEL_TIME.type)
        )
        return to_batch(table)

    def _taken(self, chunk: Chunk, rows: int) -> None:
        """So many rows of a chunk wait no more; what nobody waits for is let go by and by."""
        chunk.waiting -= rows
        if not chunk.waiting:
            del self._chunks[chunk.seq]
        elif chunk.waiting * 2 < chunk.batch.num_rows:
            base = chunk.seq << ROW_BITS
            waiting = [r for r, e in chunk.held() if self._predictions.get(e) == base + r]
            chunk.keep(np.array(waiting, dtype=np.int64))

    def _bound(self) -> list[GivenUp]:
        """Keep what waits within `join.max_rows`, the oldest goes first."""
        while len(self._predictions) > self._most and len(self._chunks) > 1:
            self._drop(next(iter(self._chunks.values())))
        given_up: list[GivenUp] = []
        while len(self._early) > self._most:
            event_id, label = self._early.popitem(last=False)
            given_up.append(GivenUp(event_id, label.text, "more labels wait than join.max_rows"))
        return given_up

    def _drop(self, chunk: Chunk) -> None:
        base = chunk.seq << ROW_BITS
        for row, event_id in chunk.held():
            if self._predictions.get(event_id) == base + row:
                del self._predictions[event_id]
        self.expired_predictions += chunk.waiting
        self._chunks.pop(chunk.seq, None)
