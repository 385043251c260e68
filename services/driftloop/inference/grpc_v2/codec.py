"""Protobuf bytes to the protocol's messages, and answers back to protobuf bytes."""

import functools
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2.schema import CLASSES
from driftloop.inference.v2.messages import InferRequest, InferResponse, Tensor, Wanted
from driftloop.modelspec.contract import MOST_ID

CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype to the field of `InferTensorContents` that holds its values; FP16 has none."""

_INFER_REQUEST: Final = CLASSES["ModelInferRequest"]
_INT64_MAX: Final = 2**63 - 1
_LENGTH: Final = struct.Struct("<I")
_HEADS: Final = 256
_SMALL: Final = [bytes((value,)) for value in range(128)]
_ID: Final = b"\x1a"  # field 3 of ModelInferResponse, with a length
_RAW: Final = b"\x32"  # field 6 of ModelInferResponse, with a length


def parse(message: str, raw: bytes) -> Any:
    """The bytes as a message of this name.

    Raises `InvalidInput` for bytes that are none.
    """
    try:
        return CLASSES[message].FromString(raw)
    except DecodeError as error:
        raise InvalidInput(
            f"body: its {len(raw)} bytes are not read; accepted: a protobuf inference.{message}"
        ) from error


def to_request(raw: bytes, deadline: float = 0.0) -> InferRequest:
    """A `ModelInferRequest` as the protocol's core reads it; `deadline` goes with it.

    Raises `InvalidInput` for bytes that are no such message, for values that stand in both
    `contents` and `raw_input_contents`, for a wrong number of the latter, and for shared memory.
    """
    try:
        message = _INFER_REQUEST.FromString(raw)
    except DecodeError:
        message = parse("ModelInferRequest", raw)
    if len(message.id) > MOST_ID:
        raise InvalidInput(
            f"id: {message.id[:40]!r}... has {len(message.id)} characters; "
            f"accepted: at most {MOST_ID}"
        )
    buffers = message.raw_input_contents
    inputs = _raw_inputs(message.inputs, buffers) if buffers else _typed_inputs(message.inputs)
    outputs = message.outputs
    parameters = message.parameters
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        inputs=inputs,
        outputs=_wanted(outputs) if outputs else [],
        parameters=_plain(parameters) if parameters else {},
        deadline=deadline,
    )


def _raw_inputs(tensors: Any, buffers: Any) -> list[Tensor]:
    """Inputs with their bytes from `raw_input_contents`, one after the other."""
    if len(buffers) != len(tensors):
        raise InvalidInput(
            f"raw_input_contents: holds {len(buffers)} buffers; "
            f"accepted: one for each of the {len(tensors)} inputs, or none"
        )
    made = []
    for tensor, data in zip(tensors, buffers, strict=True):
        if tensor.HasField("contents"):
            raise InvalidInput(
                f"{tensor.name}.contents: stands beside raw_input_contents; "
                "accepted: one of both, the same for all inputs"
            )
        if tensor.parameters:
            _no_shared_memory(tensor)
        made.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data))
    return made


def _typed_inputs(tensors: Any) -> list[Tensor]:
    """Inputs with their values from `contents`."""
    made = []
    for tensor in tensors:
        if tensor.parameters:
            _no_shared_memory(tensor)
        made.append(
            Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), _typed_values(tensor))
        )
    return made


def _typed_values(tensor: Any) -> list[Any]:
    """The values of the one field of `contents` that goes with the datatype."""
    name, datatype = tensor.name, tensor.datatype
    field = CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(
            f"{name}.datatype: {datatype[:40]!r} has no typed contents; "
            f"accepted: {', '.join(CONTENTS)}, or FP16 as raw_input_contents"
        )
    found = tensor.contents.ListFields()
    if not found and 0 not in tensor.shape:
        raise InvalidInput(
            f"{name}: comes without values; accepted: contents.{field}, or raw_input_contents"
        )
    for descriptor, _ in found:
        if descriptor.name != field:
            raise InvalidInput(
                f"{name}.contents.{descriptor.name}: does not hold {datatype}; accepted: {field}"
            )
    return list(found[0][1]) if found else []


def _no_shared_memory(message: Any) -> None:
    """Refuse an input or output that stands in memory of the caller's machine."""
    if "shared_memory_region" in message.parameters:
        raise InvalidInput(
            f"{message.name}.parameters.shared_memory_region: shared memory is not offered; "
            "accepted: values in the request"
        )


def _wanted(outputs: Any) -> list[Wanted]:
    """The outputs asked for; all of them go as binary data, as gRPC sends them."""
    made = []
    for output in outputs:
        top = 0
        if output.parameters:
            _no_shared_memory(output)
            top = _plain(output.parameters).get("classification", 0)
            if isinstance(top, bool) or not isinstance(top, int) or top < 0:
                raise InvalidInput(
                    f"{output.name}.parameters.classification: {top!r:.60} is no number of "
                    "classes; accepted: int64_param, 0 or more"
                )
        made.append(Wanted(output.name, binary=True, classification=top))
    return made


def _plain(parameters: Any) -> dict[str, Any]:
    """Parameters by name as Python values.

    Raises `InvalidInput` for one without a value.
    """
    made = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidInput(
                f"parameters.{name[:60]}: has no value; accepted: bool_param, int64_param, "
                "uint64_param, double_param or string_param"
            )
        made[name] = getattr(parameter, choice)
    return made


def to_bytes(answer: InferResponse) -> bytes:
    """A `ModelInferResponse` with its values in `raw_output_contents`.

    Written by hand, because that takes half the time of filling a message. The part that says
    which model and which shapes is kept: it is the same for many answers.
    """
    outputs = answer.outputs
    parts = [
        head(answer.model_name, answer.model_version, *[output[:3] for output in outputs]),
    ]
    if answer.id:
        text = answer.id.encode()
        parts += (_ID, varint(len(text)), text)
    if answer.parameters:
        parts.append(_written(answer.parameters))
    for output in outputs:
        data = output.data
        raw = _texts(data) if isinstance(data, list) else data.tobytes()
        size = len(raw)
        parts += (_RAW, varint(size), raw)
    return b"".join(parts)


def to_stream_bytes(answer: bytes) -> bytes:
    """A `ModelStreamInferResponse` around a written `ModelInferResponse`."""
    return b"".join((b"\x12", varint(len(answer)), answer))


def to_stream_error(text: str, request_id: str) -> bytes:
    """A `ModelStreamInferResponse` that says why the request of this id has no answer."""
    message = CLASSES["ModelStreamInferResponse"](error_message=text)
    message.infer_response.id = request_id
    return bytes(message.SerializeToString())


@functools.lru_cache(maxsize=_HEADS)
def head(model: str, version: str, *outputs: tuple[str, str, tuple[int, ...]]) -> bytes:
    """The fields of an answer that name the model, its version and the outputs."""
    message = CLASSES["ModelInferResponse"](model_name=model, model_version=version)
    for name, datatype, shape in outputs:
        message.outputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(message.SerializeToString())


def _written(parameters: dict[str, Any]) -> bytes:
    """Response parameters as fields of an answer; raises `TypeError` for a value of no kind."""
    message = CLASSES["ModelInferResponse"]()
    for name, value in parameters.items():
        parameter = message.parameters[name]
        for kind, write in _CHOICES:
            if isinstance(value, kind):
                write(parameter, value)
                break
        else:
            raise TypeError(f"parameters.{name}: {type(value).__name__} is no parameter's type")
    return bytes(message.SerializeToString())


def _put(field: str) -> Callable[[Any, Any], None]:
    return lambda parameter, value: setattr(parameter, field, value)


def _put_int(parameter: Any, value: int) -> None:
    setattr(parameter, "uint64_param" if value > _INT64_MAX else "int64_param", value)


_CHOICES: Final[tuple[tuple[type, Callable[[Any, Any], None]], ...]] = (
    (bool, _put("bool_param")),  # before int, which it is too
    (int, _put_int),
    (float, _put("double_param")),
    (str, _put("string_param")),
)


def _texts(values: Sequence[Any]) -> bytes:
    """BYTES elements, each after its length in 4 bytes (little endian)."""
    return b"".join(_with_lengths(values))


def _with_lengths(values: Sequence[Any]) -> Iterable[bytes]:
    for value in values:
        text = value.encode() if isinstance(value, str) else value
        yield _LENGTH.pack(len(text))
        yield text


def varint(value: int) -> bytes:
    """A whole number from 0 in base 128, as protobuf writes lengths."""
    if value < 128:
        return _SMALL[value]
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
