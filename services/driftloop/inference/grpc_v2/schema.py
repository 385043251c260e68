"""The messages of the protobuf package `inference`, built from a table when this is imported.

Source of names and numbers: the Open Inference Protocol V2 (gRPC) and Triton's extensions of it,
model repository and model configuration. The descriptors stand in a pool of their own, so that a
client library that registers the same names in the default pool can live in the same process.
"""

from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE: Final = "inference"
SERVICE: Final = "inference.GRPCInferenceService"

_PARAMETERS: Final = "parameters map<InferParameter>"
_TENSOR: Final = (
    "name string 1",
    "datatype string 2",
    "shape int64* 3",
    f"{_PARAMETERS} 4",
    "contents InferTensorContents 5",
)
_BY_NAME: Final = ("name string 1", "version string 2")
_OF_REPOSITORY: Final = (
    "repository_name string 1",
    "model_name string 2",
    "parameters map<ModelRepositoryParameter> 3",
)

MESSAGES: Final[dict[str, tuple[str, ...]]] = {
    "InferParameter": (
        "parameter_choice/bool_param bool 1",
        "parameter_choice/int64_param int64 2",
        "parameter_choice/string_param string 3",
        "parameter_choice/double_param double 4",
        "parameter_choice/uint64_param uint64 5",
    ),
    "InferTensorContents": (
        "bool_contents bool* 1",
        "int_contents int32* 2",
        "int64_contents int64* 3",
        "uint_contents uint32* 4",
        "uint64_contents uint64* 5",
        "fp32_contents float* 6",
        "fp64_contents double* 7",
        "bytes_contents bytes* 8",
    ),
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live bool 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready bool 1",),
    "ModelReadyRequest": _BY_NAME,
    "ModelReadyResponse": ("ready bool 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name string 1", "version string 2", "extensions string* 3"),
    "ModelMetadataRequest": _BY_NAME,
    "ModelMetadataResponse.TensorMetadata": (
        "name string 1",
        "datatype string 2",
        "shape int64* 3",
    ),
    "ModelMetadataResponse": (
        "name string 1",
        "versions string* 2",
        "platform string 3",
        "inputs ModelMetadataResponse.TensorMetadata* 4",
        "outputs ModelMetadataResponse.TensorMetadata* 5",
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": ("name string 1", f"{_PARAMETERS} 2"),
    "ModelInferRequest": (
        "model_name string 1",
        "model_version string 2",
        "id string 3",
        f"{_PARAMETERS} 4",
        "inputs ModelInferRequest.InferInputTensor* 5",
        "outputs ModelInferRequest.InferRequestedOutputTensor* 6",
        "raw_input_contents bytes* 7",
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelInferResponse": (
        "model_name string 1",
        "model_version string 2",
        "id string 3",
        f"{_PARAMETERS} 4",
        "outputs ModelInferResponse.InferOutputTensor* 5",
        "raw_output_contents bytes* 6",
    ),
    "ModelStreamInferResponse": (
        "error_message string 1",
        "infer_response ModelInferResponse 2",
    ),
    "ModelRepositoryParameter": (
        "parameter_choice/bool_param bool 1",
        "parameter_choice/int64_param int64 2",
        "parameter_choice/string_param string 3",
        "parameter_choice/bytes_param bytes 4",
    ),
    "RepositoryIndexRequest": ("repository_name string 1", "ready bool 2"),
    "RepositoryIndexResponse.ModelIndex": (
        "name string 1",
        "version string 2",
        "state string 3",
        "reason string 4",
    ),
    "RepositoryIndexResponse": ("models RepositoryIndexResponse.ModelIndex* 1",),
    "RepositoryModelLoadRequest": _OF_REPOSITORY,
    "RepositoryModelLoadResponse": (),
    "RepositoryModelUnloadRequest": _OF_REPOSITORY,
    "RepositoryModelUnloadResponse": (),
    # `data_type` is an enumeration of the standard; its wire form is that of an int32.
    "ModelInput": ("name string 1", "data_type int32 2", "dims int64* 4"),
    "ModelOutput": ("name string 1", "data_type int32 2", "dims int64* 3"),
    "ModelConfig": (
        "name string 1",
        "platform string 2",
        "max_batch_size int32 4",
        "input ModelInput* 5",
        "output ModelOutput* 6",
    ),
    "ModelConfigRequest": _BY_NAME,
    "ModelConfigResponse": ("config ModelConfig 1",),
}
"""Message to fields: `[oneof/]name type[*] number`; `*` is repeated, `map<T>` has string keys."""

_SCALARS: Final = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in (
        *("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes"),
    )
}


def _typed(field: Any, kind: str) -> None:
    """Give the field a scalar or a message type."""
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def _mapped(message: Any, path: str, name: str, kind: str) -> str:
    """Add the entry type of a map field; its path."""
    entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
    entry.options.map_entry = True
    key = entry.field.add(name="key", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL)
    value = entry.field.add(name="value", number=2, label=FieldDescriptorProto.LABEL_OPTIONAL)
    _typed(key, "string")
    _typed(value, kind)
    return f"{path}.{entry.name}"


def _add_field(message: Any, path: str, line: str) -> None:
    """Add one line of the table to a message descriptor."""
    said, kind, number = line.split()
    choice, _, name = said.rpartition("/")
    repeated = kind.endswith("*")
    kind = kind.removesuffix("*")
    if kind.startswith("map<"):
        repeated, kind = True, _mapped(message, path, name, kind[4:-1])
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    _typed(field, kind)
    if choice:
        if not message.oneof_decl:
            message.oneof_decl.add(name=choice)
        field.oneof_index = 0


def _built() -> dict[str, Any]:
    """The message classes by name, of a descriptor pool of their own."""
    file = FileDescriptorProto(name="driftloop/inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for path in sorted(MESSAGES, key=lambda path: path.count(".")):  # the outer before the nested
        outer, _, name = path.rpartition(".")
        made[path] = made[outer].nested_type.add() if outer else file.message_type.add()
        made[path].name = name
        for line in MESSAGES[path]:
            _add_field(made[path], path, line)
    pool = DescriptorPool()
    pool.Add(file)
    return {
        path: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{path}")) for path in MESSAGES
    }


CLASSES: Final[dict[str, Any]] = _built()
"""Message classes by name; a nested one by `Outer.Inner`."""
