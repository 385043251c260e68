"""Scored rows and outcomes as inference and feedback publish them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import matrix_column

WIDTH = 3
BEGIN_MS = 1_357_000_000_000


def scored_batch(
    rows: int, start: int = 0, *, shadows: Sequence[int] = (), labelled: bool = False
) -> pa.RecordBatch:
    """`rows` rows from the `start`-th on; the same rows every time."""
    at = np.arange(start, start + rows)
    times = pa.array(BEGIN_MS + at * 60_000, pa.timestamp("ms", tz="UTC"))
    half = matrix_column(np.full((rows, 2), 0.5, dtype=np.float32))
    columns = {
        "event_id": pa.array([f"e{i}" for i in at], pa.string()),
        "event_time": times,
        "key": pa.array(["UA"] * rows, pa.string()),
        "features": matrix_column((at[:, None] + np.arange(WIDTH)).astype(np.float32)),
        "version": pa.array([1] * rows, pa.int32()),
        "answer": half,
        **{f"shadow_v{version}": half for version in shadows},
    }
    if labelled:
        columns |= {"label": pa.array(at % 2, pa.float64()), "label_time": times}
    return pa.RecordBatch.from_pydict(columns)
