"""Request bodies of every encoding, and the constant answers of the ceilings."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import encode as arrow_stream
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.local.bench import wire
from driftloop.local.bench.workloads import FEATURES, Encoding

Rows = NDArray[np.float64]
"""Rows (rows, features) of float32 values in all their digits, as they stand in JSON."""

NAMES: Final = tuple(f"f{at}" for at in range(FEATURES))
HEAD_LENGTH: Final = "Inference-Header-Content-Length"
"""Length of the JSON before binary tensors (Open Inference Protocol, binary tensor data)."""


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """Bodies to send in turn, all with the same headers."""

    headers: dict[str, str]
    bodies: list[bytes]


def requests(encoding: Encoding, model: str, groups: Sequence[Rows]) -> Requests:
    """One body for each group of rows; all groups have the same shape."""
    made = [_body(encoding, model, rows) for rows in groups]
    kinds = {"arrow": ARROW, "msgpack": MSGPACK, "v2-binary": "application/octet-stream"}
    headers = {"Content-Type": kinds.get(encoding, "application/json")}
    if encoding == "v2-binary":
        headers[HEAD_LENGTH] = str(len(_binary_head(groups[0])))
    return Requests(headers=headers, bodies=made)


def _body(encoding: Encoding, model: str, rows: Rows) -> bytes:
    matrix = rows.astype(np.float32)
    match encoding:
        case "v2" | "constant":
            tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32"}
            return _json({"inputs": [{**tensor, "data": rows.ravel().tolist()}]})
        case "v2-binary":
            return _binary_head(rows) + matrix.astype("<f4").tobytes()
        case "rows":
            return _json({"inputs": rows.tolist()})
        case "instances":
            return _json({"instances": rows.tolist()})
        case "named":
            return _json({"rows": _named(rows)})
        case "msgpack":
            return msgspec.msgpack.encode({"rows": _named(rows)})
        case "arrow":
            columns = [pa.array(matrix[:, at]) for at in range(matrix.shape[1])]
            return arrow_stream(pa.RecordBatch.from_arrays(columns, names=list(NAMES)))
        case "grpc":
            return wire.infer_request(model, matrix)


def _binary_head(rows: Rows) -> bytes:
    tensor = {
        "name": "X",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * rows.size},
    }
    return _json({"parameters": {"binary_data_output": True}, "inputs": [tensor]})


def _named(rows: Rows) -> list[dict[str, float]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows.tolist()]


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def constant(encoding: Encoding, model: str, answers: NDArray[np.float32]) -> bytes:
    """What a server without any work answers, as long as a real answer.

    For HTTP the whole response, for NATS and gRPC the message alone.
    """
    if encoding == "grpc":
        return wire.infer_response(model, answers)
    if encoding == "msgpack":
        told = {"model": model, "version": 1, "predictions": [], "probabilities": answers.tolist()}
        return msgspec.msgpack.encode(told)
    kind, extra = "application/json", ""
    tensor = {"name": "probabilities", "datatype": "FP32", "shape": list(answers.shape)}
    if encoding == "arrow":
        flat = pa.array(answers.ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, answers.shape[1])
        kind, body = ARROW, arrow_stream(pa.RecordBatch.from_arrays([column], names=["answer"]))
    elif encoding == "v2-binary":
        sized = {**tensor, "parameters": {"binary_data_size": 4 * answers.size}}
        head = _json({"model_name": model, "outputs": [sized]})
        kind, extra = "application/octet-stream", f"{HEAD_LENGTH}: {len(head)}\r\n"
        body = head + answers.astype("<f4").tobytes()
    else:
        full = {**tensor, "data": answers.ravel().astype(float).tolist()}
        body = _json({"model_name": model, "model_version": "1", "outputs": [full]})
    head_lines = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{extra}"
    return f"{head_lines}content-length: {len(body)}\r\n\r\n".encode() + body
