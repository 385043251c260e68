"""Requests in JSON: the short ways and the long one give the same numbers, or the same refusal."""

from typing import Any

import hypothesis
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.errors import DriftloopError, InvalidInput, Reject
from driftloop.inference.core.call import Call, one
from driftloop.inference.domain.plan import Plan
from driftloop.inference.v2 import outputs
from driftloop.inference.v2.decoding import LARGE, request, usual, usual_binary
from driftloop.inference.v2.service import deadline_of, version_of
from driftloop.inference.v2.tensors import to_matrix
from driftloop.modelspec.spec import Feature, Registered, Spec, Target


def plan(*names: str) -> Plan:
    features = tuple(Feature(name=name) for name in names or "abc")
    spec = Spec(
        name="m", task="classification", target=Target(classes=("x", "y")), features=features
    )
    return Plan(Registered(spec=spec, revision=1, by="t", at=0.0))


PLAN = plan()
TENSOR = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.5]}


def body(tensor: Any = TENSOR, *, large: bool = False, **fields: Any) -> bytes:
    made = msgspec.json.encode({"inputs": [tensor], **fields})
    return made[:-1] + b" " * LARGE + b"}" if large else made


def short(raw: bytes) -> Any:
    """The matrix by the short way, or None."""
    found = usual(PLAN, raw)
    if found is None:
        return None
    values, rows, _ = found
    return one(Call(PLAN, values, rows, "id", 0.0))


def long(raw: bytes) -> Any:
    """The matrix by the long way; raises `DriftloopError`."""
    return to_matrix(PLAN, request("m", "", raw).inputs)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_usual_request_takes_the_short_way(large: bool) -> None:
    for tensor in (TENSOR, {**TENSOR, "datatype": "FP64"}, {**TENSOR, "data": [1, 2, 3.5]}):
        raw = body(tensor, large=large, id="r1")
        assert short(raw).tolist() == long(raw).tolist() == [[1, 2, 3.5]]
        found = usual(PLAN, raw)
        assert found is not None
        assert found[1:] == (1, "r1")


UNUSUAL = [
    body({**TENSOR, "data": [[1.0, 2.0, 3.5]]}),
    body({**TENSOR, "data": [1.0, [2.0, 3.5]]}),
    body({**TENSOR, "data": [1.0, None, 3.5]}),
    body({**TENSOR, "data": [1.0, True, 3.5]}),
    body({**TENSOR, "data": ["1.0", 2, 3]}),
    body({**TENSOR, "data": [1.0, 2.0]}),
    body({**TENSOR, "data": []}),
    body({**TENSOR, "data": 5}),
    body({**TENSOR, "shape": [2, 3]}),
    body({**TENSOR, "shape": [3, 1]}),
    body({**TENSOR, "shape": [3]}),
    body({**TENSOR, "shape": []}),
    body({**TENSOR, "shape": [True, 3]}),
    body({**TENSOR, "shape": ["1", 3]}),
    body({**TENSOR, "shape": [-1, 3]}),
    body({**TENSOR, "shape": [0, 3], "data": []}),
    body({**TENSOR, "shape": [10**12, 3]}),
    body({**TENSOR, "shape": [10**30, 3]}),
    body({**TENSOR, "datatype": "INT64", "data": [1, 2, 3]}),
    body({**TENSOR, "datatype": "BYTES"}),
    body({**TENSOR, "datatype": 7}),
    body({**TENSOR, "name": "features"}),
    body({**TENSOR, "name": "Y"}),
    body({**TENSOR, "name": None}),
    body({**TENSOR, "parameters": {}}),
    body({**TENSOR, "parameters": {"binary_data_size": 12}}),
    body({**TENSOR, "colour": 1}),
    body(outputs=[{"name": "probabilities"}]),
    body(parameters={"timeout": 5}),
    body(id=7),
    body(id="x" * 300),
    body(colour=1),
    body([]),
    msgspec.json.encode({"inputs": []}),
    msgspec.json.encode({"inputs": [TENSOR, TENSOR]}),
    msgspec.json.encode({"inputs": {}}),
    msgspec.json.encode({"id": "a"}),
    msgspec.json.encode([]),
    b"",
    b"null",
    b"{",
    b"\xff",
    b"[" * 100_000,
    b'{"inputs":' * 20_000,
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1e999,2,3]}]}',
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1e999,2,3]}',
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1e999,' + b"[" * 100_000,
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[' + b"1" * 400 + b",2,3]}]}",
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[' + b"1" * 9000 + b",2,3]}]}",
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[NaN,2,3]}]}',
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]} x',
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"id":"\xed\xa0\x80"}',
    b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"id":"\\ud800"}',
]


def verdict(raw: bytes) -> tuple[Any, str]:
    """The matrix by the long way, or why there is none."""
    try:
        return long(raw), ""
    except DriftloopError as error:
        return None, str(error)


@pytest.mark.parametrize("at", range(len(UNUSUAL)))
def test_an_unusual_request_is_the_same_small_and_large(at: int) -> None:
    """Whichever way it takes, it is answered with the same numbers, or refused."""
    for sent in (UNUSUAL[at], UNUSUAL[at] + b" " * LARGE):
        made = short(sent)
        want, why = verdict(sent)
        assert len(why) < 2_000
        if want is None:
            assert made is None or not PLAN.fits(made), why
        else:
            assert made is None or made.tolist() == want.tolist()


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_of_a_name_that_comes_twice_the_last_counts(large: bool) -> None:
    pad = b" " * LARGE if large else b""
    inputs = b'"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[9,9,9]%b}]'
    twice = b"{" + inputs % b',"data":[1,2,3]' + pad + b"}"
    whole = b"{" + inputs % b"" + b"," + inputs % b',"data":[1,2,3]' + pad + b"}"
    ids = b"{" + inputs % b"" + b',"id":"a","id":"b"' + pad + b"}"
    for raw in (twice, whole):
        found = short(raw)
        assert (long(raw) if found is None else found).tolist() == [[1, 2, 3]]
    found = usual(PLAN, ids)
    assert (found[2] if found is not None else request("m", "", ids).id) == "b"


@pytest.mark.parametrize(
    ("raw", "kind", "says"),
    [
        (b"{", Reject, "request: is not JSON"),
        (b"\xff", Reject, "request: is not JSON"),
        (b'{"outputs":' + b"[" * 100_000, InvalidInput, "$.outputs[0]"),
        (b'{"parameters":{"a":' + b"[" * 100_000, Reject, "request: is not JSON"),
        (b'{"inputs":[1e999', Reject, "request: is not JSON"),
        (b"{}", InvalidInput, "`inputs`"),
        (b'{"inputs":[{"name":"X"}]}', InvalidInput, "`shape` - at `$.inputs[0]`"),
        (body({**TENSOR, "shape": [1.5, 3]}), InvalidInput, "$.inputs[0].shape"),
        (body({**TENSOR, "data": None}), InvalidInput, "X.data: is missing"),
        (body({**TENSOR, "data": {"a": 1}}), InvalidInput, "X.data: {'a': 1}"),
        (body({**TENSOR, "name": "n" * 10_000_000, "data": 1}), InvalidInput, "nnn.data: 1"),
        (body(id="x" * 10_000_000), InvalidInput, "id: 'xxx"),
        (body(parameters={"binary_data_output": "yes"}), InvalidInput, "binary_data_output: 'yes'"),
        (
            body(outputs=[{"name": "o", "parameters": {"classification": "all"}}]),
            InvalidInput,
            "outputs.o.classification: 'all'",
        ),
    ],
    ids=range(14),
)
def test_what_is_no_request_is_refused_by_name(
    raw: bytes, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as raised:
        request("m", "", raw)
    text = str(raised.value)
    assert says in text
    assert "accepted" in text
    assert len(text) < 2_000


def binary(tensor: Any, data: bytes, **fields: Any) -> tuple[bytes, int]:
    head = msgspec.json.encode({"inputs": tensor, **fields})
    return head + data, len(head)


def announced(size: Any, name: str = "X", **fields: Any) -> dict[str, Any]:
    made = {"name": name, "shape": [1, 3], "datatype": "FP32"}
    return {**made, "parameters": {"binary_data_size": size}, **fields}


VALUES = np.array([1, 2, 3.5], "<f4").tobytes()


@pytest.mark.parametrize("id", ["", "a", "ab", "abc", "abcd"])
def test_binary_data_is_read_at_any_alignment(id: str) -> None:
    sent, length = binary([announced(12)], VALUES, id=id, parameters={"binary_data_output": True})
    found = usual_binary(PLAN, sent, length)
    assert found is not None
    values, rows, told = found
    assert np.asarray(values).tolist() == [[1, 2, 3.5]]
    assert (rows, told) == (1, id)
    asked = request("m", "", sent, length)
    assert to_matrix(PLAN, asked.inputs).tolist() == [[1, 2, 3.5]]


def test_several_inputs_are_cut_out_of_the_binary_data_in_order() -> None:
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
        for name in "ba"
    ]
    inputs.insert(1, {"name": "c", "shape": [1], "datatype": "FP32", "data": [7.0]})
    sent, length = binary(inputs, np.array([1, 2], "<f4").tobytes())
    assert to_matrix(PLAN, request("m", "", sent, length).inputs).tolist() == [[2, 1, 7]]


@pytest.mark.parametrize(
    ("inputs", "data", "says"),
    [
        ([announced(13)], VALUES, "X: 13 bytes of binary data are announced"),
        ([announced(10**400)], VALUES, "are announced"),
        ([announced(12)], VALUES + b"\0", "1 bytes of binary data belong to no input"),
        ([announced(12)], b"", "accepted: at most the 0 that are there"),
        ([announced(8), announced(8)], VALUES, "accepted: at most the 4 that are there"),
        ([announced(-1)], VALUES, "X.parameters.binary_data_size: -1"),
        ([announced(True)], VALUES, "X.parameters.binary_data_size: True"),
        ([announced("12")], VALUES, "X.parameters.binary_data_size: '12'"),
        ([announced(12, data=[1])], VALUES, "no data beside it"),
    ],
)
def test_binary_data_that_is_not_there_is_refused(inputs: Any, data: bytes, says: str) -> None:
    sent, length = binary(inputs, data, parameters={"binary_data_output": True})
    assert usual_binary(PLAN, sent, length) is None
    with pytest.raises(InvalidInput) as raised:
        request("m", "", sent, length)
    assert says in str(raised.value)
    assert len(str(raised.value)) < 500


def test_the_matrix_is_not_found_where_a_feature_has_its_name() -> None:
    made = plan("X", "b", "c")
    sent, length = binary([announced(12)], VALUES, parameters={"binary_data_output": True})
    assert usual(made, body()) is None
    assert usual(made, body(large=True)) is None
    assert usual_binary(made, sent, length) is None


def test_an_output_is_given_once() -> None:
    """Or a request of a few megabytes would ask for an answer of as many gigabytes."""
    twice = request("m", "", body(outputs=[{"name": "probabilities"}] * 2)).outputs
    with pytest.raises(InvalidInput, match="outputs: 'probabilities' stands there twice"):
        outputs.check(PLAN, twice)


@pytest.mark.parametrize(
    "text", ["0", "-1", "abc", "99999999999", "1.0", " 1", "\u0661", "1" * 5000]
)
def test_a_version_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"version: .* accepted: a whole number from 1"):
        version_of(text)


@pytest.mark.parametrize("value", [-1, "5", True, None, float("nan"), float("inf"), 10**400, [1]])
def test_a_timeout_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"parameters\.timeout: .* accepted: microseconds"):
        deadline_of({"timeout": value}, 0.0)


def test_a_timeout_is_a_deadline_in_microseconds() -> None:
    assert deadline_of({"timeout": 2_000_000}, 5.0) == 7.0
    assert deadline_of({"timeout": 0}, 5.0) == deadline_of({}, 5.0) == 0.0


NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**20), 10**20)
    | st.sampled_from([0.1, 1e-45, 1e38, 3.4e38, 1e39, -0.0, None, True, "1"])
)


@hypothesis.settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(
    rows=st.integers(1, 4),
    data=st.lists(NUMBERS, min_size=3, max_size=12),
    datatype=st.sampled_from(["FP32", "FP64"]),
)
def test_small_large_and_long_give_the_same_numbers(
    rows: int, data: list[Any], datatype: str
) -> None:
    data = (data * 4)[: rows * 3]
    tensor = {"name": "X", "shape": [rows, 3], "datatype": datatype, "data": data}
    found = [short(body(tensor)), short(body(tensor, large=True))]
    want, _ = verdict(body(tensor))
    if want is None:
        assert found == [None, None]
        return
    assert want.shape == (rows, 3)
    for made in found:
        if made is not None:
            np.testing.assert_array_equal(made, want)
