"""Driftloop's own detectors behind the protocol of the rivals: the monitor of the drift service."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from driftloop.contracts.alarms import Alarm
from driftloop.contracts.batches import matrix_column
from driftloop.drift.domain.monitor import Monitor
from driftloop.local.bench.evidence.rivals import Found
from driftloop.local.bench.evidence.streams import Block, Layout
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.spec import Spec

BUDGET: Final = 1.0
"""False alarms in a million rows of the model."""
VERSION: Final = 1
BEGIN_MS: Final = 1_700_000_000_000
TIME: Final = pa.timestamp("ms", tz="UTC")


def spec_of(layout: Layout, budget: float = BUDGET) -> Spec:
    """A model with these columns, whose whole budget goes to what the rivals watch as well."""
    features = [
        {"name": f"f{at}", "nullable": layout.nullable}
        | ({"type": "category", "categories": [f"c{c}" for c in range(many)]} if many else {})
        for at, many in enumerate(layout.categories)
    ]
    made: dict[str, Any] = {
        "name": "bench",
        "task": "classification",
        "target": {"classes": ["no", "yes"]},
        "features": features,
        "shadow": {"loss": "zero_one"},
        "drift": {
            "alarms_per_million": budget,
            "features": not layout.losses,
            "predictions": False,
            "labels": False,
            "loss": layout.losses,
        },
    }
    return from_dict(made)


class Ours:
    """The monitor, fed with Arrow batches as the log has them."""

    def __init__(self, layout: Layout, budget: float = BUDGET) -> None:
        self._losses = layout.losses
        self._monitor = Monitor(spec_of(layout, budget), VERSION)
        self._starts: list[int] = []
        self._rows = 0

    def update(self, block: Block) -> Iterator[Found]:
        """Alarms of a block, as scored rows or, if it holds losses, as outcomes."""
        self._starts.append(self._rows)
        seq = len(self._starts)
        hear = self._monitor.outcomes if self._losses else self._monitor.scored
        for alarm in hear(self._batch(block), seq):
            yield self._starts[alarm.seq - 1] + alarm.row, self._since(alarm)
        self._rows += len(block)

    def _since(self, alarm: Alarm) -> int:
        if alarm.since_seq:
            return self._starts[alarm.since_seq - 1] + alarm.since_row
        return self._starts[alarm.seq - 1] + alarm.row + 1 - alarm.rows_since

    def _batch(self, block: Block) -> pa.RecordBatch:
        rows = len(block)
        times = pa.array(BEGIN_MS + np.arange(self._rows, self._rows + rows) * 1_000, TIME)
        fixed = _fixed(rows)
        columns = {"event_id": fixed["event_id"], "event_time": times, "key": fixed["key"]}
        columns["features"] = matrix_column(block)
        columns |= {"version": fixed["version"], "answer": fixed["answer"]}
        if self._losses:
            # The answer is always "no", so a loss of 1 is a label of "yes".
            columns |= {"label": pa.array(block[:, 0].astype(np.float64)), "label_time": times}
        return pa.RecordBatch.from_pydict(columns)


@cache
def _fixed(rows: int) -> dict[str, pa.Array]:
    """Columns that are the same in every batch; no detector looks at them."""
    return {
        "event_id": pa.array([f"e{at}" for at in range(rows)], pa.string()),
        "key": pa.nulls(rows, pa.string()),
        "version": pa.array([VERSION] * rows, pa.int32()),
        "answer": matrix_column(np.tile(np.array([0.9, 0.1], dtype=np.float32), (rows, 1))),
    }
