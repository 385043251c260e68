import contextlib
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2 import codec
from driftloop.inference.grpc_v2.schema import CLASSES
from driftloop.inference.v2.messages import InferRequest, InferResponse, Tensor, Wanted

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the reference client, when it is imported
    from tritonclient.grpc import service_pb2


def asked(**fields: Any) -> Any:
    return service_pb2.ModelInferRequest(model_name="m", **fields)


def read(request: Any) -> InferRequest:
    return codec.to_request(request.SerializeToString())


def answered(raw: bytes) -> Any:
    return service_pb2.ModelInferResponse.FromString(raw)


def answer(*outputs: Tensor, **fields: Any) -> InferResponse:
    said = {"model_name": "m", "model_version": "3", "id": "", **fields}
    return InferResponse(outputs=list(outputs), **said)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]),
        ("INT8", [-128, 127]),
        ("INT16", [-(2**15), 2**15 - 1]),
        ("INT32", [-(2**31), 2**31 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT8", [0, 255]),
        ("UINT16", [0, 2**16 - 1]),
        ("UINT32", [0, 2**32 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("FP32", [0.5, float("inf")]),
        ("FP64", [0.1, -1e300]),
        ("BYTES", [b"", "é\0".encode()]),
    ],
)
def test_typed_values_arrive_with_datatype_and_shape(datatype: str, values: list[Any]) -> None:
    request = asked()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[2, 1])
    getattr(tensor.contents, codec.CONTENTS[datatype]).extend(values)
    assert read(request).inputs == [Tensor("x", datatype, (2, 1), values)]


def test_raw_buffers_go_to_the_inputs_in_their_order() -> None:
    request = asked(raw_input_contents=[b"\0\0\0\0", b""])
    request.inputs.add(name="a", datatype="FP32", shape=[1])
    request.inputs.add(name="b", datatype="FP16", shape=[0])
    assert read(request).inputs == [
        Tensor("a", "FP32", (1,), b"\0\0\0\0"),
        Tensor("b", "FP16", (0,), b""),
    ]


def test_names_parameters_and_outputs_asked_for_arrive() -> None:
    request = asked(model_version="4", id="7")
    request.parameters["yes"].bool_param = False
    request.parameters["whole"].int64_param = -5
    request.parameters["large"].uint64_param = 2**64 - 1
    request.parameters["half"].double_param = 0.5
    request.parameters["text"].string_param = ""
    request.outputs.add(name="p").parameters["classification"].int64_param = 2
    request.outputs.add(name="q").parameters["binary_data"].bool_param = True
    got = codec.to_request(request.SerializeToString(), deadline=12.5)
    assert got == InferRequest(
        model="m",
        version="4",
        id="7",
        inputs=[],
        outputs=[Wanted("p", True, 2), Wanted("q", True, 0)],
        parameters={"yes": False, "whole": -5, "large": 2**64 - 1, "half": 0.5, "text": ""},
        deadline=12.5,
    )


def _mixed(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)
    request.raw_input_contents.append(b"\0\0\0\0")


def _too_many(request: Any) -> None:
    request.raw_input_contents.extend([b"\0\0\0\0"] * 2)


def _wrong_field(request: Any) -> None:
    request.inputs[0].contents.fp64_contents.append(1.0)


def _two_fields(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)
    request.inputs[0].contents.int_contents.append(1)


def _no_contents_for_it(request: Any) -> None:
    request.inputs[0].datatype = "FP16"


def _shared_memory(request: Any) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"


def _shared_output(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)
    request.outputs.add(name="y").parameters["shared_memory_region"].string_param = "r"


def _classes_by_text(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)
    request.outputs.add(name="y").parameters["classification"].string_param = "2"


def _empty_parameter(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)
    request.parameters["p"].SetInParent()
    assert "p" in request.parameters


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_mixed, r"x\.contents: .*raw_input_contents"),
        (_too_many, r"raw_input_contents: holds 2 .* 1 inputs"),
        (_wrong_field, r"x\.contents\.fp64_contents: .*FP32.*fp32_contents"),
        (_two_fields, r"x\.contents\.int_contents: .*fp32_contents"),
        (_no_contents_for_it, r"x\.datatype: 'FP16'.*FP64.*raw_input_contents"),
        (lambda _: None, r"x: comes without values.*fp32_contents"),
        (_shared_memory, r"x\.parameters\.shared_memory_region"),
        (_shared_output, r"y\.parameters\.shared_memory_region"),
        (_classes_by_text, r"y\.parameters\.classification: '2'"),
        (_empty_parameter, r"parameters\.p: has no value"),
    ],
)
def test_a_request_that_is_wrong_is_refused_by_the_name_of_its_field(spoil: Any, says: str) -> None:
    request = asked()
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    spoil(request)
    with pytest.raises(InvalidInput, match=says):
        read(request)


def test_an_input_without_rows_needs_no_values() -> None:
    request = asked()
    request.inputs.add(name="x", datatype="FP32", shape=[0, 3])
    assert read(request).inputs == [Tensor("x", "FP32", (0, 3), [])]


@given(st.binary(max_size=64))
def test_any_bytes_are_a_request_or_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(codec.to_request(raw), InferRequest)


@given(st.data())
def test_a_request_that_is_cut_or_changed_is_a_request_or_refused(data: st.DataObject) -> None:
    request = asked(id="1", raw_input_contents=[b"\0" * 8])
    request.inputs.add(name="x", datatype="FP32", shape=[2]).parameters["a"].int64_param = 1
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    raw = bytearray(request.SerializeToString())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    with contextlib.suppress(InvalidInput):
        assert isinstance(codec.to_request(bytes(raw[:cut])), InferRequest)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 127, 128, 16_384, 70_000])
def test_numbers_of_an_answer_are_read_back_by_the_reference_client(size: int) -> None:
    values = np.arange(size * 2, dtype=np.float32).reshape(size, 2)
    got = answered(codec.to_bytes(answer(Tensor("y", "FP32", (size, 2), values))))
    assert (got.model_name, got.model_version, got.id) == ("m", "3", "")
    assert [(o.name, o.datatype, list(o.shape)) for o in got.outputs] == [("y", "FP32", [size, 2])]
    back = np.frombuffer(got.raw_output_contents[0], np.float32).reshape(size, 2)
    np.testing.assert_array_equal(back, values)


def test_an_array_that_is_not_in_row_order_is_sent_in_row_order() -> None:
    values = np.arange(6, dtype=np.int64).reshape(2, 3).T
    got = answered(codec.to_bytes(answer(Tensor("y", "INT64", (3, 2), values))))
    assert np.frombuffer(got.raw_output_contents[0], np.int64).tolist() == [0, 3, 1, 4, 2, 5]


def test_texts_are_sent_with_their_lengths() -> None:
    got = answered(codec.to_bytes(answer(Tensor("y", "BYTES", (3,), [b"ab", b"", "é"]))))
    assert got.raw_output_contents[0] == b"\2\0\0\0ab\0\0\0\0\2\0\0\0\xc3\xa9"


def test_an_answer_of_many_outputs_keeps_them_apart() -> None:
    outputs = [Tensor(f"y{i}", "INT32", (i,), np.full(i, i, np.int32)) for i in range(4)]
    got = answered(codec.to_bytes(answer(*outputs)))
    assert [o.name for o in got.outputs] == ["y0", "y1", "y2", "y3"]
    assert [len(raw) // 4 for raw in got.raw_output_contents] == [0, 1, 2, 3]


def test_the_id_is_that_of_each_answer_although_the_head_is_kept() -> None:
    ids = ["a", "", "é" * 200, "b"]
    tensor = Tensor("y", "BOOL", (1,), np.array([True]))
    assert [answered(codec.to_bytes(answer(tensor, id=i))).id for i in ids] == ids


def test_parameters_of_an_answer_arrive_as_their_kind() -> None:
    values = {"a": True, "b": -1, "c": 2**64 - 1, "d": 0.25, "e": "x"}
    got = answered(codec.to_bytes(answer(parameters=values))).parameters
    kinds = {name: got[name].WhichOneof("parameter_choice") for name in got}
    assert kinds == {
        "a": "bool_param",
        "b": "int64_param",
        "c": "uint64_param",
        "d": "double_param",
        "e": "string_param",
    }
    assert {name: getattr(got[name], kind) for name, kind in kinds.items()} == values


def test_a_parameter_of_no_kind_is_named() -> None:
    with pytest.raises(TypeError, match=r"parameters\.p: list"):
        codec.to_bytes(answer(parameters={"p": []}))


def test_heads_kept_are_bounded() -> None:
    codec.head.cache_clear()
    for rows in range(1_000):
        codec.to_bytes(answer(Tensor("y", "FP32", (rows,), np.zeros(rows, np.float32))))
    assert codec.head.cache_info().currsize == codec._HEADS


def test_a_message_of_a_stream_holds_the_answer_or_the_error() -> None:
    inner = codec.to_bytes(answer(Tensor("y", "FP32", (90,), np.zeros(90, np.float32)), id="9"))
    kept = service_pb2.ModelStreamInferResponse.FromString(codec.to_stream_bytes(inner))
    assert kept.error_message == ""
    assert kept.infer_response == answered(inner)
    failed = service_pb2.ModelStreamInferResponse.FromString(codec.to_stream_error("no", "9"))
    assert (failed.error_message, failed.infer_response.id) == ("no", "9")


def test_the_classes_do_not_stand_in_the_default_pool() -> None:
    ours = CLASSES["ModelInferRequest"].DESCRIPTOR
    assert ours.full_name == service_pb2.ModelInferRequest.DESCRIPTOR.full_name
    assert ours is not service_pb2.ModelInferRequest.DESCRIPTOR
