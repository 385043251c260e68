"""Events, measurements and dead letters as rows of their tables."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa

from driftloop.contracts import codec, headers
from driftloop.contracts.batches import EVENT_TIME
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.stats import (
    AnyStat,
    DriftScore,
    EstimatedLoss,
    Evidence,
    JoinStats,
    ServiceStats,
)
from driftloop.telemetry.domain.rows import Rows

KEPT_BYTES: Final = 16_384
"""So much of a dead letter's payload is kept; the whole is in the stream DEAD."""
LAST_MS: Final = 10_413_791_999_999
TIMES: Final = {"data_time", "from_time", "last_time"}
"""Fields of measurements that are event times, in milliseconds since 1970."""

TEXT, WHOLE, REAL, TIME = pa.string(), pa.uint64(), pa.float64(), EVENT_TIME.type
_PLACE: Final = {"id": TEXT, "at": TIME, "seq": WHOLE}
_TABLES: Final[dict[str, pa.Schema]] = {
    "events": {
        **_PLACE,
        "model": TEXT,
        "kind": TEXT,
        "data_time": TIME,
        "correlation": TEXT,
        "causation": TEXT,
        "traceparent": TEXT,
        "source": TEXT,
        "body": TEXT,
    },
    "dead": {
        "service": TEXT,
        "model": TEXT,
        "reason": TEXT,
        "origin": TEXT,
        "at": TIME,
        "content_type": TEXT,
        "payload_bytes": WHOLE,
        "payload": TEXT,
        "seq": WHOLE,
    },
    "stats_service": {
        **_PLACE,
        "service": TEXT,
        "pid": pa.uint32(),
        "url": TEXT,
        "started": TIME,
        "ready": pa.bool_(),
        "reason": TEXT,
        "rss_bytes": WHOLE,
        "cpu_seconds": REAL,
        "counters": pa.map_(TEXT, REAL),
        "version": TEXT,
    },
    "evidence": {
        **_PLACE,
        "model": TEXT,
        "data_time": TIME,
        "run": TEXT,
        "role": TEXT,
        "version": pa.int32(),
        "champion": pa.int32(),
        "rows": WHOLE,
        **dict.fromkeys(("mean", "lower", "upper", "margin", "champion_loss", "shadow_loss"), REAL),
    },
    "drift_scores": {
        **_PLACE,
        "model": TEXT,
        "data_time": TIME,
        "detector": TEXT,
        "mean": REAL,
        "rows": WHOLE,
        "input_seq": WHOLE,
        "evidence": REAL,
    },
    "join_stats": {
        **_PLACE,
        "model": TEXT,
        "data_time": TIME,
        "outcomes_total": WHOLE,
        "waiting_predictions": WHOLE,
        "waiting_labels": WHOLE,
        "scored_seq": WHOLE,
        "labels_seq": WHOLE,
        "rows_seq": WHOLE,
    },
    "estimates": {
        **_PLACE,
        "model": TEXT,
        "data_time": TIME,
        "version": pa.int32(),
        "loss": TEXT,
        **dict.fromkeys(("estimate", "lower", "upper"), REAL),
        "rows": WHOLE,
        "from_time": TIME,
        "void": TEXT,
        "reconciled": WHOLE,
        **dict.fromkeys(("last_estimate", "last_realised"), REAL),
        "last_rows": WHOLE,
        "last_time": TIME,
    },
}
SCHEMAS: Final = {name: pa.schema(list(fields.items())) for name, fields in _TABLES.items()}


def event(said: AnyEvent, head: Mapping[str, str], seq: int) -> Rows:
    """A control event, its fields as JSON in `body`."""
    row = _place(head, seq) | {
        "model": said.model,
        "kind": said.kind,
        "data_time": _millis(said.data_time),
        "correlation": head.get(headers.CORRELATION, ""),
        "causation": head.get(headers.CAUSATION, ""),
        "traceparent": head.get("traceparent", ""),
        "source": head.get("ce-source", "").removeprefix("/driftloop/"),
        "body": msgspec.json.encode(said).decode(),
    }
    return _one("events", row | {"id": head.get("ce-id") or said.event_id()})


def stat(measured: AnyStat, head: Mapping[str, str], seq: int) -> Rows:
    """A measurement, in the table of its kind."""
    fields = {name: getattr(measured, name) for name in measured.__struct_fields__}
    for name in TIMES & fields.keys():
        fields[name] = _millis(fields[name])
    row = fields | _place(head, seq)
    match measured:
        case ServiceStats():
            started, counters = _millis(measured.started * 1_000), list(measured.counters.items())
            row |= {"service": measured.about, "started": started, "counters": counters}
            return _one("stats_service", row)
        case Evidence():
            return _one("evidence", row | {"model": measured.about})
        case DriftScore():
            return _one("drift_scores", row | {"model": measured.about, "input_seq": measured.seq})
        case JoinStats():
            return _one("join_stats", row | {"model": measured.about})
        case EstimatedLoss():
            return _one("estimates", row | {"model": measured.about})


def dead(subject: str, payload: bytes, head: Mapping[str, str], seq: int) -> Rows:
    """A dead letter: who could not use it and why, and the beginning of what it was."""
    _, service, model = subject.split(".")
    row = {
        "service": service,
        "model": model,
        "reason": head.get(headers.REASON, ""),
        "origin": head.get(headers.ORIGIN) or f"{subject} DEAD:{seq}",
        "at": _time(head.get("ce-time", "")),
        "content_type": head.get("content-type", ""),
        "payload_bytes": len(payload),
        "payload": base64.b64encode(payload[:KEPT_BYTES]).decode(),
        "seq": seq,
    }
    return _one("dead", row)


def decode_event(payload: bytes, head: Mapping[str, str], seq: int) -> Rows:
    """The row of an event's payload; raises `Reject`."""
    return event(codec.decode_event(payload), head, seq)


def decode_stat(payload: bytes, head: Mapping[str, str], seq: int) -> Rows:
    """The row of a measurement's payload; raises `Reject`."""
    return stat(codec.decode_stat(payload), head, seq)


def _one(table: str, row: dict[str, Any]) -> Rows:
    schema = SCHEMAS[table]
    try:
        return table, pa.RecordBatch.from_pylist([row], schema=schema)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise Reject(f"{table}: {error}; accepted: numbers that its columns hold") from error


def _place(head: Mapping[str, str], seq: int) -> dict[str, Any]:
    made: dict[str, Any] = {"id": head.get("ce-id", ""), "at": _time(head.get("ce-time", ""))}
    return made | {"seq": seq}


def _time(text: str) -> datetime:
    """A CloudEvents time; the beginning of 1970 where it cannot be read."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _millis(value: float) -> int:
    """Milliseconds since 1970 that a DateTime64 can hold."""
    return int(min(max(value, 0), LAST_MS))
