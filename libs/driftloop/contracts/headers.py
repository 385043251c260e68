"""Headers on every message: CloudEvents 1.0 binary mode, trace, de-duplication, causation."""

import re
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


_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED: Final = frozenset("13579bdf")


def new_traceparent() -> str:
    """A fresh W3C trace context (https://www.w3.org/TR/trace-context/) that nobody records."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def is_traceparent(text: str) -> bool:
    """Whether a text is a trace context of version 00."""
    return _TRACEPARENT.fullmatch(text) is not None


def is_sampled(traceparent: str) -> bool:
    """Whether the spans of a trace context are recorded; it is not looked at any closer."""
    return traceparent[-1:] in _SAMPLED


def headers(
    *,
    kind: str,
    source: str,
    subject: str,
    msg_id: str,
    content_type: str,
    origin: Origin | None = None,
) -> dict[str, str]:
    """Headers of one message; `msg_id` is its CloudEvents id and its de-duplication id.

    The trace context is that of the origin: the span in which the message was made. Without one it
    is fresh.
    """
    origin = origin or Origin()
    traced = is_traceparent(origin.traceparent)
    made = {
        "ce-specversion": "1.0",
        "ce-id": msg_id,
        "ce-type": f"driftloop.{kind}",
        "ce-source": f"/driftloop/{source}",
        "ce-time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ce-subject": subject,
        "content-type": content_type,
        "traceparent": origin.traceparent if traced else new_traceparent(),
        MSG_ID: msg_id,
    }
    if origin.correlation:
        made[CORRELATION] = origin.correlation
    if origin.causation:
        made[CAUSATION] = origin.causation
    return made
