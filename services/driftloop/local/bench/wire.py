"""The part of protocol buffers that ModelInfer needs, so that no generated code is needed.

Field numbers are those of the Open Inference Protocol V2, package `inference`. Encoding:
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPES: Final = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}


def infer_request(model: str, matrix: NDArray[np.float32]) -> bytes:
    """A ModelInferRequest with one FP32 tensor `X` of `matrix` as raw contents."""
    raw = np.ascontiguousarray(matrix, dtype="<f4").tobytes()
    tensor = _tensor("X", "FP32", matrix.shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, raw)


def infer_response(model: str, answers: NDArray[np.float32]) -> bytes:
    """A ModelInferResponse with `answers` as one FP32 tensor of raw contents."""
    raw = np.ascontiguousarray(answers, dtype="<f4").tobytes()
    tensor = _tensor("probabilities", "FP32", answers.shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(6, raw)


def infer_outputs(message: bytes) -> list[tuple[str, NDArray[np.float64]]]:
    """Datatype and values of each output of a ModelInferResponse; raises `ValueError`."""
    tensors: list[bytes] = []
    raws: list[bytes] = []
    for number, value in _fields(message):
        if number in (5, 6) and isinstance(value, bytes):
            (tensors if number == 5 else raws).append(value)
    if raws and len(raws) != len(tensors):
        raise ValueError(f"{len(tensors)} outputs, but {len(raws)} raw contents")
    return [_output(tensor, raws[at] if raws else None) for at, tensor in enumerate(tensors)]


def _output(tensor: bytes, raw: bytes | None) -> tuple[str, NDArray[np.float64]]:
    kind, contents = "", b""
    for number, value in _fields(tensor):
        if number == 2 and isinstance(value, bytes):
            kind = value.decode()
        if number == 5 and isinstance(value, bytes):
            contents = value
    if raw is None:  # InferTensorContents: fp32_contents = 6, fp64_contents = 7
        found = {n: v for n, v in _fields(contents) if isinstance(v, bytes)}
        raw = found.get(6, found.get(7))
    if raw is None or kind not in _TYPES:
        return kind, np.empty(0)
    return kind, np.frombuffer(raw, dtype=_TYPES[kind]).astype(np.float64)


def _tensor(name: str, kind: str, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(_varint(size) for size in shape)
    return _field(1, name.encode()) + _field(2, kind.encode()) + _field(3, dimensions)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind, value = key & 7, 0
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield key >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        if size == 0 and kind != _BYTES:
            raise ValueError(f"wire type {kind} is not known")
        if at + size > len(message):
            raise ValueError("the message ends within a field")
        yield key >> 3, message[at : at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the message ends within a number")
