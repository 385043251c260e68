"""What waits for the prediction log is bounded and exactly counted, and becomes a scored batch."""

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.batches import EVENT_ID, EVENT_TIME, KEY, LATENCY, matrix_of
from driftloop.inference.core.call import row_ids
from driftloop.inference.domain.answered import (
    PART_BYTES,
    Backlog,
    Ids,
    Part,
    chosen,
    event_ids,
    pieces,
)
from driftloop.modelspec.check import SpecError, check
from driftloop.modelspec.spec import Shadow
from tests.support.tiny_models import rows, spec

SPEC = spec()
NONE = 1 << 30


def add(
    backlog: Backlog, ids: list[str], *, version: int = 1, model: str = "m", at: int = 7
) -> bool:
    count = len(ids)
    answers = np.full((count, 2), 0.5, dtype=np.float32)
    key = (model, version, SPEC)
    return backlog.add(key, rows(count, count), answers, ids, [0.25] * count, at)


def names(first: int, count: int) -> list[str]:
    return [f"e{at}" for at in range(first, first + count)]


def test_micro_batches_of_one_version_become_one_batch_in_their_order() -> None:
    backlog = Backlog(NONE, NONE, part_rows=100)
    for count, at in ((1, 1_000), (3, 2_000), (2, 3_000)):
        assert add(backlog, [f"{at}-{row}" for row in range(count)], at=at)
    (part,) = backlog.take()
    matrix = part.matrix()
    batch = part.rows(matrix)
    assert batch.schema.names == ["event_id", "event_time", "key", "features", "latency"]
    assert [batch.schema.field(f.name) for f in (EVENT_ID, EVENT_TIME, KEY, LATENCY)] == [
        EVENT_ID,
        EVENT_TIME,
        KEY,
        LATENCY,
    ]
    assert batch.column("event_id").to_pylist() == [
        "1000-0",
        "2000-0",
        "2000-1",
        "2000-2",
        "3000-0",
        "3000-1",
    ]
    times = batch.column("event_time").cast(pa.int64()).to_pylist()
    assert times == [1_000, 2_000, 2_000, 2_000, 3_000, 3_000]
    assert batch.column("key").null_count == 6
    assert batch.column("latency").to_pylist() == [0.25] * 6
    want = np.concatenate([rows(1, 1), rows(3, 3), rows(2, 2)])
    np.testing.assert_array_equal(matrix_of(batch.column("features")), want)
    assert part.answer().shape == (6, 2)


def test_versions_models_and_revisions_of_the_spec_are_kept_apart() -> None:
    backlog = Backlog(NONE, NONE, part_rows=100)
    other = spec()
    for ids, version, model in ((["a"], 1, "m"), (["b"], 2, "m"), (["c"], 1, "n"), (["d"], 1, "m")):
        add(backlog, ids, version=version, model=model)
    backlog.add(("m", 1, other), rows(1), rows(1), ["e"], [0.0], 0)
    found = [(part.model, part.version, part.ids) for part in backlog.take()]
    assert found == [("m", 1, ["a", "d"]), ("m", 2, ["b"]), ("n", 1, ["c"]), ("m", 1, ["e"])]
    assert backlog.take() == []


def test_a_part_is_cut_when_it_has_its_rows() -> None:
    backlog = Backlog(NONE, NONE, part_rows=4)
    add(backlog, names(0, 3))
    assert not backlog.enough
    add(backlog, names(3, 3))
    assert backlog.enough
    add(backlog, names(6, 1))
    assert [part.count for part in backlog.take()] == [6, 1]
    assert not backlog.enough


def test_a_part_is_cut_when_it_has_its_bytes() -> None:
    backlog = Backlog(NONE, NONE, part_rows=NONE)
    wide = np.zeros((1, PART_BYTES // 4), dtype=np.float32)
    backlog.add(("m", 1, SPEC), wide, rows(1), ["a"], [0.0], 0)
    assert backlog.enough


def test_what_would_pass_the_bound_of_rows_is_not_kept_at_all() -> None:
    backlog = Backlog(10, NONE, part_rows=100)
    assert add(backlog, names(0, 6))
    assert not add(backlog, names(6, 5))
    assert add(backlog, names(6, 4))
    assert backlog.waiting == {"m": 10}


def test_what_is_in_hand_counts_until_it_is_settled_and_freed() -> None:
    backlog = Backlog(10, NONE, part_rows=100)
    add(backlog, names(0, 10))
    (part,) = backlog.take()
    assert not add(backlog, ["more"])
    backlog.settle("m", 4)
    assert add(backlog, names(10, 4))
    assert not add(backlog, ["more"])
    backlog.settle("m", 6)
    backlog.free(part)
    assert backlog.waiting == {"m": 4}


def test_long_ids_and_wide_rows_count_as_the_bytes_they_are() -> None:
    long = Backlog(NONE, 10_000, part_rows=100)
    assert not add(long, ["x" * 10_000])
    assert add(long, ["x" * 1_000])
    (part,) = long.take()
    assert not add(long, ["x" * 9_000])
    long.free(part)
    assert add(long, ["x" * 9_000])


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab"), st.booleans()), max_size=60))
def test_kept_rows_are_those_waiting_and_settled(
    calls: list[tuple[int, str, bool]],
) -> None:
    backlog = Backlog(20, NONE, part_rows=5)
    kept, settled = {"a": 0, "b": 0}, {"a": 0, "b": 0}
    for count, model, flush in calls:
        kept[model] += count * add(backlog, names(0, count), model=model)
        for part in backlog.take() if flush else ():
            backlog.settle(part.model, part.count)
            backlog.free(part)
            settled[part.model] += part.count
        assert {m: n - settled[m] for m, n in kept.items() if n} == backlog.waiting
        assert sum(backlog.waiting.values()) <= 20


def test_a_share_of_the_batches_is_chosen_and_always_the_same() -> None:
    ids = [f"0123456789ab-{count}" for count in range(4_000)]
    assert all(chosen(i, 1.0) for i in ids)
    assert not any(chosen(i, 0.0) for i in ids)
    quarter = {i for i in ids if chosen(i, 0.25)}
    assert 900 <= len(quarter) <= 1_100
    assert quarter == {i for i in ids if chosen(i, 0.25)}
    assert quarter <= {i for i in ids if chosen(i, 0.5)}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_told(share: float) -> None:
    with pytest.raises(SpecError, match=r"shadow.share: .* accepted: a number from 0 to 1"):
        check(msgspec.structs.replace(SPEC, shadow=Shadow(share=share)))


def test_a_batch_is_halved_until_its_pieces_fit() -> None:
    part = Part("m", 1, SPEC)
    part.ids, part.seconds, part.times = [*names(0, 1_000)], [0.1] * 1_000, [1]
    part.matrices = [rows(1_000)]
    batch = part.rows(part.matrix())
    made = list(pieces(batch, batch.nbytes // 3))
    assert len(made) == 4
    assert all(piece.nbytes <= batch.nbytes // 3 for piece in made)
    assert pa.Table.from_batches(made).combine_chunks().to_batches()[0].equals(batch)
    assert [piece.num_rows for piece in pieces(batch.slice(0, 3), 1)] == [1, 1, 1]


def test_an_id_that_is_no_unicode_text_costs_no_other_row() -> None:
    backlog = Backlog(NONE, NONE, part_rows=100)
    add(backlog, ["good", "\ud800"])
    (part,) = backlog.take()
    batch = part.rows(part.matrix())
    assert batch.column("event_id").to_pylist() == ["good", "\\ud800"]
    batch.validate(full=True)


def test_rows_numbered_under_one_id_are_named_as_the_caller_was_told() -> None:
    rows_of: list[Ids] = ["x", ("call", 3), ("other", 300), "y"]
    told = ["x", *row_ids("call", 3), *row_ids("other", 300), "y"]
    assert event_ids(rows_of).to_pylist() == told


def test_each_row_of_a_call_has_the_latency_of_the_call() -> None:
    backlog = Backlog(100, 1 << 20, part_rows=100)
    matrix = np.zeros((4, 1), dtype=np.float32)
    assert backlog.add(("m", 1, SPEC), matrix, matrix, [("a", 3), "b"], [0.5, 0.25], at=7)
    (part,) = backlog.take()
    batch = part.rows(part.matrix())
    assert batch.column("event_id").to_pylist() == ["a-0", "a-1", "a-2", "b"]
    assert batch.column("latency").to_pylist() == [0.5, 0.5, 0.5, 0.25]
