import contextlib
import itertools
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, QuantileTransformer

from driftloop.artifacts import onnx_file
from driftloop.artifacts.onnx_fields import FIELDS, SMALL, without_numbers
from driftloop.artifacts.onnx_file import DEFAULTS, Found, Limits, ModelRefused
from driftloop.contracts.manifest import Tensor
from driftloop.trainer.fitting import convert
from tests.support.tiny_models import classifier, heavy_classifier, regressor

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


def check(data: bytes, limits: Limits | None = DEFAULTS) -> Found:
    return onnx_file.check(data, 3, 2, limits)


def refused(made: onnx.ModelProto, match: str, limits: Limits = DEFAULTS) -> None:
    with pytest.raises(ModelRefused, match=match):
        check(made.SerializeToString(), limits)


def standard(message: str) -> Any:
    """The standard's own message; ours have no messages within messages."""
    inner = {"Tensor": onnx.TypeProto.Tensor, "Dimension": onnx.TensorShapeProto.Dimension}
    return inner.get(message) or getattr(onnx.onnx_pb, message)


@pytest.mark.parametrize("message", FIELDS)
def test_the_fields_have_the_numbers_and_kinds_of_the_standard(message: str) -> None:
    theirs = standard(message)
    for name, (number, kind) in FIELDS[message].items():
        field = theirs.DESCRIPTOR.fields_by_name[name]
        assert field.number == number
        assert field.is_repeated == kind.endswith("*")
        if field.message_type is not None and not kind.startswith("bytes"):
            assert field.message_type.name == kind.rstrip("*")


def test_every_way_from_a_model_to_a_tensor_or_an_operator_is_looked_at() -> None:
    """The standard's own messages, walked: none that leads to these is left out of ours."""
    leads = {"TensorProto", "OperatorSetIdProto"}
    known = {name: standard(name).DESCRIPTOR for name in FIELDS}
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
@pytest.mark.fault(37, "a model with a tensor in another file")
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
    found = check(data)
    assert found.operators == ("ai.onnx.ml.TreeEnsembleClassifier",)
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


def constant(name: str, *values: int) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def node(name: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(name, list(inputs), ["made"], **attributes)


def sizes(*nodes: onnx.NodeProto, **constants: tuple[int, ...]) -> onnx.ModelProto:
    """A model that answers beside what these nodes make."""
    end = helper.make_node("MatMul", ["X", "W"], ["Y"])
    weights = helper.make_tensor("W", TensorProto.FLOAT, [3, 2], [0.0] * 6)
    tensors = [constant(name, *values) for name, values in constants.items()]
    return model(graph(*nodes, end, tensors=(weights, *tensors)))


def chained(name: str, times: int, **attributes: Any) -> list[onnx.NodeProto]:
    names = ["X", *(f"n{at}" for at in range(times))]
    return [
        helper.make_node(name, [a, *([a] if name == "Concat" else ["S"])], [b], **attributes)
        for a, b in itertools.pairwise(names)
    ]


SHAPED = helper.make_node("Shape", ["X"], ["shape"])
BLOWN = {
    "constant of a shape": sizes(node("ConstantOfShape", "S"), S=(1 << 20, 1 << 22)),
    "expanded": sizes(node("Expand", "X", "S"), S=(1 << 40, 3)),
    "tiled": sizes(node("Tile", "X", "S"), S=(1 << 40, 1)),
    "tiled again and again": sizes(*chained("Tile", 20), S=(4, 4)),
    "doubled again and again": sizes(*chained("Concat", 40, axis=0)),
    "a range": sizes(node("Range", "A", "S", "B"), A=(0,), S=(1 << 40,), B=(1,)),
    "padded": sizes(node("Pad", "X", "S"), S=(0, 0, 0, 1 << 40)),
    "one hot": sizes(node("OneHot", "X", "S", "V"), S=(1 << 40,), V=(0, 1)),
    "a multiple of the shape": sizes(
        SHAPED,
        helper.make_node("Mul", ["shape", "S"], ["larger"]),
        node("ConstantOfShape", "larger"),
        S=(1 << 40,),
    ),
    "a constant within a node": sizes(
        helper.make_node("Constant", [], ["S"], value_ints=[1 << 20, 1 << 20]),
        node("ConstantOfShape", "S"),
    ),
    "of a size that rows give": sizes(
        helper.make_node("Cast", ["X"], ["whole"], to=TensorProto.INT64),
        node("ConstantOfShape", "whole"),
    ),
    "gathered from the rows again and again": sizes(
        *chained("Gather", 8, axis=0), S=tuple([0] * 60)
    ),
}


@pytest.mark.parametrize("how", BLOWN)
@pytest.mark.fault(37, "a model with a tensor of 4 TB")
def test_a_tensor_that_no_machine_holds_is_refused_before_a_run(how: str) -> None:
    refused(BLOWN[how], r"makes a tensor of .* numbers for one row.*accepted: 6\.71e\+07 at most")


def test_a_large_tensor_within_a_branch_is_found() -> None:
    inner = helper.make_graph([node("ConstantOfShape", "S")], "inner", [], [Y])
    inner.output[0].name = "made"
    made = sizes(
        helper.make_node("If", ["c"], ["kept"], then_branch=inner, else_branch=inner),
        S=(1 << 40,),
    )
    refused(made, "makes a tensor")


def test_sizes_that_follow_the_rows_are_accepted() -> None:
    made = sizes(
        SHAPED,
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Concat", ["rows", "S"], ["size"], axis=0),
        node("ConstantOfShape", "size"),
        S=(7,),
        first=(0,),
    )
    check(made.SerializeToString())


@pytest.mark.parametrize("dims", [[1 << 40], [1 << 31, 1 << 31, 1 << 31], [-1, 4], [1] * 9])
@pytest.mark.fault(37, "a model with a constant of an absurd shape")
def test_a_constant_of_an_absurd_shape_is_refused(dims: list[int]) -> None:
    made = sizes()
    made.graph.initializer[0].dims[:] = dims
    refused(made, r"constants take .* accepted: 256 MB|a tensor of shape .* accepted: 8 dimensions")


def test_many_constants_count_together() -> None:
    made = sizes()
    for at in range(10):
        made.graph.initializer.add(name=f"c{at}", data_type=1, dims=[10 << 20])
    refused(made, r"its constants take 400 MB; accepted: 256 MB at most")


def test_the_limits_are_settings() -> None:
    data = sizes(node("ConstantOfShape", "S"), S=(1 << 20,)).SerializeToString()
    check(data)
    with pytest.raises(ModelRefused, match=r"1\.05e\+06"):
        check(data, Limits(tensor_mb=2))
    with pytest.raises(ModelRefused, match=r"2 MB; accepted: 1 MB at most \(DRIFTLOOP_MODEL_MB\)"):
        check(data + bytes(2 << 20), Limits(file_mb=1))


@pytest.mark.parametrize("name", ["n_targets", "targets"])
def test_an_answer_of_absurd_width_is_refused(name: str) -> None:
    attributes: dict[str, Any] = {name: 1 << 40}
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["X"], ["made"], domain="ai.onnx.ml", **attributes
    )
    made = sizes(trees)
    made.opset_import.add(domain="ai.onnx.ml", version=3)
    refused(made, "answers 1099511627776 numbers a row; accepted: 100000 at most")


@pytest.mark.parametrize("name", ["Loop", "RandomNormal", "ImageDecoder", "Strange"])
@pytest.mark.fault(37, "a model with operators that are not on the list")
def test_operators_that_are_not_on_the_list_are_refused_unless_they_are_named(name: str) -> None:
    made = sizes(node(name, "X"))
    refused(made, f"uses the operators {name}; accepted: .* DRIFTLOOP_MODEL_OPERATORS names")
    found = check(made.SerializeToString(), Limits(operators=(name,)))
    assert set(found.operators) == {"MatMul", name}


KINDS = {
    b"": "0 bytes are not ONNX: empty",
    b"\x80\x04\x95\x10\x00": "a pickle",
    b"\x80\x05K\x01.": "a pickle",
    b"PK\x03\x04rest": "a zip archive",
    b"\x1f\x8b\x08": "a gzip file",
    b"\x7fELF": "a program",
}


@pytest.mark.parametrize("data", KINDS)
@pytest.mark.fault(38, "a pickle, and other files, in place of a model")
def test_other_files_are_named(data: bytes) -> None:
    with pytest.raises(ModelRefused, match=f"{KINDS[data]}; accepted: an ONNX file"):
        check(data)


def test_a_file_that_was_cut_off_is_refused_unless_nothing_it_uses_is_missing() -> None:
    data = classifier().onnx
    whole, taken = check(data), []
    for end in range(len(data)):
        with contextlib.suppress(ModelRefused):
            taken.append((end, check(data[:end])))
    assert all(len(data) - end <= 12 for end, _ in taken), "but the last of its imports"
    assert [f for _, f in taken] == [
        msgspec.structs.replace(whole, opset=f.opset) for _, f in taken
    ]


SIGNATURES = {
    "two inputs": ([X, helper.make_tensor_value_info("Z", 1, [None, 3])], [Y], "has inputs X: .*Z"),
    "another width": (
        [helper.make_tensor_value_info("X", 1, [None, 4])],
        [Y],
        r"inputs X: tensor\(float\) \[-1, 4\]; accepted: .*\[rows, 3\]",
    ),
    "doubles": ([helper.make_tensor_value_info("X", 11, [None, 3])], [Y], r"tensor\(double\)"),
    "a vector": ([helper.make_tensor_value_info("X", 1, [None])], [Y], r"\[-1\]; accepted"),
    "no input": ([], [Y], "has inputs none"),
    "another answer": (
        [X],
        [helper.make_tensor_value_info("Y", 1, [None, 5])],
        r"outputs Y: tensor\(float\) \[-1, 5\]; accepted: .*\[rows, 2\], beside the label",
    ),
    "labels only": ([X], [helper.make_tensor_value_info("Y", 7, [None])], r"tensor\(int64\)"),
}


@pytest.mark.parametrize("what", SIGNATURES)
def test_inputs_and_outputs_that_are_not_the_specs_are_refused(what: str) -> None:
    inputs, outputs, match = SIGNATURES[what]
    made = sizes()
    del made.graph.input[:], made.graph.output[:]
    made.graph.input.extend(inputs)
    made.graph.output.extend(outputs)
    refused(made, match)


@pytest.mark.parametrize("what", ["functions", "training"])
def test_functions_and_training_graphs_are_refused(what: str) -> None:
    made = sizes()
    if what == "functions":
        made.functions.add(name="f")
    else:
        made.training_info.add()
    refused(made, f"has 1 {what}.*of its own; accepted: none")


def test_what_a_model_is_made_of_is_told() -> None:
    found = onnx_file.check(regressor().onnx, 3, 1)
    assert found.operators == ("ai.onnx.ml.LinearRegressor",)
    assert found.opset["ai.onnx.ml"] == 1
    assert [(t.type, t.shape) for t in found.inputs] == [("tensor(float)", (-1, 3))]
    assert found.outputs == (Tensor(name="variable", type="tensor(float)", shape=(-1, 1)),)
    assert found.answer == "variable"


PIPELINES: dict[str, Any] = {
    "boosted": AdaBoostClassifier(n_estimators=3),
    "trees": HistGradientBoostingClassifier(max_iter=3),
    "products": make_pipeline(SimpleImputer(), PolynomialFeatures(2), LogisticRegression()),
    "quantiles": make_pipeline(QuantileTransformer(n_quantiles=20), GaussianNB()),
    "neighbours": KNeighborsClassifier(),
    "layers": MLPClassifier((4,), max_iter=2_000, tol=1e-2),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_what_scikit_learn_becomes_is_accepted(name: str) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 3)).astype(np.float32)
    estimator = PIPELINES[name].fit(rows, (rows[:, 0] * rows[:, 1] > 0).astype(int))
    check(convert(estimator, 3, ("no", "yes")))
