"""Specs, batches and logs for the services that close the loop."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from driftloop.contracts.batches import LABELS, matrix_column, null_answers
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.spec import Spec

BEGIN_MS = 1_357_000_000_000


def spec(**changes: Any) -> Spec:
    """A classification of two numbers, with small bounds."""
    made: dict[str, Any] = {
        "name": "tide",
        "task": "classification",
        "target": {"classes": ["no", "yes"]},
        "features": [{"name": "a"}, {"name": "b", "nullable": True}],
        "training": {"min_rows": 100, "window_rows": 1_000, "min_rows_since_change": 200},
        "triggers": {"cooldown": "1d", "new_data_rows": 100},
        "shadow": {"min_rows": 50, "max_rows": 400},
        "probation": {"max_rows": 400},
    }
    return from_dict(made | changes)


def scored(
    ids: Sequence[str],
    *,
    features: ArrayLike | None = None,
    version: int | None = None,
    chances: ArrayLike | None = None,
    shadows: Mapping[int, ArrayLike] | None = None,
    times: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """A scored batch; `chances` are those of the second class, NaN is no answer of a shadow."""
    rows = len(ids)
    matrix = np.zeros((rows, 2)) if features is None else np.asarray(features)
    at = [BEGIN_MS] * rows if times is None else list(times)
    columns = {
        "event_id": pa.array(ids, pa.string()),
        "event_time": pa.array(at, pa.timestamp("ms", tz="UTC")),
        "key": pa.nulls(rows, pa.string()),
        "features": matrix_column(matrix.astype(np.float32)),
        "version": pa.array([version] * rows, pa.int32()),
        "answer": null_answers(rows, 2) if chances is None else answers(chances),
    }
    for shadow, its in (shadows or {}).items():
        columns[f"shadow_v{shadow}"] = answers(its)
    return pa.RecordBatch.from_pydict(columns)


def answers(chances: ArrayLike) -> pa.Array:
    """Two probabilities a row from that of the second class; null for NaN."""
    second = np.asarray(chances, dtype=np.float64)
    made = matrix_column(np.column_stack([1 - second, second]).astype(np.float32))
    if not np.isnan(second).any():
        return made
    kept = [None if np.isnan(p) else row for p, row in zip(second, made.to_pylist(), strict=True)]
    return pa.array(kept, made.type)


def outcomes(labels: ArrayLike, **columns: Any) -> pa.RecordBatch:
    """Scored rows with their labels (class positions)."""
    truth = np.asarray(labels, dtype=np.float64)
    batch = scored([f"e{at}" for at in range(len(truth))], **columns)
    batch = batch.append_column("label", pa.array(truth))
    return batch.append_column("label_time", batch.column("event_time"))


def labels(given: Iterable[tuple[str, str | None]]) -> pa.RecordBatch:
    """Labels as they were sent."""
    rows = [{"event_id": e, "label": text, "label_time": None} for e, text in given]
    return pa.RecordBatch.from_pylist(rows, schema=LABELS)


def joined(batch: pa.RecordBatch) -> list[tuple[str, float]]:
    """The pairs in a batch of outcomes."""
    ids: list[str] = batch.column("event_id").to_pylist()
    return list(zip(ids, batch.column("label").to_pylist(), strict=True))
