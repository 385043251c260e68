"""Control events of long ago: a page of them, and one with its cause and effects."""

from typing import Any, Final, NamedTuple

import msgspec

from driftloop.console.api.shapes import EventDetail, Events
from driftloop.console.hub import Models
from driftloop.console.queries.facts import COLUMNS, among, by_ids, facts_of, select
from driftloop.console.queries.past import Past
from driftloop.contracts.codec import EVENT_TYPES
from driftloop.contracts.facts import Fact
from driftloop.contracts.sql import text
from driftloop.contracts.subjects import event as subject
from driftloop.runtime.problems import NotFound

EFFECTS: Final = 200
"""Effects of one event that are shown."""
SEARCHED: Final = 200_000
"""Sequences of the log that one question for a text looks at; the next page goes on."""


class Wanted(NamedTuple):
    """Which events: empty texts are any; `before` is a sequence (0: from the newest on).

    `models` are those the caller may see (None: all). `text` is looked for in the id and in the
    fields as JSON, whatever its case.
    """

    models: Models = None
    model: str = ""
    kind: str = ""
    service: str = ""
    correlation: str = ""
    text: str = ""
    before: int = 0
    limit: int = 100


async def search(past: Past, wanted: Wanted) -> Events:
    """A page of the events that are wanted, newest first.

    A page may be short, or empty, and not the last: `before` says whether there may be more.
    """
    rows = await past.ask(_page(wanted))
    found = sorted(facts_of(rows), key=lambda told: -told.seq)
    if len(rows) >= wanted.limit:
        before = min(row["seq"] for row in rows)
    elif wanted.text:
        last = wanted.before or await past.bus.log.last_seq("EVENTS") + 1
        before = max(0, last - SEARCHED)
    else:
        before = 0
    return Events(events=found, before=before if before > 1 else 0, source="telemetry")


def _page(wanted: Wanted) -> str:
    """The bodies are read of the events that are shown alone, and of those a text is sought in."""
    its = " AND ".join(_conditions(wanted)) or "true"
    newest = f"SELECT model, id FROM events FINAL WHERE {its} ORDER BY seq DESC LIMIT"
    return (
        f"SELECT {COLUMNS} FROM events FINAL WHERE (model, id) IN ({newest} {wanted.limit})"
        f" ORDER BY seq DESC LIMIT {wanted.limit}"
    )


def _conditions(wanted: Wanted) -> list[str]:
    made = []
    if wanted.model:
        made.append(f"model = {text(wanted.model)}")
    if wanted.models is not None:
        made.append(f"model {among(wanted.models)}")
    for column, value in (
        ("kind", wanted.kind),
        ("correlation", wanted.correlation),
    ):
        if value:
            made.append(f"{column} = {text(value)}")
    if wanted.service:
        kinds = [its.kind for its in EVENT_TYPES if its.owner == wanted.service]
        made.append(f"kind {among(kinds)}")
    if wanted.before:
        made.append(f"seq < {wanted.before}")
    if wanted.text:
        end = wanted.before or "(SELECT max(seq) + 1 FROM events)"
        sought = text(wanted.text)
        made.append(f"seq + {SEARCHED} >= {end}")
        made.append(
            f"(positionCaseInsensitiveUTF8(body, {sought}) > 0"
            f" OR positionCaseInsensitiveUTF8(id, {sought}) > 0)"
        )
    return made


async def find(past: Past, event_id: str, models: Models) -> EventDetail:
    """One event by its id; raises `NotFound` if there is none that the caller may see."""
    model = model_of(event_id)
    seen = models is None or model in models
    found = await by_ids(past, model, [event_id]) if seen else []
    if not found:
        raise NotFound(f"id: there is no event {event_id[:200]!r}; accepted: one of the feed")
    told = found[0]
    causes = await by_ids(past, model, [told.causation] if told.causation else [])
    where = f"causation = {text(event_id)}"
    effects = await select(past, model, where, EFFECTS, lambda its: its.causation == event_id)
    head, body = await _as_sent(past, told)
    return EventDetail(
        fact=told, cause=causes[0] if causes else None, effects=effects, headers=head, body=body
    )


def model_of(event_id: str) -> str:
    """The model an event's id names: it is `kind:model:key`."""
    parts = event_id.split(":", 2)
    return parts[1] if len(parts) == 3 else ""


async def _as_sent(past: Past, told: Fact) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and body as they lie in the log."""
    message = await past.bus.log.at_or_after("EVENTS", subject(told.model, told.kind), told.seq)
    if message is None or message.seq != told.seq:
        return {}, msgspec.to_builtins(told.event)
    return dict(message.headers), msgspec.to_builtins(message.event())
