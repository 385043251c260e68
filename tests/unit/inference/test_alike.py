"""Requests that are alike are read as the usual reader reads each, or not at all."""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.errors import DriftloopError
from driftloop.contracts.headers import MSGPACK
from driftloop.inference.core.call import Served
from driftloop.inference.domain.plan import Plan
from driftloop.inference.plain import alike
from driftloop.inference.plain.alike import Asked
from driftloop.inference.plain.answers import write_each, write_one
from driftloop.inference.plain.reading import Reader
from driftloop.inference.versions import Champion
from driftloop.modelspec.spec import Feature, Registered, Spec, Target
from tests.support.tiny_models import manifest

NAMES = ("a", "b", "c")
FEATURES = tuple(Feature(name=name) for name in NAMES)


def plan(
    features: Sequence[Feature] = FEATURES, classes: tuple[str, ...] = ("no", "yes, late")
) -> Plan:
    task: Any = "classification" if classes else "regression"
    spec = Spec(name="m", task=task, target=Target(classes=classes), features=tuple(features))
    return Plan(Registered(spec=spec, revision=1, by="", at=0.0))


def matrix_body(numbers: Sequence[float], id: str = "") -> bytes:
    told: dict[str, Any] = {"inputs": [list(numbers)]}
    return msgspec.msgpack.encode({"id": id, **told} if id else told)


def late_id(numbers: Sequence[float], id: str = "") -> bytes:
    told: dict[str, Any] = {"inputs": [list(numbers)]}
    return msgspec.msgpack.encode({**told, "id": id} if id else told)


def named(numbers: Sequence[float], id: str = "") -> bytes:
    row: dict[str, Any] = dict(zip(NAMES, numbers, strict=True))
    return msgspec.msgpack.encode({"rows": [{**row, "event_id": id} if id else row]})


def other_order(numbers: Sequence[float], id: str = "") -> bytes:
    row: dict[str, Any] = dict(zip(NAMES, numbers, strict=True))
    row = {name: row[name] for name in ("c", "a", "b")}
    return msgspec.msgpack.encode({"rows": [{"event_id": id, **row} if id else row]})


def short(numbers: Sequence[float], id: str = "") -> bytes:
    """Numbers of four bytes."""
    packed = b"".join(b"\xca" + struct.pack(">f", number) for number in numbers)
    told = b"\xa6inputs\x91\x93" + packed
    return b"\x82\xa2id" + msgspec.msgpack.encode(id) + told if id else b"\x81" + told


WAYS = [matrix_body, late_id, named, other_order, short]


def alone(reader: Reader, body: bytes) -> Asked | None:
    try:
        return reader.read(MSGPACK, body)
    except DriftloopError:
        return None


def same(together: Asked, each: Sequence[Asked | None]) -> None:
    assert together.rows == len(each)
    matrix = np.asarray(together.values, np.float32)
    for at, asked in enumerate(each):
        assert asked is not None
        with np.errstate(over="ignore"):
            expected = np.asarray(asked.values, np.float32).reshape(1, -1)
        np.testing.assert_array_equal(matrix[at : at + 1], expected)
        assert together.form == asked.form
        assert list(together.ids[at : at + 1]) == list(asked.ids)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ids", [("", ""), ("id-1", "id-é"), ("x" * 40, "y" * 40)])
def test_the_usual_ways_are_read_together(way: Any, ids: tuple[str, str]) -> None:
    reader = Reader(plan())
    bodies = [way([1.5, -2.0, 3e38], ids[0]), way([-0.0, 7.25, 1e-9], ids[0][::-1])]
    for _ in range(2):
        found = reader.together(bodies)
        assert found is not None
        same(found, [alone(reader, body) for body in bodies])


@given(st.data())
def test_whatever_is_changed_the_usual_reader_reads_the_same(data: st.DataObject) -> None:
    reader = Reader(plan())
    number = st.floats(width=32) | st.floats()
    row = st.lists(number, min_size=3, max_size=3)
    way = data.draw(st.sampled_from(WAYS[:-1]))
    id = data.draw(st.text(max_size=4))
    bodies = [way(data.draw(row), id) for _ in range(3)]
    assert reader.together(bodies) is not None
    changed = bytearray(bodies[1])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    bodies[data.draw(st.integers(0, 2))] = bytes(changed)
    found = reader.together(bodies)
    if found is not None:
        same(found, [alone(reader, body) for body in bodies])


CARRIER = Feature(name="a", type="category", categories=("UA", "AA"))


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (FEATURES, {"inputs": [[1.0, 2.0]]}),
        (FEATURES, {"inputs": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}),
        (FEATURES, {"inputs": []}),
        (FEATURES, {"inputs": [[1, 2.0, 3.0]]}),
        (FEATURES, {"rows": [{"a": 1.0, "b": 2.0}]}),
        (FEATURES, {"rows": [{"a": 1.0, "b": 2.0, "d": 3.0}]}),
        (FEATURES, {"rows": [{"a": 1.0, "b": 2.0, "c": 3.0, "key": "text"}]}),
        (FEATURES, {"rows": [{"a": 1.0, "b": 2.0, "c": "3.0"}]}),
        (FEATURES, [1.0, 2.0, 3.0]),
        (FEATURES, 1.0),
        ((CARRIER, *FEATURES[1:]), {"rows": [{"a": "UA", "b": 2.0, "c": 3.0}]}),
        ((Feature(name="a", nullable=True), *FEATURES[1:]), {"rows": [{"b": 2.0, "c": 3.0}]}),
    ],
)
def test_what_is_not_one_row_of_numbers_is_left_alone(features: Any, told: Any) -> None:
    reader = Reader(plan(features))
    body = msgspec.msgpack.encode(told)
    assert reader.together([body, body]) is None


def test_nested_without_end_and_cut_bodies_are_left_alone() -> None:
    reader = Reader(plan())
    whole = matrix_body([1.0, 2.0, 3.0], "id")
    for body in (b"\x91" * 5_000, b"\xdc\xff\xff", whole[:-1], whole + b"\xc0", b"\xd9", b""):
        assert reader.together([body, body]) is None


def test_known_shapes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST_KNOWN", 4)
    reader = Reader(plan())
    for size in range(1, 20):
        assert reader.together([matrix_body([1.0, 2.0, 3.0], "x" * size)] * 2) is not None
    assert len(reader._shapes._known) <= 4


@pytest.mark.parametrize("form", ["rows", "matrix"])
@pytest.mark.parametrize("classes", [(), ("0", "1"), ("no", "probabilities", "é" * 40)])
def test_answers_made_together_are_those_made_one_by_one(form: Any, classes: Any) -> None:
    served = Served(plan(classes=classes), Champion(manifest(7, b""), None))  # type: ignore[arg-type]  # no session is needed
    width = len(classes) or 1
    answers = np.linspace(-1, 3, 5 * width, dtype=np.float32).reshape(5, width)
    best = answers.argmax(axis=1).tolist() if classes else []
    ids = ["", "a", "é" * 20, "x" * 300, "last"]
    assert write_each(form, served, answers, best, ids) == [
        write_one(MSGPACK, form, served, row, top, id)
        for row, top, id in zip(answers.tolist(), best or [0] * 5, ids, strict=True)
    ]
