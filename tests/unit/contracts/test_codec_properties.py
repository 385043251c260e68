"""Batches, events and states go round whatever is in them, and damaged bytes are refused."""

import contextlib
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts import batches, codec
from driftloop.contracts.batches import LABELS
from driftloop.contracts.columns import check_labels, check_outcomes, check_scored
from driftloop.contracts.errors import Reject
from driftloop.contracts.ipc import refuse_compressed
from driftloop.contracts.names import MODEL_NAME
from driftloop.contracts.subjects import UNNAMED, dead
from tests.support import synthetic
from tests.support.loop import outcomes
from tests.support.scored import scored_batch
from tests.support.thorough import examples

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(width=32)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "float": (pa.float64(), st.floats()),
    "small": (pa.float32(), floats),
    "text": (pa.string(), texts),
    "bytes": (pa.binary(), st.binary(max_size=12)),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "flag": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("ms", tz="UTC"), st.integers(-(2**40), 2**40)),
    "matrix": (pa.list_(pa.float32(), 2), st.lists(floats, min_size=2, max_size=2)),
    "list": (pa.list_(pa.string()), st.lists(texts, max_size=3)),
    "word": (pa.dictionary(pa.int32(), pa.string()), texts),
    "view": (pa.string_view(), texts),
    "nothing": (pa.null(), st.none()),
}
cells = st.integers(0, 4).flatmap(
    lambda rows: st.dictionaries(
        texts,
        st.sampled_from(list(COLUMNS)).flatmap(
            lambda kind: st.tuples(
                st.just(kind),
                st.lists(st.none() | COLUMNS[kind][1], min_size=rows, max_size=rows),
            )
        ),
        min_size=1,
        max_size=5,
    )
)


def batch_of(made: dict[str, tuple[str, list[Any]]]) -> pa.RecordBatch:
    arrays = [pa.array(values, COLUMNS[kind][0]) for kind, values in made.values()]
    return pa.RecordBatch.from_arrays(arrays, list(made))


@examples(60)
@given(cells)
def test_a_batch_of_anything_comes_back_bit_by_bit(made: dict[str, Any]) -> None:
    batch = batch_of(made)
    payload = batches.encode(batch)
    refuse_compressed(payload)
    again = batches.decode(payload)
    assert again.schema == batch.schema
    assert batches.encode(again) == payload  # NaN is not itself, but its bytes are
    assert again.num_rows == batch.num_rows


@examples(100)
@given(st.lists(st.lists(floats, min_size=3, max_size=3), max_size=5))
def test_a_matrix_comes_back_bit_by_bit(rows: list[list[float]]) -> None:
    column = pa.array(rows, pa.list_(pa.float32(), 3))
    matrix = batches.matrix_of(column)
    assert matrix.shape == (len(rows), 3)
    back = batches.matrix_of(batches.matrix_column(matrix))
    assert back.tobytes() == matrix.tobytes()


changes = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),
        st.sampled_from(["set", "cut", "add", "number"]),
        st.binary(max_size=9),
    ),
    min_size=1,
    max_size=4,
)
GOOD = [
    batches.encode(scored_batch(3, shadows=(2,))),
    batches.encode(outcomes([0.0, 1.0], version=1, chances=[0.5, 0.6])),
    batches.encode(pa.RecordBatch.from_pylist([{"event_id": "e", "label": "x"}], schema=LABELS)),
    batches.encode(pa.record_batch({"é": ["x", None], "l": [[1], []], "s": [{"a": 1}, None]})),
]


def damaged(data: bytes, changed: list[tuple[int, str, bytes]]) -> bytes:
    made = bytearray(data)
    for place, how, filling in changed:
        at = place % (len(made) + 1)
        if how == "cut":
            del made[at:]
        elif how == "add":
            made[at:at] = filling
        elif how == "number":
            at -= at % 4
            made[at : at + 4] = (filling + bytes(4))[:4]
        else:
            made[at : at + 1] = filling[:1]
    return bytes(made)


@examples(150)
@given(st.sampled_from(GOOD), changes)
def test_a_damaged_batch_is_a_batch_or_a_rejection(
    good: bytes, changed: list[tuple[int, str, bytes]]
) -> None:
    payload = damaged(good, changed)
    with contextlib.suppress(Reject):
        refuse_compressed(payload)
        batch = batches.decode(payload)
        assert all(isinstance(name, str) for name in batch.schema.names)
        batches.shadow_versions(batch.schema)
        for check in (check_scored, check_outcomes, check_labels):
            with contextlib.suppress(Reject):
                assert check(batch) is batch


def test_a_column_whose_name_is_not_utf8_is_refused() -> None:
    good = batches.encode(pa.record_batch({"name": [1]}))
    for payload in (
        good.replace(b"name", b"n\xffme"),
        b"".join([good.replace(b"name", b"n\xffme")]),
    ):
        with pytest.raises(Reject, match="not UTF-8"):
            batches.decode(payload)
    within = batches.encode(pa.record_batch({"s": [{"name": 1}]}))
    with pytest.raises(Reject, match="not UTF-8"):
        batches.decode(within.replace(b"name", b"n\xffme"))


def test_the_batches_that_services_make_have_their_columns() -> None:
    assert check_scored(scored_batch(3, shadows=(2,))).num_rows == 3
    assert check_outcomes(scored_batch(3, labelled=True)).num_rows == 3
    labels = pa.RecordBatch.from_pylist([{"event_id": "e", "label": "x"}], schema=LABELS)
    assert check_labels(labels) is labels


@pytest.mark.parametrize("name", ["event_id", "event_time", "version", "features", "answer"])
def test_a_scored_batch_with_a_column_of_another_type_is_refused_by_its_name(name: str) -> None:
    batch = scored_batch(3)
    at = batch.schema.get_field_index(name)
    for wrong in (batch.set_column(at, name, pa.array([True] * 3)), batch.drop_columns(name)):
        with pytest.raises(Reject, match=f"{name}.*accepted"):
            check_scored(wrong)


EVENTS = [event for event, _ in synthetic.promotion("tide", 3)]


@examples(100)
@given(st.sampled_from(EVENTS), changes)
def test_a_damaged_event_is_an_event_or_a_rejection(
    event: Any, changed: list[tuple[int, str, bytes]]
) -> None:
    good = codec.encode(event)
    assert codec.decode_event(good) == event
    for decode in (codec.decode_event, codec.decode_stat, codec.decode_state):
        with contextlib.suppress(Reject):
            decode(damaged(good, changed))


@pytest.mark.parametrize("payload", [b"\xa1\xff", b"\x91" * 100_000, b"", b"\xdf\xff\xff\xff\xff"])
def test_texts_that_are_not_utf8_and_deep_messages_are_refused(payload: bytes) -> None:
    kind = msgspec.msgpack.encode({"type": "spec.registered", "model": "m"})
    for data in (payload, kind[:-1] + payload):
        with pytest.raises(Reject, match="accepted"):
            codec.decode_event(data)


@examples(100)
@given(st.text(max_size=80) | st.sampled_from(["../x", "a.b", "*", ">", " ", "x\n", "x" * 300]))
def test_a_dead_letter_has_a_subject_of_three_tokens_whatever_its_own_was(model: str) -> None:
    subject = dead("validation-rows", model)
    assert subject.count(".") == 2
    assert subject.endswith(model if MODEL_NAME.match(model) else UNNAMED)
    assert not set(subject) & set("*> \r\n")
