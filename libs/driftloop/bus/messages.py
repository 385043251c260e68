"""Messages as handlers see them, and as they leave."""

from collections.abc import Mapping

import msgspec
import pyarrow as pa

from driftloop.contracts import batches, codec, headers
from driftloop.contracts.events import AnyEvent, RunEvent
from driftloop.contracts.headers import Origin
from driftloop.contracts.stats import AnyStat
from driftloop.contracts.subjects import event as event_subject
from driftloop.contracts.subjects import model_of, stats


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a stream: its place in the log (`stream`, `seq`), and the attempt's number."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    stream: str
    seq: int
    attempt: int = 1
    time: float = 0.0
    """When the broker stored it (seconds since 1970): the clock of the log."""
    trace: str = ""
    """Trace context of the span in which it is handled; empty: none, and its own is passed on."""

    @property
    def model(self) -> str:
        """The model the message is about."""
        return model_of(self.subject)

    @property
    def position(self) -> str:
        """The place in the log, for example `SCORED:8812`."""
        return f"{self.stream}:{self.seq}"

    @property
    def event_id(self) -> str:
        """The CloudEvents id, or the position of a message that has none."""
        return self.headers.get("ce-id", self.position)

    def batch(self) -> pa.RecordBatch:
        """The Arrow batch in the payload; raises `Reject`."""
        return batches.decode(self.payload)

    def event(self) -> AnyEvent:
        """The control event in the payload; raises `Reject`."""
        return codec.decode_event(self.payload)

    def origin(self) -> Origin:
        """What a message that answers this one says about where it comes from."""
        return Origin(
            correlation=self.headers.get(headers.CORRELATION, ""),
            causation=self.event_id,
            traceparent=self.trace or self.headers.get("traceparent", ""),
        )


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to publish; `expected_last` makes it conditional on the subject's last sequence."""

    subject: str
    payload: bytes
    headers: dict[str, str]


def batch_message(
    subject: str,
    batch: pa.RecordBatch,
    *,
    kind: str,
    source: str,
    msg_id: str,
    origin: Origin | None = None,
    extra: Mapping[str, str] | None = None,
) -> Outgoing:
    """A column batch on its way; `kind` is its CloudEvents type, for example `rows.valid`."""
    made = headers.headers(
        kind=kind,
        source=source,
        subject=model_of(subject),
        msg_id=msg_id,
        content_type=headers.ARROW,
        origin=origin,
    )
    made[headers.ROWS] = str(batch.num_rows)
    if extra:
        made.update(extra)
    return Outgoing(subject=subject, payload=batches.encode(batch), headers=made)


def derived_message(
    subject: str, batch: pa.RecordBatch, *, kind: str, source: str, cause: Delivered
) -> Outgoing:
    """A batch made from one input batch: its id is made from the input's place in the log."""
    return batch_message(
        subject,
        batch,
        kind=kind,
        source=source,
        msg_id=f"{kind}:{cause.position}",
        origin=cause.origin(),
        extra={headers.INPUT: cause.position},
    )


def event_message(
    event: AnyEvent, *, source: str, origin: Origin, extra: Mapping[str, str] | None = None
) -> Outgoing:
    """A control event on its way; events of a run are correlated by the run's id."""
    if isinstance(event, RunEvent):
        origin = msgspec.structs.replace(origin, correlation=event.run)
    made = headers.headers(
        kind=event.kind,
        source=source,
        subject=event.model,
        msg_id=event.event_id(),
        content_type=headers.MSGPACK,
        origin=origin,
    )
    if extra:
        made.update(extra)
    return Outgoing(
        subject=event_subject(event.model, event.kind), payload=codec.encode(event), headers=made
    )


def stat_message(stat: AnyStat, *, source: str, msg_id: str) -> Outgoing:
    """A measurement on its way."""
    made = headers.headers(
        kind=f"stats.{stat.kind}",
        source=source,
        subject=stat.about,
        msg_id=msg_id,
        content_type=headers.MSGPACK,
    )
    return Outgoing(subject=stats(stat.kind, stat.about), payload=codec.encode(stat), headers=made)
