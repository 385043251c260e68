import contextlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from driftloop.feedback.domain.join import Join, Joined
from driftloop.feedback.domain.waiting import BEGINNING, Low, Said, ShiftRegister
from driftloop.feedback.store import REMEMBERED, ModelJoin
from driftloop.modelspec.spec import Registered
from tests.support.loop import joined, labels, scored, spec

NAMES = [f"e{at}" for at in range(12)]
SAID = Said()


class Scored(NamedTuple):
    ids: tuple[str, ...]
    shadow: int


class Labelled(NamedTuple):
    given: tuple[tuple[str, str | None], ...]


class Refused(NamedTuple):
    ids: tuple[str, ...]


Message = Scored | Labelled | Refused

some_ids = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6).map(tuple)
message = st.one_of(
    st.builds(Scored, some_ids, st.integers(0, 2)),
    st.builds(
        Labelled,
        st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(["no", "yes", "yes", "?", None])),
            min_size=1,
            max_size=6,
        ).map(tuple),
    ),
    st.builds(Refused, some_ids),
)
logs = st.lists(message, max_size=14)
FEW = settings(max_examples=80, deadline=None)


def batch_of(said: Scored) -> pa.RecordBatch:
    rows = len(said.ids)
    numbers = np.array([[int(e[1:]), said.shadow] for e in said.ids])
    shadows = {said.shadow: [0.5] * rows} if said.shadow else {}
    return scored(said.ids, features=numbers, version=1, chances=[0.5] * rows, shadows=shadows)


def hear(join: Join, said: Message, seq: int, before: Said = SAID) -> Joined:
    if isinstance(said, Scored):
        return join.add_scored(batch_of(said), seq, float(seq), before)
    if isinstance(said, Labelled):
        return join.add_labels(labels(said.given), seq, float(seq), before)
    return Joined(None, join.refuse(said.ids, seq))


class Naive:
    """What the join is to do, with dictionaries, a row at a time."""

    def __init__(self) -> None:
        self.predictions: set[str] = set()
        self.early: dict[str, str] = {}
        self.refused: set[str] = set()
        self.pairs: list[tuple[str, float]] = []
        self.done: set[str] = set()
        self.given_up: list[str] = []
        self.duplicate_labels = 0

    def hear(self, said: Message) -> None:
        if isinstance(said, Scored):
            for event_id in said.ids:
                self._scored(event_id)
        elif isinstance(said, Labelled):
            for event_id, text in said.given:
                self._label(event_id, text)
        else:
            self.refused |= set(said.ids)
            gone = self.early.keys() & self.refused
            self.given_up += [e for e in gone if self.early.pop(e)]

    def _scored(self, event_id: str) -> None:
        if event_id in self.done or event_id in self.predictions:
            return
        if event_id in self.early:
            self._pair(event_id, self.early.pop(event_id))
        else:
            self.predictions.add(event_id)

    def _label(self, event_id: str, text: str | None) -> None:
        if text not in ("no", "yes"):
            self.given_up.append(event_id)
        elif event_id in self.predictions:
            self.predictions.remove(event_id)
            self._pair(event_id, text)
        elif event_id in self.done or event_id in self.early:
            self.duplicate_labels += 1
        elif event_id in self.refused:
            self.given_up.append(event_id)
        else:
            self.early[event_id] = text

    def _pair(self, event_id: str, text: str) -> None:
        self.done.add(event_id)
        self.pairs.append((event_id, float(text == "yes")))


@FEW
@given(logs)
def test_the_join_is_the_naive_join_of_the_same_messages(log: list[Message]) -> None:
    join, naive = Join(spec()), Naive()
    pairs: list[tuple[str, float]] = []
    given_up: list[str] = []
    for seq, said in enumerate(log, 1):
        heard = hear(join, said, seq)
        naive.hear(said)
        pairs += joined(heard.outcomes) if heard.outcomes is not None else []
        given_up += [g.event_id for g in heard.given_up]
        assert join.waiting_predictions == len(naive.predictions)
        assert join.waiting_labels == len(naive.early)
    assert sorted(pairs) == sorted(naive.pairs)
    assert Counter(given_up) == Counter(naive.given_up)
    sent = sum(len(m.given) for m in log if isinstance(m, Labelled))
    assert sent == len(pairs) + len(given_up) + naive.duplicate_labels + join.waiting_labels


@FEW
@given(logs)
def test_an_outcome_holds_the_row_that_was_scored_first(log: list[Message]) -> None:
    join = Join(spec())
    first: dict[str, int] = {}
    for seq, said in enumerate(log, 1):
        if isinstance(said, Scored):
            for event_id in said.ids:
                first.setdefault(event_id, said.shadow)
        heard = hear(join, said, seq)
        for row in heard.outcomes.to_pylist() if heard.outcomes is not None else []:
            event_id = row["event_id"]
            assert row["features"] == [int(event_id[1:]), first[event_id]]
            for shadow in (1, 2):
                answered = row.get(f"shadow_v{shadow}") is not None
                assert answered == (first[event_id] == shadow)


class Crash(Exception):
    """The process died."""


class Life:
    """One life of the service, over logs that outlive it, told apart as in the handlers."""

    def __init__(self, logs: "Logs", steps: int) -> None:
        self._logs = logs
        self._steps = steps
        self.joined = ModelJoin.new(Registered(spec=spec(), revision=1, by="", at=0.0))
        self._rebuild()
        self._at = {s: self.joined.low.of(s) for s in ("SCORED", "LABELS", "ROWS")}

    def _rebuild(self) -> None:
        joined, logs = self.joined, self._logs
        if logs.outcomes:
            joined.low, joined.read = logs.outcomes[-1][1:]
        for seq, (pairs, _, _) in enumerate(logs.outcomes, 1):
            if seq >= joined.low.outcomes - REMEMBERED:
                joined.join.restore([e for e, _ in pairs], seq)
        for seq, (gone, read) in enumerate(logs.given_up, 1):
            if seq >= joined.low.given_up:
                joined.restore_given_up(gone, read)
        joined.last_seq, joined.last_given_up = len(logs.outcomes), len(logs.given_up)

    def read(self, stream: str) -> None:
        """Hear the next message of a log, and say what comes of it, in batches of two."""
        messages, seq = self._logs.inputs[stream], self._at[stream]
        if seq > len(messages):
            return
        self._step()
        here, after = self._at, {**self._at, stream: seq + 1}
        before = self.joined.join.low(self.joined.heard(here))
        said = self.joined.said(stream, seq)
        heard = hear(self.joined.join, messages[seq - 1], seq, said)
        if heard.given_up:
            gone = [(g.event_id, g.label) for g in heard.given_up]
            self._logs.given_up.append((gone, self.joined.read_up_to(after)))
            self.joined.last_given_up += 1
            self._step()
        pairs = joined(heard.outcomes) if heard.outcomes is not None else []
        for start in range(0, len(pairs), 2):
            at, low = (here, before)
            if start + 2 >= len(pairs):
                at, low = after, self.joined.join.low(self.joined.heard(after))
            read = self.joined.read_up_to(at)
            self._logs.outcomes.append((pairs[start : start + 2], low, read))
            self.joined.last_seq += 1
            self._step()
        self._at = after

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise Crash


class Logs:
    """All that outlives a process."""

    def __init__(self, messages: list[Message]) -> None:
        kinds = {"SCORED": Scored, "LABELS": Labelled, "ROWS": Refused}
        self.inputs = {s: [m for m in messages if isinstance(m, k)] for s, k in kinds.items()}
        self.outcomes: list[tuple[list[tuple[str, float]], Low, Low]] = []
        self.given_up: list[tuple[list[tuple[str, str | None]], Low]] = []

    def read_all(self, order: list[str], crash_after: int) -> None:
        """Live until everything is read, in an order that begins with `order`, or until a crash."""
        life = Life(self, crash_after)
        rest = [stream for stream, messages in self.inputs.items() for _ in messages]
        with contextlib.suppress(Crash):
            for stream in [*order, *rest]:
                life.read(stream)


orders = st.lists(st.sampled_from(["SCORED", "LABELS"]), max_size=20)


@FEW
@example(  # row and label come again when both were settled, and the process died in between
    [
        Scored(("e0", "e1", "e3"), 0),
        Labelled((("e0", "no"), ("e1", "no"), ("e2", "no"), ("e3", "no"))),
        Scored(("e2",), 0),
        Labelled((("e0", "no"),)),
        Scored(("e0",), 0),
    ],
    [(5, ["LABELS"])],
    [],
)
@given(logs, st.lists(st.tuples(st.integers(0, 20), orders), max_size=4), orders)
def test_after_crashes_at_any_points_no_pair_is_lost_and_none_comes_twice(
    log: list[Message], crashes: list[tuple[int, list[str]]], last: list[str]
) -> None:
    kept = Logs([m for m in log if not isinstance(m, Refused)])
    for steps, order in [*crashes, (1_000, last)]:
        kept.read_all(order, steps)
    pairs = [pair for found, _, _ in kept.outcomes for pair in found]
    given_up = Counter(e for gone, _ in kept.given_up for e, _ in gone)
    scored_ids = {e for m in log if isinstance(m, Scored) for e in m.ids}
    sent = [pair for m in log if isinstance(m, Labelled) for pair in m.given]
    good = {e for e, text in sent if text in ("no", "yes")}
    assert len({e for e, _ in pairs}) == len(pairs)
    assert {e for e, _ in pairs} == good & scored_ids
    bad = {e for e, text in sent if text not in ("no", "yes")}
    assert given_up.keys() == bad
    assert all(given_up[e] <= sum(e == other for other, _ in sent) for e in bad)


def test_the_oldest_labels_go_first_when_too_many_wait() -> None:
    join = Join(spec(join={"max_rows": 3}))
    given_up = join.add_labels(labels([(e, "no") for e in NAMES[:5]]), 1, 1.0, SAID).given_up
    assert [g.event_id for g in given_up] == ["e0", "e1"]
    assert {g.reason for g in given_up} == {"more labels wait than join.max_rows"}
    assert join.waiting_labels == 3


def test_the_oldest_predictions_go_first_when_too_many_wait() -> None:
    join = Join(spec(join={"max_rows": 4}))
    for seq in (1, 2, 3):
        join.add_scored(scored([f"{seq}{at}" for at in range(2)]), seq, 1.0, SAID)
    assert join.waiting_predictions == 4
    assert join.expired_predictions == 2
    assert join.add_labels(labels([("10", "no")]), 1, 1.0, SAID).outcomes is None
    assert join.low(BEGINNING._replace(scored=4)).scored == 2


def test_labels_expire_on_the_clock_of_the_scored_log() -> None:
    join = Join(spec(join={"labels_wait": "10s"}))
    join.add_labels(labels([("e1", "no")]), 1, 100.0, SAID)
    join.add_labels(labels([("e2", "no")]), 2, 105.0, SAID)
    assert join.expire(scored_clock=110.0, labels_clock=1e9) == []
    given_up = join.expire(scored_clock=110.1, labels_clock=0.0)
    assert given_up == [("e1", "no", "no prediction came for it in time")]
    assert join.waiting_labels == 1


def test_predictions_expire_on_the_clock_of_the_label_log() -> None:
    join = Join(spec(join={"predictions_wait": "10s"}))
    join.add_scored(scored(["e1", "e2"]), 1, 100.0, SAID)
    join.expire(scored_clock=1e9, labels_clock=110.0)
    assert join.waiting_predictions == 2
    join.expire(scored_clock=0.0, labels_clock=110.1)
    assert join.waiting_predictions == 0
    assert join.expired_predictions == 2


def test_a_label_of_a_quarantined_row_is_given_up_with_that_reason() -> None:
    join = Join(spec())
    join.add_labels(labels([("early", "no")]), 1, 1.0, SAID)
    reason = "its row was quarantined"
    assert join.refuse(["early", "late"], 1) == [("early", "no", reason)]
    late = join.add_labels(labels([("late", "yes")]), 2, 1.0, SAID)
    assert late.given_up == [("late", "yes", reason)]


def test_a_label_of_an_unknown_class_is_given_up_naming_what_is_accepted() -> None:
    join = Join(spec())
    join.add_scored(scored(["e1"]), 1, 1.0, SAID)
    given_up = join.add_labels(labels([("e1", "maybe")]), 1, 1.0, SAID).given_up
    assert given_up[0].reason == "label: 'maybe' is not accepted; accepted: no, yes"
    assert join.waiting_predictions == 1


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "", "x", None])
def test_a_label_of_a_regression_has_to_be_a_finite_number(text: str | None) -> None:
    join = Join(spec(task="regression", target={"scale": 2.0}))
    assert join.add_labels(labels([("e1", text)]), 1, 1.0, SAID).given_up
    assert not join.add_labels(labels([("e1", " 2.5e1 ")]), 2, 1.0, SAID).given_up


def test_a_batch_of_which_little_still_waits_lets_the_rest_go() -> None:
    join = Join(spec())
    ids = [f"e{at}" for at in range(100)]
    numbers = np.column_stack([np.arange(100), np.zeros(100)])
    join.add_scored(scored(ids, features=numbers), 7, 1.0, SAID)
    for start in (0, 60):
        join.add_labels(labels([(e, "no") for e in ids[start : start + 39]]), 1, 1.0, SAID)
    held = join._chunks[7]
    assert held.batch.num_rows < 30
    heard = join.add_labels(labels([("e59", "yes"), ("e40", "no")]), 2, 1.0, SAID)
    assert heard.outcomes is not None
    assert [row["features"][0] for row in heard.outcomes.to_pylist()] == [40, 59]


def test_positions_survive_their_way_through_a_header() -> None:
    low = Low(5, 3, 1, 2, 9)
    assert Low.parse(low.text()) == low
    assert low.text() == "SCORED:5,LABELS:3,ROWS:1,OUTCOMES:2,DEAD:9"


def test_a_register_forgets_the_oldest_and_keeps_the_order_of_positions() -> None:
    register = ShiftRegister(3)
    register.add(["a", "b"], 1)
    register.add(["a", "c"], 2)
    assert register.oldest == 1
    register.add(["d"], 3)
    assert register.known(["a", "b", "c", "d"]) == {"a", "c", "d"}
    assert register.oldest == 2
