"""Answers in our own formats: by name for rows, as lists for a matrix, as columns for Arrow."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from driftloop.contracts import batches
from driftloop.contracts.batches import VERSION, Matrix, matrix_column
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.inference.core.call import Answered, Served
from driftloop.inference.plain.reading import Form

_ENCODE: Final = {
    "application/json": msgspec.json.Encoder().encode,
    MSGPACK: msgspec.msgpack.Encoder().encode,
}


def write(kind: str, form: Form, answered: Answered, top_k: int = 0) -> bytes:
    """The body of an answer."""
    answers, best, spec = answered.answers, answered.best, answered.served.plan.spec
    version = answered.served.champion.manifest.version
    if kind == ARROW:
        return batches.encode(columns(version, answers))
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


def columns(version: int, answers: Matrix) -> pa.RecordBatch:
    """The answers as columns: `answer`, and the `version` that gave it."""
    versions = pa.array(np.full(len(answers), version, dtype=np.int32), VERSION.type)
    return pa.RecordBatch.from_arrays(
        [matrix_column(answers), versions], names=["answer", "version"]
    )
