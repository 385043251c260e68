"""Answers in our own formats: by name for rows, as lists for a matrix, as columns for Arrow."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts import batches
from driftloop.contracts.batches import VERSION, Matrix, matrix_column
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.inference.core.call import Answered, Served
from driftloop.inference.plain.alike import Form

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
    version = served.champion.manifest.version
    return _ENCODE[kind](_one(form, spec.name, version, spec.target.classes, row, best, id))


def write_each(
    form: Form, served: Served, answers: Matrix, best: list[int], ids: Sequence[str]
) -> list[bytes]:
    """What `write_one` gives for each row in MessagePack, made for all of them together.

    All but the id, the numbers and the class is the same for each, so it is encoded once.
    """
    spec = served.plan.spec
    classes = spec.target.classes
    width = answers.shape[1]
    head, middles, row, places = _parts(
        form, spec.name, served.champion.manifest.version, classes, width
    )
    rows = np.empty((len(answers), len(row)), dtype=np.uint8)
    rows[:] = row
    rows[:, places] = answers.astype(">f8").view(np.uint8)
    ends, size = rows.tobytes(), len(row)
    starts = range(0, len(ends), size)
    text = _ENCODE[MSGPACK]
    return [
        b"%b%b%b%b" % (head, text(id), middles[top], ends[at : at + size])
        for id, top, at in zip(ids, best or repeat(0), starts, strict=False)
    ]


def _one(
    form: Form,
    model: str,
    version: int,
    classes: Sequence[str],
    row: list[float],
    best: int,
    id: str,
) -> dict[str, Any]:
    return {
        "model": model,
        "version": version,
        "event_ids": [id],
        "predictions": [classes[best]] if classes else row,
        "probabilities": []
        if not classes
        else [row if form == "matrix" else dict(zip(classes, row, strict=True))],
    }


class _Parts(NamedTuple):
    """An answer in MessagePack: head, event id, the middle of its class, and the end."""

    head: bytes
    middles: list[bytes]
    end: NDArray[np.uint8]
    places: NDArray[np.intp]
    """Where the bytes of the numbers are in the end."""


@lru_cache(maxsize=256)
def _parts(form: Form, model: str, version: int, classes: tuple[str, ...], width: int) -> _Parts:
    encode = _ENCODE[MSGPACK]
    row = [1.0 + at for at in range(width)]
    made = [_one(form, model, version, classes, row, at, "") for at in range(len(classes) or 1)]
    whole = [encode(answer) for answer in made]
    first = {key: made[0][key] for key in ("model", "version")}
    start = len(encode(first)) + len(encode("event_ids")) + 1
    last = {"probabilities": made[0]["probabilities"]}
    end = len(encode(last)) - 1
    if not classes:
        end += len(encode({"predictions": row})) - 1
    middles = [text[start + 1 : len(text) - end] for text in whole]
    other = encode(_one(form, model, version, classes, [-value for value in row], 0, ""))
    tail, differs = whole[0][-end:], _bytes(whole[0][-end:]) != _bytes(other[-end:])
    starts = np.flatnonzero(differs)  # the sign is in the first byte of a number
    places = (starts[:, None] + np.arange(8)).ravel()
    return _Parts(whole[0][:start], middles, _bytes(tail), places)


def _bytes(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


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
