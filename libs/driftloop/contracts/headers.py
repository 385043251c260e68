"""Headers on every message: CloudEvents 1.0 binary mode, trace, de-duplication, causation."""

import secrets
from datetime import UTC, datetime
from typing import Final

import msgspec

ARROW: Final = "application/vnd.apache.arrow.stream"
MSGPACK: Final = "application/msgpack"

MSG_ID: Final = "Nats-Msg-Id"
CORRELATION: Final = "dl-correlation"
CAUSATION: Final = "dl-causation"
INPUT: Final = "dl-input"
ROWS: Final = "dl-rows"
TOTAL: Final = "dl-total"
REASON: Final = "dl-reason"
ORIGIN: Final = "dl-origin"
LOW: Final = "dl-low"
READ: Final = "dl-read"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message comes from: its run, the event it answers (causation) and its trace."""

    correlation: str = ""
    causation: str = ""
    traceparent: str = ""


def new_traceparent() -> str:
    """A fresh W3C trace context (https://www.w3.org/TR/trace-context/), sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_traceparent(parent: str) -> str:
    """A new span in the trace of `parent`; a new trace where there is none."""
    parts = parent.split("-")
    if len(parts) != 4:
        return new_traceparent()
    return f"00-{parts[1]}-{secrets.token_hex(8)}-{parts[3]}"


def headers(
    *,
    kind: str,
    source: str,
    subject: str,
    msg_id: str,
    content_type: str,
    origin: Origin | None = None,
) -> dict[str, str]:
    """Headers of one message; `msg_id` is its CloudEvents id and its de-duplication id."""
    origin = origin or Origin()
    made = {
        "ce-specversion": "1.0",
        "ce-id": msg_id,
        "ce-type": f"driftloop.{kind}",
        "ce-source": f"/driftloop/{source}",
        "ce-time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ce-subject": subject,
        "content-type": content_type,
        "traceparent": child_traceparent(origin.traceparent),
        MSG_ID: msg_id,
    }
    if origin.correlation:
        made[CORRELATION] = origin.correlation
    if origin.causation:
        made[CAUSATION] = origin.causation
    return made
