import warnings
from typing import Any

import pytest

from driftloop.inference.grpc_v2.schema import CLASSES, MESSAGES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the reference client, when it is imported
    from tritonclient.grpc import (
        model_config_pb2,
        service_pb2,
    )

ENUM, INT32 = 14, 5


def theirs(path: str) -> Any:
    outer, _, inner = path.partition(".")
    file = service_pb2 if outer in service_pb2.DESCRIPTOR.message_types_by_name else None
    message = (file or model_config_pb2).DESCRIPTOR.message_types_by_name[outer]
    return message.nested_types_by_name[inner] if inner else message


def shape(field: Any) -> tuple[Any, ...]:
    kind = INT32 if field.type == ENUM else field.type
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return (field.number, "map", *[shape(part) for part in entry.fields])
    return (
        field.number,
        kind,
        field.is_repeated,
        entry.full_name if entry else "",
        field.containing_oneof.name if field.containing_oneof else "",
    )


@pytest.mark.parametrize("path", MESSAGES)
def test_names_numbers_and_types_are_those_of_the_reference_client(path: str) -> None:
    reference = theirs(path).fields_by_name
    ours = CLASSES[path].DESCRIPTOR.fields_by_name
    assert {name: shape(ours[name]) for name in ours} == {
        name: shape(reference[name]) for name in ours
    }
    if not path.startswith(("ModelConfig", "ModelInput", "ModelOutput")):  # parts of large messages
        assert set(ours) == set(reference)


def test_a_request_of_the_reference_client_comes_back_byte_by_byte() -> None:
    request = service_pb2.ModelInferRequest(model_name="m", model_version="7", id="é")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2, 1])
    tensor.contents.fp32_contents.extend([1.5, -2.5])
    request.parameters["priority"].uint64_param = 2**64 - 1
    request.outputs.add(name="y").parameters["classification"].int64_param = 3
    raw = request.SerializeToString(deterministic=True)
    assert CLASSES["ModelInferRequest"].FromString(raw).SerializeToString(deterministic=True) == raw
