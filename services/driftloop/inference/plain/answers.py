"""Answers in our own formats: by name for rows, as lists for a matrix, as columns for Arrow."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from driftloop.contracts import batches
from driftloop.contracts.batches import VERSION, Matrix, matrix_column
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.inference.core.call import Answered, Served
from driftloop.inference.plain.reading import Form

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_VERSION: Final = struct.Struct("<i")
_ENCODE: Final = {
    "application/json": msgspec.json.Encoder().encode,
    MSGPACK: msgspec.msgpack.Encoder().encode,
}


def write(kind: str, form: Form, answered: Answered, top_k: int = 0) -> bytes:
    """The body of an answer."""
    answers, best, spec = answered.answers, answered.best, answered.served.plan.spec
    version = answered.served.champion.manifest.version
    if kind == ARROW:
        return stream(version, answers)
    classes = spec.target.classes
    made: dict[str, Any] = {"model": spec.name, "version": version}
    made["event_ids"] = answered.ids
    if not classes:
        made["predictions"] = answers[:, 0].tolist()
        made["probabilities"] = []
        return _ENCODE[kind](made)
    made["predictions"] = [classes[at] for at in best]
    if form == "matrix" and not top_k:
        made["probabilities"] = answers.tolist()
    elif top_k:
        made["probabilities"] = ranked(classes, answers, top_k)
    else:
        made["probabilities"] = [dict(zip(classes, row, strict=True)) for row in answers.tolist()]
    return _ENCODE[kind](made)


def write_one(kind: str, form: Form, served: Served, row: list[float], best: int, id: str) -> bytes:
    """The same for one row and all its classes, but for Arrow."""
    spec = served.plan.spec
    classes = spec.target.classes
    return _ENCODE[kind](
        {
            "model": spec.name,
            "version": served.champion.manifest.version,
            "event_ids": [id],
            "predictions": [classes[best]] if classes else row,
            "probabilities": []
            if not classes
            else [row if form == "matrix" else dict(zip(classes, row, strict=True))],
        }
    )


def ranked(classes: Sequence[str], answers: Matrix, top_k: int) -> list[dict[str, float]]:
    """The best classes of each row and their probabilities, the best first."""
    order = np.argsort(-answers, axis=1, kind="stable")[:, :top_k].tolist()
    rows = answers.tolist()
    return [{classes[at]: row[at] for at in ranks} for row, ranks in zip(rows, order, strict=True)]


def stream(version: int, answers: Matrix) -> bytes:
    """The answers as an Arrow IPC stream of one batch; see `columns`.

    All but the numbers is the same for the same number of rows, so it is made once.
    """
    head, end = _frame(*answers.shape)
    numbers = answers.tobytes()
    versions = _VERSION.pack(version) * len(answers)
    return b"".join((head, numbers, _padding(numbers), versions, _padding(versions), end))


@lru_cache(maxsize=256)
def _frame(rows: int, width: int) -> tuple[bytes, bytes]:
    """What comes before and after the numbers of a stream of so many answers."""
    whole = batches.encode(columns(0, np.zeros((rows, width), dtype=np.float32)))
    messages = list(pa.ipc.MessageReader.open_stream(whole))
    size = messages[1].body.size
    end = len(whole) - whole.rindex(_CONTINUATION)
    return whole[: len(whole) - end - size], whole[len(whole) - end :]


def _padding(numbers: bytes) -> bytes:
    """Buffers of Arrow end at a multiple of 8 bytes."""
    return bytes(-len(numbers) % 8)


def columns(version: int, answers: Matrix) -> pa.RecordBatch:
    """The answers as columns: `answer`, and the `version` that gave it."""
    versions = pa.array(np.full(len(answers), version, dtype=np.int32), VERSION.type)
    return pa.RecordBatch.from_arrays(
        [matrix_column(answers), versions], names=["answer", "version"]
    )
