"""Answers of every encoding as a matrix, compared with scikit-learn's probabilities."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.local.bench import wire
from driftloop.local.bench.bodies import HEAD_LENGTH
from driftloop.local.bench.workloads import Encoding

Matrix = NDArray[np.float64]

TOLERANCE: Final = 1e-4
"""Largest difference of a probability; the same bound as the parity gate of the loop."""
CONSTANT: Final = "constant"
_FLOATS: Final = {"FP32": "<f4", "FP64": "<f8"}
_INTEGERS: Final = {"INT64": "<i8", "INT32": "<i4"}
_TYPES: Final = _FLOATS | _INTEGERS


class Unreadable(ValueError):
    """An answer that holds no numbers for the rows asked; the text says what it holds."""


def numbers(encoding: Encoding, headers: Mapping[str, str], body: bytes, rows: int) -> Matrix:
    """The answer's probabilities (rows, classes), or its labels (rows, 1) where it has only these.

    Raises `Unreadable`.
    """
    try:
        found = _numbers(encoding, headers, body, rows)
    except Unreadable:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, pa.ArrowException) as why:
        raise Unreadable(f"answer: {body[:200]!r} cannot be read ({why})") from why
    if len(found) != rows or found.ndim != 2:
        raise Unreadable(f"answer: has shape {found.shape} for {rows} rows")
    return found


def differs(found: Matrix, expected: NDArray[np.float32]) -> str:
    """Why the numbers are not scikit-learn's (rows, 2); empty if they are, within `TOLERANCE`."""
    if found.shape[1] == expected.shape[1]:
        wanted = expected.astype(np.float64)
    elif np.isin(found, (0.0, 1.0)).all():
        wanted = expected.argmax(axis=1, keepdims=True).astype(np.float64)
    else:
        wanted = expected[:, 1:].astype(np.float64)
    if found.shape != wanted.shape:
        return f"shape {found.shape}, expected {wanted.shape}"
    worst = float(np.nan_to_num(np.abs(found - wanted), nan=np.inf).max())
    return f"differs from scikit-learn by {worst:.2g}" if worst > TOLERANCE else ""


def _numbers(encoding: Encoding, headers: Mapping[str, str], body: bytes, rows: int) -> Matrix:
    if encoding == "grpc":
        return _best(wire.infer_outputs(body), rows)
    if encoding == "arrow":
        with pa.ipc.open_stream(body) as reader:
            column = reader.read_all().column("answer").combine_chunks()
        return np.asarray(column.flatten(), dtype=np.float64).reshape(rows, -1)
    if encoding == "msgpack":
        return _plain(msgspec.msgpack.decode(body), rows)
    length = int(headers.get(HEAD_LENGTH.lower(), 0)) or len(body)
    told = msgspec.json.decode(body[:length])
    if encoding in ("v2", "v2-binary"):
        return _best(_v2_outputs(told["outputs"], body[length:]), rows)
    return _plain(told, rows)


def _v2_outputs(outputs: list[dict[str, Any]], raw: bytes) -> list[tuple[str, Matrix]]:
    found, at = [], 0
    for output in outputs:
        kind, size = output["datatype"], output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            part, at = raw[at : at + size], at + size
            values = np.frombuffer(part, _TYPES[kind]) if kind in _TYPES else np.empty(0)
        else:
            values = np.asarray(output["data"] if kind in _TYPES else [], dtype=np.float64)
        found.append((kind, values.astype(np.float64).ravel()))
    return found


def _best(outputs: list[tuple[str, Matrix]], rows: int) -> Matrix:
    """Probabilities if there are any, else labels."""
    for kinds in (_FLOATS, _INTEGERS):
        for kind, values in outputs:
            if kind in kinds and values.size and values.size % rows == 0:
                return values.reshape(rows, -1)
    raise Unreadable(f"answer: has outputs of {[kind for kind, _ in outputs]}; none has numbers")


def _plain(told: dict[str, Any], rows: int) -> Matrix:
    """`probabilities`, else `predictions`; a row is a number, a list, or numbers by class."""
    given = told.get("probabilities") or told.get("predictions") or told.get("outputs")
    if not isinstance(given, list):
        raise Unreadable(f"answer: has the fields {list(told)}; accepted: probabilities")
    plain = [list(row.values()) if isinstance(row, dict) else row for row in given]
    return np.asarray(plain, dtype=np.float64).reshape(rows, -1)
