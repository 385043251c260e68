"""The page about control events."""

from collections.abc import Iterator

import msgspec

from driftloop.cli.reference.source import code, fields, summary, table
from driftloop.contracts import alarms, events
from driftloop.contracts.codec import EVENT_TYPES

PARTS: tuple[type[msgspec.Struct], ...] = (
    alarms.Part,
    alarms.Summary,
    alarms.Loss,
    events.Dataset,
    events.Gate,
    events.Window,
    events.Manifest,
)


def page() -> Iterator[str]:
    """`events.md`."""
    yield "# Control events"
    yield (
        "Facts in the past tense, on `events.<model>.<kind>` in the stream `EVENTS`, kept for"
        " good. The payload is MessagePack of the struct with its kind in the field `type`; the"
        " headers are those of [subjects](subjects.md). An event is only ever extended, by fields"
        " with a default."
    )
    yield from ("", "## The kinds", "")
    rows = [(_link(e), e.owner, summary(e)) for e in EVENT_TYPES]
    yield from table(("kind", "owner", "what happened"), rows)
    yield ""
    yield "Every event has `model` (text) and `data_time` (whole number; event time of the newest"
    yield "row its owner had seen, in milliseconds since 1970). Events of a run also have `run`."
    for event in EVENT_TYPES:
        yield from ("", f"## {event.kind}", "", summary(event), "")
        yield from _fields(event, skip=events.Event)
    yield from ("", "## Parts of events")
    for part in PARTS:
        yield from ("", f"### {part.__name__}", "", summary(part), "")
        yield from _fields(part)


def _fields(struct: type[msgspec.Struct], skip: type | None = None) -> list[str]:
    return table(("field", "type"), [(code(f.name), code(f.type)) for f in fields(struct, skip)])


def _link(event: type[events.AnyEvent]) -> str:
    return f"[{event.kind}](#{event.kind.replace('.', '')})"
