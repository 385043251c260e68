import fnmatch
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from driftloop.contracts import codec, headers, subjects
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import AnyEvent, Dataset, RunEvent, Window
from driftloop.contracts.headers import Origin
from driftloop.runtime.settings import SERVICES
from tests.support.tiny_models import manifest

_DATASET = Dataset(stream="OUTCOMES", first_seq=1, last_seq=9, rows=90, sha256="0" * 64)


def example(kind: type[AnyEvent]) -> AnyEvent:
    """An event of this type with a value in every field."""
    hints = get_type_hints(kind)
    return kind(**{field: _value(field, hints[field]) for field in kind.__struct_fields__})


def _value(field: str, hint: Any) -> Any:
    if hint is Dataset:
        return _DATASET
    if hint is Window:
        return Window(name="newest", rows=90, first_seq=1, loss=0.5, chosen=True)
    if field == "manifest":
        return manifest(1, b"onnx")
    if get_origin(hint) is tuple:
        return (_value(field, get_args(hint)[0]),) if field == "windows" else ()
    choices = get_args(hint)
    if choices:
        return _value(field, choices[0]) if isinstance(choices[0], type) else choices[0]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint()
    return {str: "flights", int: 7, float: 0.5, bytes: b"signed"}[hint]


KINDS = pytest.mark.parametrize("kind", codec.EVENT_TYPES, ids=lambda kind: kind.kind)


@KINDS
def test_every_event_comes_back_as_it_was(kind: type[AnyEvent]) -> None:
    event = example(kind)
    assert codec.decode_event(codec.encode(event)) == event


@KINDS
def test_every_event_may_have_fields_that_are_not_known_yet(kind: type[AnyEvent]) -> None:
    raw = msgspec.msgpack.decode(codec.encode(example(kind)))
    newer = msgspec.msgpack.encode({**raw, "not_known_yet": 1})
    assert codec.decode_event(newer) == example(kind)


@KINDS
def test_every_event_has_a_stream_and_names_its_owner(kind: type[AnyEvent]) -> None:
    subject = subjects.event("flights", kind.kind)
    assert [
        s.name
        for s in subjects.STREAMS
        if fnmatch.fnmatch(subject, s.subjects[0].replace(">", "*"))
    ] == ["EVENTS"]
    assert kind.owner in SERVICES
    assert kind.__struct_config__.tag == kind.kind


@KINDS
def test_the_same_fact_has_the_same_id(kind: type[AnyEvent]) -> None:
    assert example(kind).event_id() == example(kind).event_id()
    assert example(kind).event_id().startswith(f"{kind.kind}:flights:")


def test_kinds_are_different() -> None:
    kinds = codec.kinds(codec.EVENT_TYPES)
    assert len(set(kinds)) == len(kinds) == len(get_args(AnyEvent))
    assert sum(issubclass(kind, RunEvent) for kind in codec.EVENT_TYPES) > 5


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"{}", b"\x80", b"\x81\xa4type\xa4none"])
def test_what_is_no_event_is_rejected(payload: bytes) -> None:
    for decode in (codec.decode_event, codec.decode_stat, codec.decode_state):
        with pytest.raises(Reject, match="payload: "):
            decode(payload)


def test_headers_are_cloud_events_and_name_cause_and_run() -> None:
    span = f"00-{'a' * 32}-{'b' * 16}-01"
    origin = Origin(correlation="run-1", causation="drift.detected:1", traceparent=span)
    made = headers.headers(
        kind="scored", source="inference", subject="m", msg_id="id", content_type="x", origin=origin
    )
    assert made["ce-id"] == made["Nats-Msg-Id"] == "id"
    assert (made["ce-type"], made["ce-specversion"]) == ("driftloop.scored", "1.0")
    assert (made["dl-correlation"], made["dl-causation"]) == ("run-1", "drift.detected:1")
    assert made["traceparent"] == span
    assert all(value.isascii() for value in made.values())


@pytest.mark.parametrize(
    "text",
    ["", "00-a-b-01", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01\r\nx: y", "x"],
)
def test_what_is_no_trace_context_is_not_passed_on(text: str) -> None:
    origin = Origin(traceparent=text)
    made = headers.headers(
        kind="k", source="s", subject="m", msg_id="id", content_type="x", origin=origin
    )
    assert headers.is_traceparent(made["traceparent"])
    assert made["traceparent"] != text


def test_without_an_origin_a_trace_begins_and_nothing_is_claimed() -> None:
    made = headers.headers(kind="k", source="s", subject="m", msg_id="id", content_type="x")
    assert headers.is_traceparent(made["traceparent"])
    assert not headers.is_sampled(made["traceparent"])
    assert not {"dl-correlation", "dl-causation"} & set(made)
