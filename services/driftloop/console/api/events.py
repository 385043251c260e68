"""Routes of control events: the newest from memory, older ones from telemetry, one with its kin."""

from typing import Annotated, Final

import msgspec
from fastapi import FastAPI, Query, Request, Response

from driftloop.console.api.answers import answer, asked_model, gives, models_of, raw
from driftloop.console.api.shapes import EventDetail, Events
from driftloop.console.domain.feed import Feed, Told, Wanted, joined
from driftloop.console.handlers import Console
from driftloop.console.queries import events as past
from driftloop.contracts.errors import Retry
from driftloop.runtime.access import Rules, anywhere

RULES: Final[Rules] = {
    "GET /api/events": anywhere("read"),
    "GET /api/events/{id:path}": anywhere("read"),
}
"""Both show events about the models of their token only."""

Text = Annotated[str, Query(max_length=200)]
Before = Annotated[int, Query(ge=0, description="Only events before this sequence; 0: the newest")]
Limit = Annotated[int, Query(ge=1, le=1_000)]


def add_events(app: FastAPI, console: Console) -> None:
    """Add the routes of `RULES`."""

    @app.get("/api/events", responses=gives(Events))
    async def events(
        request: Request,
        model: Text = "",
        kind: Text = "",
        service: Text = "",
        correlation: Text = "",
        text: Text = "",
        before: Before = 0,
        limit: Limit = 100,
    ) -> Response:
        """Control events, newest first; `before` of the answer is the next page's."""
        wanted = Wanted(
            model=asked_model(request, model),
            kind=kind,
            service=service,
            correlation=correlation,
            text=text,
            models=models_of(request),
        )
        feed = console.desk.board.feed
        found = _found(feed, wanted, before, limit)
        if len(found) == limit:
            return raw(_page(found, found[-1].seq if found[-1].seq > 1 else 0))
        if feed.whole:
            return raw(_page(found, 0))
        return await _older(console, wanted, before, limit, found)

    @app.get("/api/events/{id:path}", responses=gives(EventDetail))
    async def event(id: str, request: Request) -> Response:
        """One event with its cause, its effects, and itself as it was sent."""
        return answer(await past.find(console.past, id, models_of(request)))


def _found(feed: Feed, wanted: Wanted, before: int, limit: int) -> list[Told]:
    found = []
    for told in feed.find(wanted, before):
        found.append(told)
        if len(found) == limit:
            break
    return found


async def _older(
    console: Console, wanted: Wanted, before: int, limit: int, found: list[Told]
) -> Response:
    """What memory has, and then what telemetry has; if that does not answer, the next page asks."""
    first = console.desk.board.feed.first_seq
    rest = past.Wanted(
        models=wanted.models,
        model=wanted.model,
        kind=wanted.kind,
        service=wanted.service,
        correlation=wanted.correlation,
        text=wanted.text,
        before=min(before, first) if before and first else first or before,
        limit=limit - len(found),
    )
    try:
        older = await past.search(console.past, rest)
    except Retry:
        if not found:
            raise
        return raw(_page(found, first))
    if not found:
        return answer(older)
    told = joined(found)[:-1] + b"".join(b"," + msgspec.json.encode(its) for its in older.events)
    return raw(_document(told + b"]", older.before, older.source))


def _page(found: list[Told], before: int) -> bytes:
    return _document(joined(found), before, "memory")


def _document(events: bytes, before: int, source: str) -> bytes:
    return b'{"events":%b,"before":%d,"source":"%b"}' % (events, before, source.encode())
