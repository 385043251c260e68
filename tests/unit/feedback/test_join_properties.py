"""The label join against a plain one of dictionaries: any order, any ids, bounds and expiry."""

from collections import Counter
from typing import NamedTuple

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from driftloop.feedback.domain.ids import Ids, hash_texts
from driftloop.feedback.domain.join import Join
from driftloop.feedback.domain.waiting import Said
from tests.support.loop import joined, labels, scored, spec
from tests.support.thorough import examples

SAID = Said()
ODD = [
    "",
    " ",
    "é",
    "日本",
    "\0",
    "a" * 63,
    "a" * 64,
    "a" * 65,
    "a" * 64 + "b",
    "b" * 200,
    "\U0001f4a9",
]
LABELS = ["no", "yes", "yes", "?", "", None]
MOST = 5
WAIT = 10.0

ids = st.one_of(st.sampled_from([f"e{at}" for at in range(8)]), st.sampled_from(ODD))
some = st.lists(ids, min_size=1, max_size=6).map(tuple)


class Row(NamedTuple):
    """Predictions (`rows`), labels, quarantined rows or an expiry (`clock`): one message."""

    rows: tuple[str, ...] = ()
    given: tuple[tuple[str, str | None], ...] = ()
    refused: tuple[str, ...] = ()
    clock: float = 0.0


pairs = st.tuples(ids, st.sampled_from(LABELS))
messages = st.one_of(
    some.map(lambda rows: Row(rows=rows)),
    st.lists(pairs, min_size=1, max_size=6).map(lambda given: Row(given=tuple(given))),
    some.map(lambda refused: Row(refused=refused)),
    st.sampled_from([0.5, 3.0, 20.0]).map(lambda clock: Row(clock=clock)),
)
logs = st.lists(messages, max_size=20)


class Plain:
    """What the join is to do, row by row; what waits is in the order in which it came."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.predictions: dict[str, tuple[int, float]] = {}
        self.early: dict[str, tuple[str, float]] = {}
        self.done: dict[str, None] = {}
        self.refused: dict[str, None] = {}
        self.pairs: Counter[tuple[str, float]] = Counter()
        self.given_up: Counter[str] = Counter()
        self.expired = self.duplicates = 0

    def hear(self, said: Row, seq: int, now: float) -> None:
        for event_id in said.rows:
            if event_id in self.done or event_id in self.predictions:
                self.duplicates += 1
            elif event_id in self.early:
                self._pair(event_id, self.early.pop(event_id)[0])
            else:
                self.predictions[event_id] = (seq, now)
        told = {*self.refused}
        for event_id, text in said.given:
            self._label(event_id, text, now, told)
        if said.refused:
            again = dict.fromkeys(said.refused)
            kept = [event_id for event_id in self.refused if event_id not in again]
            self.refused = dict.fromkeys([*kept, *again][-self.most :])
            self._give_up([e for e in said.refused if e in self.early])
        self._bound()

    def _label(self, event_id: str, text: str | None, now: float, refused: set[str]) -> None:
        if text not in ("no", "yes"):
            self.given_up[event_id] += 1
        elif event_id in self.predictions:
            del self.predictions[event_id]
            self._pair(event_id, text)
        elif event_id in self.done or event_id in self.early:
            self.duplicates += 1
        elif event_id in refused:
            self.given_up[event_id] += 1
        else:
            self.early[event_id] = (text, now)

    def _pair(self, event_id: str, text: str) -> None:
        self.done[event_id] = None
        self.pairs[event_id, float(text == "yes")] += 1

    def _give_up(self, gone: list[str]) -> None:
        for event_id in gone:
            if self.early.pop(event_id, None) is not None:
                self.given_up[event_id] += 1

    def _bound(self) -> None:
        """Whole messages of predictions go, and as many labels as there are too many."""
        while (
            len(self.predictions) > self.most and len({s for s, _ in self.predictions.values()}) > 1
        ):
            oldest = min(seq for seq, _ in self.predictions.values())
            self._drop([e for e, (seq, _) in self.predictions.items() if seq == oldest])
        self._give_up(list(self.early)[: max(0, len(self.early) - self.most)])
        self.done = dict.fromkeys(list(self.done)[-self.most :])

    def _drop(self, gone: list[str]) -> None:
        self.expired += len(gone)
        for event_id in gone:
            del self.predictions[event_id]

    def expire(self, now: float) -> None:
        self._give_up([e for e, (_, at) in self.early.items() if at + WAIT < now])
        self._drop([e for e, (_, at) in self.predictions.items() if at + WAIT < now])


@examples(80)
@given(logs, st.sampled_from([MOST, 1_000]))
def test_the_join_is_the_plain_join_whatever_comes_in_whatever_order(
    log: list[Row], most: int
) -> None:
    bounds = {"max_rows": most, "labels_wait": "10s", "predictions_wait": "10s"}
    join, plain, now = Join(spec(join=bounds)), Plain(most), 0.0
    pairs: Counter[tuple[str, float]] = Counter()
    given_up: Counter[str] = Counter()
    for seq, said in enumerate(log, 1):
        now += said.clock or 0.001
        gone = join.expire(now, now)
        plain.expire(now)
        if said.rows:
            heard = join.add_scored(
                scored(said.rows, version=1, chances=[0.5] * len(said.rows)), seq, now, SAID
            )
            pairs.update(joined(heard.outcomes) if heard.outcomes is not None else [])
            gone += heard.given_up
        if said.given:
            heard = join.add_labels(labels(said.given), seq, now, SAID)
            pairs.update(joined(heard.outcomes) if heard.outcomes is not None else [])
            gone += heard.given_up
        if said.refused:
            gone += join.refuse(said.refused, seq)
        given_up.update(g.event_id for g in gone)
        plain.hear(said, seq, now)
        assert (join.waiting_predictions, join.waiting_labels) == (
            len(plain.predictions),
            len(plain.early),
        )
    assert (pairs, given_up) == (plain.pairs, plain.given_up)
    assert (join.duplicates, join.expired_predictions) == (plain.duplicates, plain.expired)
    if most > len(log) * 6:
        assert all(count == 1 for count in pairs.values())


@examples(40)
@given(logs, st.data())
def test_how_messages_are_cut_into_batches_changes_nothing(
    log: list[Row], data: st.DataObject
) -> None:
    whole, cut = Join(spec()), Join(spec())
    outcomes: list[list[tuple[str, float]]] = [[], []]
    given_up: list[Counter[str]] = [Counter(), Counter()]
    for seq, said in enumerate(log, 1):
        at = data.draw(st.integers(0, max(len(said.rows), len(said.given))))
        for number, (join, parts) in enumerate(
            ((whole, [said]), (cut, [_part(said, slice(0, at)), _part(said, slice(at, None))]))
        ):
            for half, part in enumerate(parts):
                found, gone = _hear(join, part, 2 * seq + half)
                outcomes[number] += found
                given_up[number].update(gone)
    assert sorted(outcomes[0]) == sorted(outcomes[1])
    assert given_up[0] == given_up[1]
    assert (whole.waiting_predictions, whole.waiting_labels, whole.duplicates) == (
        cut.waiting_predictions,
        cut.waiting_labels,
        cut.duplicates,
    )


@examples(60)
@given(st.lists(st.text(max_size=150), max_size=30), st.integers(0, 30))
def test_an_id_has_one_hash_wherever_it_lies(texts: list[str], start: int) -> None:
    every = hash_texts(pa.array(texts, pa.string()))
    part = hash_texts(pa.array(["x", *texts], pa.string()).slice(1 + start))
    assert part.tolist() == every[start:].tolist()
    assert 0 not in every.tolist()
    by_text = dict(zip(texts, every.tolist(), strict=True))
    assert [by_text[text] for text in texts] == every.tolist()
    assert len(Ids.of(texts)) == len(texts)


def _part(said: Row, at: slice) -> Row:
    return Row(said.rows[at], said.given[at], said.refused if at.start is not None else ())


def _hear(join: Join, said: Row, seq: int) -> tuple[list[tuple[str, float]], list[str]]:
    found: list[tuple[str, float]] = []
    gone: list[str] = []
    if said.rows:
        heard = join.add_scored(
            scored(said.rows, version=1, chances=[0.5] * len(said.rows)), seq, float(seq), SAID
        )
        found = joined(heard.outcomes) if heard.outcomes is not None else []
        gone = [g.event_id for g in heard.given_up]
    if said.given:
        heard = join.add_labels(labels(said.given), seq, float(seq), SAID)
        found = joined(heard.outcomes) if heard.outcomes is not None else []
        gone = [g.event_id for g in heard.given_up]
    if said.refused:
        gone += [g.event_id for g in join.refuse(said.refused, seq)]
    return found, gone


def test_a_buffer_that_is_longer_than_its_column_is_read_as_far_as_the_column_goes() -> None:
    column = pa.array(["a", "bc", "é"])
    _, offsets, data = column.buffers()
    longer = pa.py_buffer(offsets.to_pybytes()[:16] + b"\1\2\3")
    odd = pa.StringArray.from_buffers(3, longer, data)
    assert hash_texts(odd).tolist() == hash_texts(column).tolist()
