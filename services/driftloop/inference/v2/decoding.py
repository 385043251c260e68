"""A V2 request in JSON, with or without binary tensor data behind it, into a request.

The usual request (one matrix of floats, nothing else asked for) takes a short way: msgspec reads
few numbers, simdjson many, straight into an array. Everything else is read by `request`.
"""

from typing import Any, Final

import msgspec
import numpy as np
import simdjson

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.inference.domain.plan import MATRIX, Plan
from driftloop.inference.v2.messages import InferRequest, Tensor, Wanted
from driftloop.modelspec.contract import MOST_ID
from driftloop.modelspec.rows import lenient_json

LARGE: Final = 4_096
"""Bytes of a body from which simdjson is faster."""


class _FloatTensor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    shape: tuple[int, int]
    datatype: str
    data: list[float]


class _FloatRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: tuple[_FloatTensor]
    id: str = ""


class _InputParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_size: int


class _Parameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_output: bool


class _BinaryTensor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    shape: tuple[int, int]
    datatype: str
    parameters: _InputParameters


class _BinaryRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: tuple[_BinaryTensor]
    parameters: _Parameters
    id: str = ""


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str = ""
    outputs: list[_Output] = []
    parameters: dict[str, Any] = {}


_binary_request = msgspec.json.Decoder(_BinaryRequest).decode
_float_request = msgspec.json.Decoder(_FloatRequest).decode
_request = msgspec.json.Decoder(_Request).decode
_parser: Final = simdjson.Parser()
_ACCEPTED: Final = "an Open Inference Protocol V2 request"
_FLOATS: Final = ("FP32", "FP64")
_KEYS: Final = ({"inputs"}, {"inputs", "id"})
_TENSOR_KEYS: Final = {"name", "shape", "datatype", "data"}


Usual = tuple[list[float] | Matrix, int, str]
"""A matrix of floats (flat, or rows by features) and nothing else asked for; rows, and the id."""


def usual(plan: Plan, body: bytes) -> Usual | None:
    """The request if it is of the usual kind; None for any other, good or bad."""
    if len(body) >= LARGE:
        return _usual_large(plan, body)
    try:
        given = _float_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    tensor = given.inputs[0]
    rows, width = tensor.shape
    if (
        tensor.name != MATRIX
        or width != plan.width
        or tensor.datatype not in _FLOATS
        or rows < 1
        or len(tensor.data) != rows * width
        or len(given.id) > MOST_ID
        or plan.has_matrix_name
    ):
        return None
    return tensor.data, rows, given.id


def _usual_large(plan: Plan, body: bytes) -> Usual | None:
    try:
        found: Any = _parser.parse(body)
        keys = set(found.keys())
        if keys not in _KEYS or len(found) != len(keys) or len(found["inputs"]) != 1:
            return None
        tensor = found["inputs"][0]
        if set(tensor.keys()) != _TENSOR_KEYS or len(tensor) != 4 or tensor["name"] != MATRIX:
            return None
        shape, data = tensor["shape"].as_list(), tensor["data"]
        id = found["id"] if len(found) == 2 else ""
        if (
            tensor["datatype"] not in _FLOATS
            or shape != [shape[0], plan.width]
            or not isinstance(id, str)
            or len(id) > MOST_ID
            or isinstance(data[0], simdjson.Array)
            or type(shape[0]) is not int
            or plan.has_matrix_name
        ):
            return None
        values = np.frombuffer(data.as_buffer(of_type="d"), dtype=np.float64)
        if shape[0] < 1 or not len(data) == len(values) == shape[0] * plan.width:
            return None
        with np.errstate(over="ignore"):
            return values.astype(np.float32).reshape(shape), shape[0], id
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError):
        return None


def usual_binary(plan: Plan, body: bytes, json_bytes: int) -> Usual | None:
    """The same with the matrix as FP32 in binary data, and all outputs wanted so."""
    try:
        given = _binary_request(body[:json_bytes])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    tensor = given.inputs[0]
    rows, width = tensor.shape
    size = len(body) - json_bytes
    if (
        tensor.name != MATRIX
        or width != plan.width
        or tensor.datatype != "FP32"
        or rows < 1
        or not tensor.parameters.binary_data_size == size == rows * width * 4
        or not given.parameters.binary_data_output
        or len(given.id) > MOST_ID
        or plan.has_matrix_name
    ):
        return None
    values = np.frombuffer(body, dtype="<f4", offset=json_bytes)
    if not values.flags.aligned:
        values = values.copy()
    return values.reshape(rows, width), rows, given.id


def request(model: str, version: str, body: bytes, json_bytes: int = 0) -> InferRequest:
    """Any request; `json_bytes` (0: all) of the body are JSON, and binary tensor data follows.

    Raises `Reject` for what is no JSON, `InvalidInput` that names the field for anything else.
    """
    head, data = (body[:json_bytes], memoryview(body)[json_bytes:]) if json_bytes else (body, None)
    given = _parse(head)
    if len(given.id) > MOST_ID:
        raise InvalidInput(
            f"id: {given.id[:40]!r}... has {len(given.id)} characters; accepted: at most {MOST_ID}"
        )
    binary = _flag(given.parameters, "binary_data_output", False)
    return InferRequest(
        model=model,
        version=version,
        id=given.id,
        inputs=_with_data(given.inputs, data),
        outputs=[_wanted(output, binary) for output in given.outputs],
        parameters=given.parameters,
    )


def _parse(head: bytes) -> _Request:
    try:
        return _request(head)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            return _lenient(head)
        raise InvalidInput(f"request: {error}; accepted: {_ACCEPTED}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Reject(f"request: is not JSON ({error}); accepted: {_ACCEPTED}") from error


def _lenient(head: bytes) -> _Request:
    """A number beyond every float is read as infinite, so that the plan names its row."""
    try:
        return msgspec.convert(lenient_json(head), _Request)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"request: {error}; accepted: {_ACCEPTED}") from error
    except (ValueError, RecursionError) as error:
        raise Reject(f"request: is not JSON ({error}); accepted: {_ACCEPTED}") from error


def _with_data(tensors: list[_Tensor], data: memoryview | None) -> list[Tensor]:
    """The tensors, those with `binary_data_size` cut in order out of the binary data."""
    found: list[Tensor] = []
    at, there = 0, len(data) if data is not None else 0
    for tensor in tensors:
        name, values = tensor.name[:80], tensor.data
        size = tensor.parameters.get("binary_data_size")
        if size is not None:
            if (
                isinstance(size, bool)
                or not isinstance(size, int)
                or size < 0
                or values is not None
            ):
                raise InvalidInput(
                    f"{name}.parameters.binary_data_size: {size!r:.40} is not accepted; "
                    "accepted: a number of bytes, and no data beside it"
                )
            if at + size > there or data is None:
                raise InvalidInput(
                    f"{name}: {size!r:.40} bytes of binary data are announced; "
                    f"accepted: at most the {there - at} that are there"
                )
            values = bytes(data[at : at + size])
            at += size
        elif values is None:
            raise InvalidInput(f"{name}.data: is missing; accepted: a list of values")
        elif not isinstance(values, list):
            raise InvalidInput(f"{name}.data: {values!r:.60}; accepted: a list of values")
        found.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), values))
    if at != there:
        raise InvalidInput(
            f"request: {there - at} bytes of binary data belong to no input; "
            "accepted: what the inputs' binary_data_size announce"
        )
    return found


def _wanted(output: _Output, binary: bool) -> Wanted:
    parameters = output.parameters
    top = parameters.get("classification", 0)
    if isinstance(top, bool) or not isinstance(top, int):
        name = f"outputs.{output.name[:80]}.classification"
        raise InvalidInput(f"{name}: {top!r:.40}; accepted: a whole number from 1")
    return Wanted(output.name, _flag(parameters, "binary_data", binary), top)


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    given = parameters.get(name, default)
    if not isinstance(given, bool):
        raise InvalidInput(f"parameters.{name}: {given!r:.40}; accepted: true or false")
    return given
