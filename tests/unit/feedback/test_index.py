import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.feedback.domain import ids as hashing
from driftloop.feedback.domain.ids import Ids, Rows, hash_texts
from driftloop.feedback.domain.index import ABSENT, BUCKETS, LANES, Index
from driftloop.feedback.domain.waiting import ShiftRegister

TOP = np.uint64(1 << 63)
texts = st.text(max_size=12) | st.text(min_size=60, max_size=300)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=30), st.data())
def test_a_hash_depends_on_the_text_alone(given_texts: list[str], data: st.DataObject) -> None:
    whole = pa.array(given_texts, pa.string())
    hashes = hash_texts(whole)
    start = data.draw(st.integers(0, len(given_texts) - 1))
    assert hash_texts(whole.slice(start)).tolist() == hashes[start:].tolist()
    for text, expected in zip(given_texts, hashes.tolist(), strict=True):
        assert hash_texts(pa.array([text])).tolist() == [expected]
    assert len(set(hashes.tolist())) == len(set(given_texts))


def test_texts_that_differ_in_zeros_or_in_the_order_of_their_words_differ_in_their_hash() -> None:
    alike = ["", "\0", "\0" * 8, "\0" * 9, "12345678abcdefgh", "abcdefgh12345678", "a" * 64]
    assert len(set(hash_texts(pa.array([*alike, "a" * 65, "a" * 128])).tolist())) == 9


def test_no_texts_have_no_hashes() -> None:
    assert len(hash_texts(pa.array([], pa.string()))) == 0


def test_the_first_of_equal_ids_counts_among_those_asked_about() -> None:
    ids = Ids.of(["a", "b", "a", "b", "c"])
    assert ids.first_of(np.ones(5, np.bool_)).tolist() == [True, True, False, False, True]
    among = np.array([False, True, True, True, True])
    assert ids.first_of(among).tolist() == [False, True, True, False, True]


class Naive:
    """What the index is to do, with a dictionary: numbers to hashes."""

    def __init__(self, seed: int, hashes: int) -> None:
        self.index, self.kept, self.next = Index(), dict[int, int](), 1
        self._drawn, self._hashes = np.random.default_rng(seed), hashes

    def put(self, count: int) -> None:
        hashes = self._drawn.integers(0, self._hashes, count).astype(np.uint64) | TOP
        values = np.arange(self.next, self.next + count)
        self.next += count
        self.index.put(hashes, values)
        self.kept |= dict(zip(values.tolist(), hashes.tolist(), strict=True))

    def remove(self, count: int) -> None:
        values = self._drawn.permutation(np.array(list(self.kept), np.int64))[:count]
        self.index.remove(self.slots(values))
        for value in values.tolist():
            del self.kept[value]

    def slots(self, values: Rows) -> Rows:
        hashes = np.array([self.kept[value] for value in values.tolist()], np.uint64)
        slots, found = self.index.find(hashes, lambda rows, there: values[rows] == there)
        assert found.tolist() == values.tolist()
        return slots


@pytest.mark.parametrize("hashes", [40, 2**40])
@pytest.mark.parametrize("seed", range(4))
def test_the_index_finds_what_was_put_and_not_removed(seed: int, hashes: int) -> None:
    naive, most = Naive(seed, hashes), 600 if hashes > 40 else 60
    for count in np.random.default_rng(seed).integers(0, most, 40).tolist():
        naive.put(count) if count % 3 else naive.remove(2 * count)
        assert naive.index.size == len(naive.kept)
        naive.slots(np.array(list(naive.kept), np.int64))
    naive.remove(len(naive.kept))
    assert naive.index.size == 0


def test_what_was_never_put_is_absent_however_full_the_buckets_are() -> None:
    index = Index()
    crowd = np.arange(BUCKETS * LANES // 2)
    index.put(np.full(len(crowd), TOP), crowd)  # all of one hash: they fill neighbours
    absent, _ = index.find(np.array([TOP]), lambda rows, there: there == -5)
    assert absent.tolist() == [ABSENT]
    found, values = index.find(np.array([TOP]), lambda rows, there: there == crowd[-1])
    assert (found >= 0).all()
    assert values.tolist() == [crowd[-1]]


def test_ids_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "hash_texts", lambda texts: np.full(len(texts), TOP))
    register = ShiftRegister(100)
    register.add([f"e{at}" for at in range(50)], 1)
    register.add(["e3", "other"], 2)
    assert register.known(["e3", "e49", "e50", "other"]) == {"e3", "e49", "other"}
    assert register.shelf.rows == 51


def test_a_register_that_stays_full_keeps_the_newest() -> None:
    register = ShiftRegister(1_000)
    for seq in range(1, 60):
        register.add([f"{seq}-{at}" for at in range(137)], seq)
    expected = [f"{seq}-{at}" for seq in range(1, 60) for at in range(137)][-1_000:]
    assert register.known([f"{seq}-{at}" for seq in range(1, 60) for at in range(137)]) == set(
        expected
    )
    assert register.oldest == int(expected[0].split("-")[0])
