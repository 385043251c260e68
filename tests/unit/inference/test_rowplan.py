"""Rows by name: the fast way and the thorough way accept and refuse the same requests."""

import math
from typing import Any, NamedTuple

import hypothesis
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.errors import DriftloopError, InvalidInput, Reject
from driftloop.contracts.headers import MSGPACK
from driftloop.inference.core.call import Call, one
from driftloop.inference.domain.plan import Plan
from driftloop.inference.domain.rowplan import REFUSED, RowPlan
from driftloop.inference.plain.reading import JSON, Reader
from driftloop.modelspec.spec import Columns, Feature, Registered, Spec, Target

NAN = float("nan")
FEATURES = (
    Feature(name="n", min=0, max=10),
    Feature(name="i", type="integer", nullable=True),
    Feature(name="c", type="category", categories=("x", "y", "7")),
    Feature(name="o", type="category", categories=("x",), unseen="accept", nullable=True),
    Feature(name="b", type="boolean", nullable=True),
)
GOOD = {"n": 1.5, "i": 3, "c": "y", "o": "new", "b": True}
CODED = [1.5, 3.0, 1.0, -1.0, 1.0]


def plan(*features: Feature, **fields: Any) -> Plan:
    spec = Spec(
        name="m",
        task="classification",
        target=Target(classes=("a", "b")),
        features=features or FEATURES,
        **fields,
    )
    return Plan(Registered(spec=spec, revision=1, by="t", at=0.0))


def js(value: Any) -> bytes:
    return msgspec.json.encode(value)


@pytest.mark.parametrize("body", [js(GOOD), js([GOOD]), js({"rows": [GOOD]})])
def test_usual_json_is_read_into_codes(body: bytes) -> None:
    found = RowPlan(plan()).json(body)
    assert (found.values, found.rows, found.ids) == (CODED, 1, [""])


def test_usual_msgpack_is_read_into_codes() -> None:
    found = RowPlan(plan()).msgpack(msgspec.msgpack.encode({"rows": [GOOD, GOOD]}))
    assert (found.values, found.rows) == (CODED * 2, 2)


def test_missing_values_and_missing_fields_become_nan() -> None:
    rows = [{"n": 1, "c": "x"}, {"n": 2, "c": "7", "i": None, "o": None, "b": None}]
    values = RowPlan(plan()).json(js(rows)).values
    np.testing.assert_array_equal(values, [1, NAN, 0, NAN, NAN, 2, NAN, 2, NAN, NAN])


def test_an_unknown_category_becomes_what_no_plan_accepts() -> None:
    assert RowPlan(plan()).json(js({**GOOD, "c": "z"})).values[2] == REFUSED


def test_event_ids_are_kept_and_other_columns_ignored() -> None:
    row = {**GOOD, "event_id": "e1", "event_time": "2024-01-01", "label": None}
    assert RowPlan(plan()).json(js([row])).ids == ["e1"]
    for form in (js([row, GOOD]), js([GOOD, row])):
        with pytest.raises(InvalidInput, match=r"row [01]: event_id: is missing"):
            Reader(plan()).read(JSON, form)


def test_a_column_nobody_knows_is_not_usual_unless_the_spec_drops_it() -> None:
    row = js({**GOOD, "colour": "red"})
    with pytest.raises(msgspec.ValidationError):
        RowPlan(plan()).json(row)
    assert RowPlan(plan(unknown_columns="drop")).json(row).values == CODED


def test_names_of_columns_may_be_those_of_fields() -> None:
    names = ("rows", "inputs", "id", "f0", "event_id", "other0", "__init__", "a b", "ü")
    columns = Columns(event_id="who", event_time="when")
    made = plan(*(Feature(name=name) for name in names), columns=columns)
    row = {name: float(at) for at, name in enumerate(names)}
    for body in (js(row), js([{**row, "who": "e1"}]), js({"rows": [row]})):
        asked = Reader(made).read(JSON, body)
        assert np.ravel(asked.values).tolist() == list(range(9))
        assert asked.rows == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"n":', b'"\xed"'])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(Reject, match="accepted: rows as objects"):
        Reader(plan()).read(JSON, body)


def test_an_array_that_claims_more_than_there_is_is_refused() -> None:
    for body in (
        b"\xdd\xff\xff\xff\xff",
        b"\x81\xa4rows\xdd\x7f\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ):
        with pytest.raises(Reject, match="msgpack"):
            Reader(plan()).read(MSGPACK, body)


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    body = b'{"n": 1, "i": 1, "c": "x", "b": true, "n": 2.5}'
    assert Reader(plan()).read(JSON, body).values[0] == 2.5
    assert Reader(plan()).thorough(JSON, body).values[0, 0] == 2.5  # type: ignore[call-overload]  # a matrix here


# The same for specs and rows of any kind.


class Verdict(NamedTuple):
    """The numbers of an accepted request, or why it is refused."""

    matrix: Any = None
    why: str = ""


def as_served(made: Plan, kind: str, body: bytes) -> Verdict:
    """What a request gets from the service: the fast way, and the thorough one behind it."""
    reader = Reader(made)
    try:
        asked = reader.read(kind, body)
        matrix = one(Call(made, asked.values, asked.rows, "id", 0.0))
        if not made.fits(matrix):
            again = reader.thorough(kind, body)
            matrix = one(Call(made, again.values, again.rows, "id", 0.0))
            made.check(matrix)
    except DriftloopError as error:
        return Verdict(why=str(error))
    return Verdict(matrix)


def thoroughly(made: Plan, kind: str, body: bytes) -> Verdict:
    """What the data contract alone says."""
    try:
        return Verdict(Reader(made).thorough(kind, body).values)
    except InvalidInput as error:
        return Verdict(why=str(error))


def rounds(features: tuple[Feature, ...], rows: list[dict[str, Any]]) -> bool:
    """Whether float32 takes a value for another: at a bound, or for a large whole number.

    The fast way judges the float32 the model sees, the contract the number as it was sent.
    """
    for feature in features:
        for row in rows:
            value = row.get(feature.name)
            if feature.type in ("number", "integer") and isinstance(value, int | float):
                with np.errstate(over="ignore"):
                    near = np.float32(value)
                bounds = [b for b in (feature.min, feature.max) if b is not None]
                if any(np.float32(b) == near and b != value for b in bounds):
                    return True
                if feature.type == "integer" and not float(value).is_integer():
                    return bool(float(near).is_integer())
    return False


BOUNDS = st.sampled_from([None, -1.0, 0.0, 0.1, 5.0, 1e6])
TEXTS = st.sampled_from(["x", "y", "7", "", "ü", "true", "1e3", " 2 ", "nan", "None"])


@st.composite
def features(draw: st.DrawFn) -> Feature:
    kind: Any = draw(st.sampled_from(["number", "integer", "category", "boolean"]))
    nullable = draw(st.booleans())
    if kind == "category":
        unseen: Any = draw(st.sampled_from(["accept", "reject"]))
        categories = tuple(draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True)))
        return Feature(name="", type=kind, categories=categories, nullable=nullable, unseen=unseen)
    if kind == "boolean":
        return Feature(name="", type=kind, nullable=nullable)
    low, high = draw(BOUNDS), draw(BOUNDS)
    if low is not None and high is not None and not low < high:
        high = low + 1
    return Feature(name="", type=kind, nullable=nullable, min=low, max=high)


def value_of(feature: Feature) -> st.SearchStrategy[Any]:
    """Values of which most are accepted, and some of every other kind."""
    good: st.SearchStrategy[Any]
    if feature.type == "category":
        good = st.sampled_from(feature.categories)
    elif feature.type == "boolean":
        good = st.booleans()
    else:
        low = -10 if feature.min is None else math.ceil(feature.min)
        high = low + 10 if feature.max is None else max(low, math.floor(feature.max))
        good = st.integers(low, high)
        if feature.type == "number":
            good |= st.floats(low, high, allow_nan=False, width=32)
    odd = st.one_of(
        st.none(),
        TEXTS,
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([[1], {"a": 1}, 16_777_217, 1e39, -0.0, 0.5]),
    )
    return st.integers(0, 9).flatmap(lambda at: odd if at == 0 else good)


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[Feature, ...], list[dict[str, Any]]]:
    drawn = draw(st.lists(features(), min_size=1, max_size=4))
    made = tuple(msgspec.structs.replace(f, name=f"f{at}") for at, f in enumerate(drawn))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        row = {feature.name: draw(value_of(feature)) for feature in made}
        if draw(st.integers(0, 9)) == 0:
            row.pop(draw(st.sampled_from([*row])))
        if draw(st.integers(0, 19)) == 0:
            row["other"] = draw(st.sampled_from([None, 1, "x"]))
        rows.append(row)
    return made, rows


@hypothesis.settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(case=cases(), packed=st.booleans())
def test_the_fast_way_and_the_thorough_way_say_the_same(
    case: tuple[tuple[Feature, ...], list[dict[str, Any]]], packed: bool
) -> None:
    made, rows = case
    hypothesis.assume(any(rows))  # rows without any field: the fast way sees all missing, if it may
    if packed:  # MessagePack has no integers beyond 64 bits
        values = [value for row in rows for value in row.values() if isinstance(value, int)]
        hypothesis.assume(all(abs(value) < 2**63 for value in values))
    kind = MSGPACK if packed else JSON
    body = (msgspec.msgpack if packed else msgspec.json).encode({"rows": rows})
    one_plan = plan(*made)
    fast, thorough = as_served(one_plan, kind, body), thoroughly(one_plan, kind, body)
    hypothesis.event("accepted" if thorough.matrix is not None else "refused")
    if thorough.matrix is None and fast.matrix is not None:
        assert rounds(made, rows), thorough.why
        return
    if thorough.matrix is None:
        assert fast.why == thorough.why
    else:
        assert fast.matrix is not None, fast.why
        np.testing.assert_array_equal(fast.matrix, thorough.matrix)
