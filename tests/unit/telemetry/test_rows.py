"""Column batches become rows of their tables, or are refused with the column that is wrong."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from driftloop.contracts.batches import LABELS, QUARANTINED
from driftloop.contracts.errors import Reject
from driftloop.telemetry.domain import rows
from tests.support.scored import scored_batch


def test_a_row_says_its_model_and_its_place_in_the_log() -> None:
    table, made = rows.scored("flights", 7, scored_batch(2))
    assert table == "scored"
    assert made.column("model").to_pylist() == ["flights", "flights"]
    assert made.column("seq").to_pylist() == [7, 7]


def test_features_stay_out_of_the_table_of_valid_rows() -> None:
    _, made = rows.valid("flights", 1, scored_batch(2))
    assert made.schema.names == ["model", "event_id", "event_time", "key", "seq"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(Reject, match=r"answer: is missing; found: event_id"):
        rows.scored("flights", 1, scored_batch(1).drop_columns(["answer"]))


def test_a_column_that_cannot_be_read_is_named() -> None:
    batch = scored_batch(1).drop_columns(["event_time"])
    batch = batch.append_column("event_time", pa.array(["yesterday"]))
    with pytest.raises(Reject, match=r"event_time: is string; accepted: timestamp\[ms, tz=UTC\]"):
        rows.valid("flights", 1, batch)


def test_an_event_id_that_is_null_is_refused() -> None:
    batch = pa.RecordBatch.from_pylist(
        [{"event_id": None, "label": "1"}],
        schema=LABELS.set(0, pa.field("event_id", pa.string())),
    )
    with pytest.raises(Reject, match=r"event_id: 1 are null"):
        rows.labels("flights", 1, batch)


def test_a_time_that_clickhouse_cannot_hold_is_left_out_of_the_quarantine() -> None:
    times = pa.array([0, 10**17, None], pa.timestamp("ms", tz="UTC"))
    text = pa.array(["a", "b", "c"])
    batch = pa.RecordBatch.from_arrays([text, times, text, text], names=QUARANTINED.names)
    _, made = rows.quarantined("flights", 1, batch)
    assert made.column("event_time").to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC), None, None]


def test_an_empty_batch_makes_no_rows() -> None:
    assert rows.outcomes("flights", 1, scored_batch(0, labelled=True))[1].num_rows == 0


def test_a_row_of_a_request_has_a_latency_and_a_row_of_the_stream_has_none() -> None:
    _, stream = rows.scored("flights", 1, scored_batch(2))
    request = scored_batch(2).append_column("latency", pa.array([0.25, None], pa.float32()))
    _, made = rows.scored("flights", 2, request)
    assert stream.schema == made.schema
    assert stream.column("latency").to_pylist() == [None, None]
    assert made.column("latency").to_pylist() == [0.25, None]


def test_outcomes_leave_the_latency_out() -> None:
    request = scored_batch(1, labelled=True)
    request = request.append_column("latency", pa.array([0.25], pa.float32()))
    assert "latency" not in rows.outcomes("flights", 1, request)[1].schema.names


def test_a_latency_that_is_no_number_is_named() -> None:
    batch = scored_batch(1).append_column("latency", pa.array(["soon"]))
    with pytest.raises(Reject, match=r"latency: is string; accepted: float"):
        rows.scored("flights", 1, batch)
