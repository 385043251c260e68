"""Events, measurements and dead letters become rows that hold all of them."""

import base64
import json
from datetime import UTC, datetime

import pytest

from driftloop.contracts.codec import STAT_TYPES, encode
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import RetrainRequested
from driftloop.contracts.stats import (
    AnyStat,
    DriftScore,
    EstimatedLoss,
    Evidence,
    JoinStats,
    ServiceStats,
)
from driftloop.telemetry.domain import records

HEAD = {
    "ce-id": "an id",
    "ce-time": "2013-01-02T03:04:05.678+00:00",
    "ce-source": "/driftloop/registry",
    "traceparent": "00-a-b-01",
    "dl-correlation": "run-1",
    "dl-causation": "drift.detected:flights:x",
}
AT = datetime(2013, 1, 2, 3, 4, 5, 678_000, UTC)

MEASURED: list[AnyStat] = [
    ServiceStats(
        about="ingest",
        pid=1,
        url="http://127.0.0.1:1",
        started=1.5,
        ready=True,
        reason="",
        rss_bytes=2,
        cpu_seconds=3.0,
        counters={"rows": 4.0},
    ),
    Evidence(
        about="flights",
        run="run-1",
        role="challenger",
        version=2,
        champion=1,
        rows=100,
        mean=0.1,
        lower=0.0,
        upper=0.2,
        margin=0.0,
        champion_loss=0.3,
        shadow_loss=0.2,
        data_time=1_000,
    ),
    DriftScore(about="flights", detector="hour", mean=0.5, rows=9, seq=7, data_time=1_000),
    JoinStats(
        about="flights",
        outcomes_total=1,
        waiting_predictions=2,
        waiting_labels=3,
        scored_seq=4,
        labels_seq=5,
        data_time=1_000,
    ),
    EstimatedLoss(
        about="flights",
        version=2,
        loss="brier",
        estimate=0.2,
        lower=0.1,
        upper=0.3,
        rows=1_000,
        from_time=500,
        data_time=1_000,
        void="the loss moved",
        reconciled=3,
        last_estimate=0.2,
        last_realised=0.25,
        last_rows=990,
        last_time=400,
    ),
]


def test_an_event_keeps_its_chain_and_its_body() -> None:
    said = RetrainRequested(
        model="flights",
        run="run-1",
        trigger="drift",
        reason="hour moved",
        version=2,
        spec_revision=1,
        data_time=1_000,
    )
    table, made = records.decode_event(encode(said), HEAD, 7)
    row = made.to_pylist()[0]
    assert table == "events"
    assert (row["id"], row["kind"], row["at"]) == ("an id", "retrain.requested", AT)
    assert (row["correlation"], row["causation"]) == ("run-1", "drift.detected:flights:x")
    assert (row["source"], row["seq"]) == ("registry", 7)
    assert json.loads(row["body"])["reason"] == "hour moved"


@pytest.mark.parametrize("measured", MEASURED, ids=lambda s: s.kind)
def test_every_measurement_has_a_table_with_all_its_fields(measured: AnyStat) -> None:
    table, made = records.decode_stat(encode(measured), HEAD, 7)
    row = made.to_pylist()[0]
    assert row["at"] == AT
    lost = set(measured.__struct_fields__) - set(row) - {"about"}
    assert (table != "", lost) == (True, set())
    assert measured.about in (row.get("model"), row.get("service"))


def test_every_kind_of_measurement_is_tried_here() -> None:
    assert {type(measured) for measured in MEASURED} == set(STAT_TYPES)


def test_a_payload_that_is_no_event_is_refused() -> None:
    with pytest.raises(Reject, match="accepted: MessagePack of a Driftloop message"):
        records.decode_event(b"\xc1", HEAD, 1)


def test_a_dead_letter_keeps_why_and_the_beginning_of_what_it_was() -> None:
    payload = b"x" * (records.KEPT_BYTES + 1)
    head = HEAD | {"dl-reason": "no Arrow", "dl-origin": "rows.flights.received.0 ROWS:3"}
    row = records.dead("dead.validation.flights", payload, head, 1)[1].to_pylist()[0]
    assert (row["service"], row["model"], row["reason"]) == ("validation", "flights", "no Arrow")
    assert row["payload_bytes"] == len(payload)
    assert base64.b64decode(row["payload"]) == payload[:-1]


def test_a_message_without_headers_is_kept_all_the_same() -> None:
    row = records.dead("dead.validation.flights", b"", {}, 5)[1].to_pylist()[0]
    assert (row["origin"], row["at"].year) == ("dead.validation.flights DEAD:5", 1970)
