import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from driftloop.inference.onnx_file import FIELDS, SMALL, ModelRefused, check, without_numbers
from tests.support.tiny_models import heavy_classifier

X = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])
Y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 2])


def outside(name: str = "W") -> TensorProto:
    """A tensor in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    return tensor


def graph(
    *nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = (), name: str = "g"
) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [X], [Y], list(tensors))


def model(made: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def holding(**attributes: Any) -> onnx.ModelProto:
    """A model with one node of these attributes."""
    return model(graph(helper.make_node("Any", ["X"], ["Y"], **attributes)))


def refused(made: onnx.ModelProto, match: str) -> None:
    with pytest.raises(ModelRefused, match=match):
        check(made.SerializeToString())


@pytest.mark.parametrize("message", FIELDS)
def test_the_fields_have_the_numbers_and_kinds_of_the_standard(message: str) -> None:
    theirs = getattr(onnx, message, None) or getattr(onnx.onnx_pb, message)
    for name, (number, kind) in FIELDS[message].items():
        field = theirs.DESCRIPTOR.fields_by_name[name]
        assert field.number == number
        assert field.is_repeated == kind.endswith("*")
        if field.message_type is not None and not kind.startswith("bytes"):
            assert field.message_type.name == kind.rstrip("*")


def test_every_way_from_a_model_to_a_tensor_or_an_operator_is_looked_at() -> None:
    """The standard's own messages, walked: none that leads to these is left out of ours."""
    leads = {"TensorProto", "OperatorSetIdProto"}
    known = {name: getattr(onnx.onnx_pb, name).DESCRIPTOR for name in FIELDS}
    for _ in known:
        for name, described in known.items():
            if any(f.message_type and f.message_type.name in leads for f in described.fields):
                leads.add(name)
    for name, described in known.items():
        for field in described.fields:
            if field.message_type is not None and field.message_type.name in leads:
                assert field.name in FIELDS[name], f"{name}.{field.name}"


def _sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=outside(), indices=TensorProto(), dims=[3, 2])


def _function() -> onnx.ModelProto:
    made = model(graph())
    made.functions.add(name="f").node.add().attribute.add(name="a", t=outside())
    return made


def _default_of_a_function() -> onnx.ModelProto:
    made = model(graph())
    made.functions.add(name="f").attribute_proto.add(name="a", t=outside())
    return made


def _training() -> onnx.ModelProto:
    made = model(graph())
    made.training_info.add().algorithm.CopyFrom(graph(tensors=(outside(),)))
    return made


def _sparse_initializer() -> onnx.ModelProto:
    made = model(graph())
    made.graph.sparse_initializer.append(_sparse())
    return made


INNER = graph(helper.make_node("Any", ["X"], ["Y"], t=outside()), name="inner")
PLACES = {
    "initializer": lambda: model(graph(tensors=(outside(),))),
    "sparse initializer": _sparse_initializer,
    "attribute": lambda: holding(t=outside()),
    "attributes": lambda: holding(t=[outside("A"), outside("B")]),
    "sparse attribute": lambda: holding(t=_sparse()),
    "graph in a graph": lambda: holding(then_branch=INNER),
    "graphs in a graph": lambda: holding(branches=[graph(), INNER]),
    "three deep": lambda: holding(a=holding(b=INNER).graph),
    "function": _function,
    "default of a function": _default_of_a_function,
    "training": _training,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_another_file_is_found_wherever_it_is(place: str) -> None:
    refused(PLACES[place](), "lies in another file; accepted: one file")


def test_a_large_attribute_is_no_place_to_hide() -> None:
    made = holding(t=outside())
    (attribute,) = made.graph.node[0].attribute
    for lists in itertools.permutations(("floats", "ints", "strings")):
        raw = b""
        for name in (*lists, "t", *lists):
            part = onnx.AttributeProto()
            if name == "t":
                part.t.CopyFrom(attribute.t)
            elif name == "strings":
                part.strings.extend([b"x" * 100] * 200)
            else:
                getattr(part, name).extend(range(50_000))
            raw += part.SerializeToString()
        attribute.ParseFromString(raw)
        refused(made, "tensor 'W' lies in another file")


@pytest.mark.parametrize("inner", [False, True])
def test_operators_that_are_not_onnxs_own_are_refused_imported_or_not(inner: bool) -> None:
    node = helper.make_node("Gelu", ["X"], ["Y"], domain="com.microsoft")
    made = holding(body=graph(node)) if inner else model(graph(node))
    refused(made, r"uses operators of com\.microsoft; accepted: those of ai\.onnx, ai\.onnx\.ml")


def test_operators_that_a_function_imports_are_looked_at() -> None:
    made = model(graph())
    made.functions.add(name="f").opset_import.add(domain="com.evil")
    refused(made, "com.evil")


@pytest.mark.parametrize("data", [b"not a model", b"\x3a\x05abc", b"\x0b", b"\x3a\xff\xff\xff"])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused, match="bytes are not ONNX"):
        check(data)


def test_a_graph_nested_beyond_reason_is_refused() -> None:
    inner = b""
    for _ in range(5_000):  # graph, node, attribute, graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            inner = tag + onnx_varint(len(inner)) + inner
    with pytest.raises(ModelRefused):
        check(b"\x3a" + onnx_varint(len(inner)) + inner)


def onnx_varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def test_a_forest_passes_and_its_numbers_are_stepped_over() -> None:
    data = heavy_classifier(trees=20).onnx
    check(data)
    for attribute in onnx.load_model_from_string(data).graph.node[0].attribute:
        raw = attribute.SerializeToString()
        if len(raw) > SMALL and not attribute.strings:
            assert len(without_numbers(raw)) < 100


numbers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30)


@given(numbers, numbers, st.integers(1, 400))
def test_without_numbers_nothing_else_is_lost(small: list[int], ints: list[int], many: int) -> None:
    made = onnx.AttributeProto(name="a", type=onnx.AttributeProto.INTS, doc_string="d")
    made.ints.extend(np.resize(ints or [1], many * 20).tolist())
    made.floats.extend(float(n) for n in small * many)
    made.strings.extend([b"s"] * 3)
    made.tensors.add(name="t", data_location=TensorProto.EXTERNAL)
    raw = made.SerializeToString()
    left = onnx.AttributeProto.FromString(without_numbers(raw))
    if len(raw) > SMALL:
        assert (list(left.ints), list(left.floats)) == ([], [])
    del made.ints[:], made.floats[:], left.ints[:], left.floats[:]
    assert left == made


@given(st.binary(max_size=40))
def test_what_cannot_be_walked_stays_for_the_reader_to_refuse(start: bytes) -> None:
    raw = start + b"\xff" * SMALL  # a varint without an end
    assert without_numbers(raw).endswith(b"\xff" * (SMALL - 9))
