"""Tensors of the protocol into model input: every datatype, and what is refused."""

import struct
from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.domain.plan import Plan
from driftloop.inference.v2.messages import Tensor
from driftloop.inference.v2.tensors import MOST_ELEMENTS, NUMBERS, to_matrix
from driftloop.modelspec.spec import Feature, Registered, Spec, Target
from tests.support.serving import matrix_of_rows, mixed_rows, mixed_spec

NAN, INF = float("nan"), float("inf")


def plan(*features: Feature) -> Plan:
    made = features or tuple(Feature(name=name) for name in "abc")
    spec = Spec(name="m", task="classification", target=Target(classes=("a", "b")), features=made)
    return Plan(Registered(spec=spec, revision=1, by="t", at=0.0))


MIXED = Plan(Registered(spec=mixed_spec(), revision=1, by="t", at=0.0))


def matrix(data: Any, shape: tuple[int, ...] = (2, 3), datatype: str = "FP32") -> Any:
    return to_matrix(plan(), [Tensor("X", datatype, shape, data)])


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_a_matrix_of_any_number_type_is_read_from_bytes_and_lists(datatype: str) -> None:
    values = np.array([[0, 1, 2], [3, 4, 100]], dtype=NUMBERS[datatype])
    for data in (values.tobytes(), values.ravel().tolist(), values.tolist(), values.ravel()):
        made = matrix(data, datatype=datatype)
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, values)


def test_a_matrix_of_booleans_is_read() -> None:
    for data in (b"\0\1\0\1\1\0", [False, True, 0, 1, True, False]):
        assert matrix(data, datatype="BOOL").tolist() == [[0, 1, 0], [1, 1, 0]]


def test_null_in_a_list_of_floats_is_a_missing_value() -> None:
    assert np.isnan(matrix([1.0, None, 3.0], (1, 3))[0, 1])


@pytest.mark.parametrize("data", [[1e39, 0, 0], [-1e300, 0, 0], [10**300, 0, 0]])
def test_numbers_beyond_float32_become_infinite_for_the_plan_to_refuse(data: Any) -> None:
    made = matrix(data, (1, 3), "FP64")
    assert np.isinf(made[0, 0])
    assert not plan().fits(made)


BAD: list[tuple[Any, tuple[int, ...], str, list[str]]] = [
    (b"\0" * 24, (3, 2), "FP32", ["X.shape: [3, 2]", "accepted: [rows, 3]"]),
    (b"", (0, 3), "FP32", ["X.shape: [0, 3]", "at least one row"]),
    (b"\0" * 12, (3,), "FP32", ["X.shape: [3]"]),
    (b"\0" * 12, (), "FP32", ["X.shape: []"]),
    (b"\0" * 12, (-1, 3), "FP32", ["X.shape: [-1, 3]"]),
    (b"\0" * 12, (1, 1, 3), "FP32", ["X.shape: [1, 1, 3]"]),
    (b"\0" * 12, (1,) * 65, "FP32", ["X.shape: [1, 1, 1, 1, 1, 1, 1, 1]"]),
    (b"\0" * 12, (10**12, 3), "FP32", ["X.shape: [1000000000000, 3]", f"{MOST_ELEMENTS} elem"]),
    (b"\0" * 12, (10**4000, 3), "FP32", ["X.shape: [", "accepted"]),
    (b"\0" * 23, (2, 3), "FP32", ["X: 23 bytes", "accepted: 24", "FP32"]),
    (b"\0" * 25, (2, 3), "FP32", ["X: 25 bytes", "accepted: 24"]),
    (b"\0" * 24, (2, 3), "FP64", ["X: 24 bytes", "accepted: 48"]),
    (b"\0" * 24, (2, 3), "BYTES", ["X.datatype: BYTES", "FP32"]),
    (b"\0" * 24, (2, 3), "FLOAT", ["X.datatype: 'FLOAT' is unknown", "FP32"]),
    (b"\0" * 24, (2, 3), "", ["X.datatype: '' is unknown"]),
    ([1.0] * 5, (2, 3), "FP32", ["X.data: holds 5 values", "accepted: 6"]),
    ([1.0] * 7, (2, 3), "FP32", ["X.data: holds 7 values"]),
    ([[1.0] * 3, 1.0, 2.0, 3.0], (2, 3), "FP32", ["X.data: lists and values", "accepted"]),
    (["x"] * 6, (2, 3), "FP32", ["X.data: 'x' is not FP32"]),
    ([1.0, True, 1, 1, 1, 1], (2, 3), "FP32", ["X.data: True is not FP32"]),
    ([1.0, {}, 1, 1, 1, 1], (2, 3), "FP32", ["X.data: {} is not FP32"]),
    ([1.0, 10**400, 1, 1, 1, 1], (2, 3), "FP32", ["X.data: 1000", "is not FP32"]),
    ([1, 300, 1, 1, 1, 1], (2, 3), "UINT8", ["X.data: 300 is not UINT8", "from 0 to 255"]),
    ([1, -1, 1, 1, 1, 1], (2, 3), "UINT8", ["X.data: -1 is not UINT8"]),
    ([1, 0.5, 1, 1, 1, 1], (2, 3), "INT64", ["X.data: 0.5 is not INT64"]),
    ([1, None, 1, 1, 1, 1], (2, 3), "INT64", ["X.data: None is not INT64"]),
    ([1, 10**400, 1, 1, 1, 1], (2, 3), "INT64", ["X.data: 1000", "is not INT64"]),
    ([1, 2, 1, 1, 1, 1], (2, 3), "BOOL", ["X.data: 2 is not BOOL"]),
    ([True, None, 1, 1, 1, 1], (2, 3), "BOOL", ["X.data: None is not BOOL"]),
    ([True, "x", 1, 1, 1, 1], (2, 3), "BOOL", ["X.data: 'x' is not BOOL"]),
]


@pytest.mark.parametrize(("data", "shape", "datatype", "says"), BAD)
def test_a_matrix_that_is_none_is_refused_by_name(
    data: Any, shape: tuple[int, ...], datatype: str, says: list[str]
) -> None:
    with pytest.raises(InvalidInput) as raised:
        matrix(data, shape, datatype)
    text = str(raised.value)
    assert all(part in text for part in says), text
    assert len(text) < 2_000


def column(name: str, data: Any, datatype: str = "FP32", shape: Any = None) -> Tensor:
    return Tensor(name, datatype, shape or (len(data),), data)


def test_an_input_for_each_feature_is_read_in_any_order() -> None:
    made = to_matrix(plan(), [column(name, [float(at), 9.0]) for at, name in enumerate("cab")])
    assert made.tolist() == [[1, 2, 0], [9, 9, 9]]


def test_the_inputs_of_a_feature_named_like_the_matrix_are_features() -> None:
    made = to_matrix(plan(Feature(name="X")), [column("X", [1.0, 2.0])])
    assert made.tolist() == [[1], [2]]


def test_categories_come_as_texts_in_bytes_or_lists_and_numbers_as_texts() -> None:
    made = plan(
        Feature(name="c", type="category", categories=("x", "ü", "7"), unseen="accept"),
        Feature(name="n"),
    )
    want = [[1, 1], [-1, 2.5]]
    for data in (texts("ü".encode(), b"new"), ["ü", "new"], ["ü".encode(), b"new"]):
        numbers = column("n", ["1", "2.5"], "BYTES")
        got = to_matrix(made, [column("c", data, "BYTES", (2,)), numbers])
        assert got.tolist() == want
    by_number = to_matrix(made, [column("c", [7, 8], "INT64"), column("n", [1.0, 2.5])])
    assert by_number[:, 0].tolist() == [2, -1]


def test_booleans_come_as_bool_texts_or_numbers() -> None:
    made = plan(Feature(name="b", type="boolean"))
    for tensor in (
        column("b", [True, False], "BOOL"),
        column("b", ["TRUE", "false"], "BYTES"),
        column("b", [1, 0], "INT64"),
        column("b", [1.0, 0.0], "FP32"),
        column("b", b"\1\0", "BOOL", (2, 1)),
    ):
        assert to_matrix(made, [tensor]).tolist() == [[1], [0]]


COLUMNS: list[tuple[list[Tensor], list[str]]] = [
    ([], ["inputs: there is none"]),
    ([column("a", [1.0]), column("d", [1.0])], ["inputs: 'd' is unknown", "a, b, c, X"]),
    ([column("a" * 10_000_000, [1.0])], ["inputs: 'aaa", "is unknown"]),
    ([column("a", [1.0]), column("b", [1.0]), column("a", [2.0])], ["inputs: 'a' stands there tw"]),
    ([column("X", [1.0]), column("X", [2.0])], ["inputs: 'X' is unknown"]),
    ([column("a", [1.0]), column("b", [1.0])], ["row 0: c: is missing", "accepted: a finite"]),
    ([column("a", [1.0]), column("b", [1.0, 2.0])], ["b.shape: [2]", "[rows]", "1 in the first"]),
    ([column("a", [1.0], shape=(1, 2))], ["a.shape: [1, 2]", "[rows, 1]"]),
    ([column("a", [], shape=(0,))], ["a.shape: [0]", "at least one row"]),
    ([column("a", [1.0], shape=(-1,))], ["a.shape: [-1]"]),
    ([column("a", [1.0], shape=(10**12,))], ["a.shape: [1000000000000]"]),
    ([column("a", [1.0], shape=(1,) * 65)], ["a.shape: [1, 1, 1, 1, 1, 1, 1, 1]"]),
    ([column("a", ["x"], "BYTES"), column("b", [1.0]), column("c", [1.0])], ["a: 'x' is not a nu"]),
    ([column("a", b"\1\0\0\0\xff", "BYTES", (1,))], ["a: b'\\xff' is not UTF-8"]),
    ([column("a", texts(b"1") + b"\0", "BYTES", (1,))], ["a: 6 bytes", "cut off or too many"]),
    ([column("a", b"\xff\xff\xff\xff1", "BYTES", (1,))], ["a: 5 bytes", "accepted: 1 texts"]),
    ([column("a", texts(b"1", b"2"), "BYTES", (1,))], ["cut off or too many"]),
    ([column("a", [1], "BYTES", (1,))], ["a.data: 1 is not BYTES"]),
]


@pytest.mark.parametrize(("tensors", "says"), COLUMNS)
def test_inputs_that_are_no_features_are_refused_by_name(
    tensors: list[Tensor], says: list[str]
) -> None:
    with pytest.raises(InvalidInput) as raised:
        to_matrix(plan(), tensors)
    text = str(raised.value)
    assert all(part in text for part in says), text
    assert len(text) < 2_000


def test_a_bad_value_is_told_as_the_caller_sent_it() -> None:
    made = plan(
        Feature(name="c", type="category", categories=("x", "y")),
        Feature(name="b", type="boolean"),
        Feature(name="i", type="integer", max=9),
    )
    with pytest.raises(InvalidInput) as raised:
        to_matrix(
            made,
            [
                column("c", ["x", "moon"], "BYTES"),
                column("b", [1.0, 0.5]),
                column("i", [10, 3], "INT64"),
            ],
        )
    first, second = str(raised.value).splitlines()
    assert first.startswith("row 0: i: 10")
    assert "c: 'moon' is not a known category; accepted: one of x, y" in second
    assert "b: '0.5' is not a boolean" in second


@hypothesis.settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6), binary=st.booleans())
def test_mixed_rows_become_the_matrix_coded_by_hand(seed: int, count: int, binary: bool) -> None:
    rows = [{**row, "size": row["size"] or "large"} for row in mixed_rows(count, seed)]
    tensors = []
    kinds = {"hour": ("INT64", "<i8"), "fragile": ("BOOL", "?")}
    for name in rows[0]:
        values: list[Any] = [NAN if row[name] is None else row[name] for row in rows]
        if name in ("carrier", "size"):
            data: Any = texts(*(value.encode() for value in values)) if binary else values
            tensors.append(column(name, data, "BYTES", (count,)))
            continue
        datatype, code = kinds.get(name, ("FP64", "<f8"))
        data = np.array(values, dtype=code).tobytes() if binary else values
        tensors.append(column(name, data, datatype, (count, 1)))
    np.testing.assert_array_equal(to_matrix(MIXED, tensors), matrix_of_rows(rows))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Feature, str, list[Any]]:
    """A feature, the datatype of its input, and values of which some are refused."""
    nullable = draw(st.booleans())
    if draw(st.booleans()):
        unseen: Any = draw(st.sampled_from(["accept", "reject"]))
        feature = Feature(
            name="f", type="category", categories=("x", "ü", "7"), nullable=nullable, unseen=unseen
        )
        data = draw(st.lists(st.sampled_from(["x", "ü", "7", "", "new"]), min_size=1, max_size=4))
        return feature, "BYTES", data
    kind: Any = draw(st.sampled_from(["number", "integer"]))
    low, high = draw(st.sampled_from([(None, None), (0.0, 10.0), (-5.0, None), (None, 0.5)]))
    feature = Feature(name="f", type=kind, min=low, max=high, nullable=nullable)
    if draw(st.booleans()):
        return feature, "INT64", draw(st.lists(st.integers(-20, 20), min_size=1, max_size=4))
    # Floats of 32 bits: what float32 rounds is judged before by rows, and after by tensors.
    numbers = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.integers(-20, 20).map(
        float
    )
    return feature, "FP64", draw(st.lists(numbers, min_size=1, max_size=4))


@hypothesis.settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(case=cases(), binary=st.booleans())
def test_tensors_are_accepted_and_refused_as_the_contract_says(
    case: tuple[Feature, str, list[Any]], binary: bool
) -> None:
    feature, datatype, values = case
    made = plan(feature)
    data: Any = values
    if binary and datatype == "BYTES":
        data = texts(*(value.encode() for value in values))
    elif binary:
        data = np.array(values, "<i8" if datatype == "INT64" else "<f8").tobytes()
    matrix, found = made.contract.features(pa.RecordBatch.from_pydict({"f": values}))
    if found.bad.any():
        row = int(np.flatnonzero(found.bad)[0])
        with pytest.raises(InvalidInput, match=f"^row {row}: f: .*accepted: "):
            to_matrix(made, [column("f", data, datatype, (len(values),))])
    else:
        got = to_matrix(made, [column("f", data, datatype, (len(values),))])
        np.testing.assert_array_equal(got, matrix)
