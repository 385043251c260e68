"""Tensors of the Open Inference Protocol V2 into model input."""

import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import InvalidInput
from driftloop.inference.domain.plan import MATRIX, Plan, unknown
from driftloop.inference.domain.prediction import model_input
from driftloop.inference.v2.messages import Tensor
from driftloop.modelspec.spec import Feature

MATRIX_NAMES: Final = (MATRIX, "features")
NUMBERS: Final[dict[str, str]] = {
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES: Final = ("BOOL", *NUMBERS, "BYTES")
MOST_ELEMENTS: Final = 8_000_000
"""Rows times features of one request."""
_LENGTH: Final = struct.Struct("<I")


def to_matrix(plan: Plan, tensors: Sequence[Tensor]) -> Matrix:
    """The model input of a request: one matrix input, or an input for each feature.

    Raises `InvalidInput` that names the input and what is accepted.
    """
    if not tensors:
        raise InvalidInput(f"inputs: there is none; accepted: {MATRIX}, or one for each feature")
    if len(tensors) == 1 and tensors[0].name in MATRIX_NAMES and not plan.has_matrix_name:
        return _matrix(plan, tensors[0])
    return _columns(plan, tensors)


def _matrix(plan: Plan, tensor: Tensor) -> Matrix:
    shape = tensor.shape
    if len(shape) != 2 or shape[1] != plan.width or shape[0] < 1:
        raise InvalidInput(
            f"{tensor.name}.shape: {_shape(tensor)} is not accepted; "
            f"accepted: [rows, {plan.width}], with at least one row"
        )
    if tensor.datatype == "BYTES":
        raise InvalidInput(
            f"{tensor.name}.datatype: BYTES holds no numbers; accepted: "
            f"{', '.join(NUMBERS)}; texts come as an input for each feature"
        )
    values = elements(tensor)
    with np.errstate(over="ignore", invalid="ignore"):
        made: Matrix = np.asarray(values, dtype=np.float32).reshape(shape)
    return made


def elements(tensor: Tensor) -> Any:
    """The values of a tensor in a flat numpy array, or a list of texts for BYTES.

    Raises `InvalidInput` where datatype, shape and data do not go together.
    """
    if tensor.datatype not in DATATYPES:
        raise InvalidInput(unknown(f"{tensor.name}.datatype", tensor.datatype, DATATYPES))
    count = _count(tensor)
    if isinstance(tensor.data, bytes | memoryview | bytearray):
        return _from_bytes(tensor, bytes(tensor.data), count)
    if isinstance(tensor.data, np.ndarray):
        values: Any = tensor.data.ravel()
    else:
        values = _flat(tensor)
    if len(values) != count:
        raise InvalidInput(
            f"{tensor.name}.data: holds {len(values)} values; "
            f"accepted: {count}, as the shape {_shape(tensor)} says"
        )
    return _typed(tensor, values)


def _count(tensor: Tensor) -> int:
    count = 1
    for size in tensor.shape:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidInput(
                f"{tensor.name}.shape: {size!r:.40} is no size; accepted: whole numbers from 0"
            )
        count *= size
    if not tensor.shape or count > MOST_ELEMENTS or len(tensor.shape) > 8:
        raise InvalidInput(
            f"{tensor.name}.shape: {_shape(tensor)} is not accepted; "
            f"accepted: one or two sizes, at most {MOST_ELEMENTS} elements"
        )
    return count


def _shape(tensor: Tensor) -> str:
    """The shape for a text, cut where it is absurd."""
    return f"{list(tensor.shape[:8])!s:.120}"


def _flat(tensor: Tensor) -> list[Any]:
    """Nested lists as one; the protocol lets callers nest the data by the shape."""
    data = tensor.data
    while isinstance(data, list) and data and isinstance(data[0], list):
        if not all(isinstance(part, list) for part in data):
            raise InvalidInput(
                f"{tensor.name}.data: lists and values stand side by side; accepted: one of both"
            )
        data = [value for part in data for value in part]
    return data if isinstance(data, list) else [data]


def _from_bytes(tensor: Tensor, data: bytes, count: int) -> Any:
    if tensor.datatype == "BYTES":
        return _texts(tensor, data, count)
    kind = np.dtype(np.uint8 if tensor.datatype == "BOOL" else NUMBERS[tensor.datatype])
    if len(data) != count * kind.itemsize:
        raise InvalidInput(
            f"{tensor.name}: {len(data)} bytes of binary data; accepted: {count * kind.itemsize}, "
            f"as {tensor.datatype} of shape {_shape(tensor)} says"
        )
    return np.frombuffer(data, dtype=kind)


def _texts(tensor: Tensor, data: bytes, count: int) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(data) and len(found) < count:
        end = at + 4
        size = _LENGTH.unpack_from(data, at)[0] if end <= len(data) else len(data)
        if end + size > len(data):
            break
        found.append(_text(tensor.name, data[end : end + size]))
        at = end + size
    if at != len(data) or len(found) != count:
        raise InvalidInput(
            f"{tensor.name}: {len(data)} bytes of binary data are cut off or too many; accepted: "
            f"{count} texts with their length in 4 bytes (little endian) before each"
        )
    return found


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name}: {value[:40]!r} is not UTF-8; accepted: texts") from error


def _typed(tensor: Tensor, values: Any) -> Any:
    """The values as the datatype says, or `InvalidInput` that names one that is another."""
    if tensor.datatype == "BYTES":
        return [_as_text(tensor.name, value) for value in values]
    try:
        if tensor.datatype == "BOOL":
            if set(map(type, values)) <= {bool, int, np.bool_} and set(values) <= {0, 1}:
                return np.array(values, dtype=np.uint8)
        elif not any(isinstance(value, bool | str) for value in values):
            return _numbers(tensor, values)
    except (TypeError, ValueError, OverflowError):
        pass
    good = _is_boolean if tensor.datatype == "BOOL" else _is_number
    odd = next((value for value in values if not good(value)), values[0])
    raise InvalidInput(
        f"{tensor.name}.data: {odd!r:.60} is not {tensor.datatype}; "
        f"accepted: {'true or false' if good is _is_boolean else 'finite numbers'}"
    )


def _numbers(tensor: Tensor, values: Any) -> NDArray[Any]:
    kind = np.dtype(NUMBERS[tensor.datatype])
    if kind.kind == "f":
        return np.asarray(values, dtype=np.float64)
    given = np.array(values, dtype=np.float64)
    bounds = np.iinfo(kind)
    wrong = (given != np.floor(given)) | (given < bounds.min) | (given > bounds.max)
    if wrong.any():
        odd = values[int(np.flatnonzero(wrong)[0])]
        raise InvalidInput(
            f"{tensor.name}.data: {odd!r:.60} is not {tensor.datatype}; "
            f"accepted: whole numbers from {bounds.min} to {bounds.max}"
        )
    return given


def _is_number(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and abs(value) <= sys.float_info.max


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool | int | np.bool_) and value in (0, 1)


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _text(name, value)
    raise InvalidInput(f"{name}.data: {value!r:.60} is not BYTES; accepted: texts")


def _columns(plan: Plan, tensors: Sequence[Tensor]) -> Matrix:
    """An input for each feature; what the spec lets be missing may be left out."""
    names = [tensor.name for tensor in tensors]
    for name in names:
        if name not in plan.names:
            raise InvalidInput(unknown("inputs", name, (*plan.names, MATRIX)))
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InvalidInput(f"inputs: {twice!r} stands there twice; accepted: different names")
    rows = _rows(tensors)
    values = {tensor.name: elements(tensor) for tensor in tensors}
    matrix = np.full((rows, plan.width), np.nan, dtype=np.float32)
    for at, feature in enumerate(plan.spec.features):
        if feature.name in values:
            coded = _coded(feature, values[feature.name])
            if coded is None:
                return _by_contract(plan, values, rows)
            with np.errstate(over="ignore", invalid="ignore"):
                matrix[:, at] = coded
    return matrix if plan.fits(matrix) else _by_contract(plan, values, rows)


def _rows(tensors: Sequence[Tensor]) -> int:
    rows = tensors[0].shape[0] if tensors[0].shape else 0
    for tensor in tensors:
        if tensor.shape not in ((rows,), (rows, 1)) or rows < 1:
            raise InvalidInput(
                f"{tensor.name}.shape: {_shape(tensor)} is not accepted; accepted: [rows] "
                f"or [rows, 1], at least one row and as many in every input ({rows} in the first)"
            )
    return rows


def _coded(feature: Feature, values: Any) -> Any:
    """Values in the matrix's codes, or None where the contract has to look at each."""
    if feature.type == "category" and isinstance(values, list):
        codes = {category: float(at) for at, category in enumerate(feature.categories)}
        other = -1.0 if feature.unseen == "accept" else float("inf")
        return [codes.get(value, other) for value in values]
    if feature.type == "category" or isinstance(values, list):
        return None
    return values


def _by_contract(plan: Plan, values: dict[str, Any], rows: int) -> Matrix:
    """The same through the data contract, which names every bad value as the caller sent it."""
    columns = []
    for name, given in values.items():
        feature = plan.spec.features[plan.names.index(name)]
        if feature.type == "boolean" and not isinstance(given, list):
            given = [_as_boolean(value) for value in given.tolist()]
        columns.append(pa.array(given))
    if not columns or rows < 1:
        raise InvalidInput("inputs: there is no row; accepted: at least one row")
    return model_input(plan.contract, pa.RecordBatch.from_arrays(columns, list(values)))


def _as_boolean(value: float) -> str:
    return {0: "false", 1: "true"}.get(value, msgspec.json.encode(value).decode())  # type: ignore[call-overload, no-any-return]  # NaN and others are told as they are
