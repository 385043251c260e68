"""Answers of another width than the champion's are left out, whatever version they claim."""

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import matrix_column
from driftloop.drift.domain.monitor import Monitor
from tests.support.loop import outcomes, scored, spec


def narrow(batch: pa.RecordBatch) -> pa.RecordBatch:
    at = batch.schema.get_field_index("answer")
    column = matrix_column(np.full((batch.num_rows, 1), 0.5, np.float32))
    return batch.set_column(at, "answer", column)


def test_rows_answered_in_another_width_are_left_out() -> None:
    monitor = Monitor(spec(), 1)
    rows = scored(["a", "b"], version=1, chances=[0.4, 0.6])
    labelled = outcomes([0.0, 1.0], version=1, chances=[0.4, 0.6])
    assert list(monitor.scored(narrow(rows), 1)) == []
    assert list(monitor.outcomes(narrow(labelled), 1)) == []
    assert monitor.snapshot(1, {}) == Monitor(spec(), 1).snapshot(1, {})
    list(monitor.scored(rows, 2))
    assert monitor.snapshot(1, {}) != Monitor(spec(), 1).snapshot(1, {})
