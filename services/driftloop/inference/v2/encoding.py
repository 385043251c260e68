"""A V2 response as JSON, with the outputs asked for as binary data behind it."""

import struct
from typing import Any, Final

import msgspec

from driftloop.inference.v2.messages import InferRequest, InferResponse, Tensor

_encode = msgspec.json.Encoder().encode
_LENGTH: Final = struct.Struct("<I")


def encoded(asked: InferRequest, response: InferResponse) -> tuple[bytes, bytes | None]:
    """The JSON of a response, and the binary data behind it; None if none was asked for."""
    all_binary = bool(asked.parameters.get("binary_data_output", False))
    binary = {wanted.name for wanted in asked.outputs if wanted.binary}
    parts: list[bytes] = []
    outputs = []
    for tensor in response.outputs:
        if tensor.name in binary or (all_binary and not asked.outputs):
            data = raw(tensor)
            parts.append(data)
            outputs.append({**_about(tensor), "parameters": {"binary_data_size": len(data)}})
        else:
            outputs.append({**_about(tensor), "data": _values(tensor)})
    made: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "outputs": outputs,
    }
    if response.parameters:
        made["parameters"] = response.parameters
    return _encode(made), b"".join(parts) if parts or binary or all_binary else None


def raw(tensor: Tensor) -> bytes:
    """The values of an output in the protocol's binary form."""
    if tensor.datatype != "BYTES":
        data: bytes = tensor.data.tobytes()
        return data
    return b"".join([_LENGTH.pack(len(text)) + text for text in tensor.data])


def _about(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _values(tensor: Tensor) -> list[Any]:
    if tensor.datatype == "BYTES":
        return [text.decode() for text in tensor.data]
    values: list[Any] = tensor.data.ravel().tolist()
    return values
