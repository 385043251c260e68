"""The route of the stream: server-sent events of all that is live, for one open page."""

import time
from typing import Annotated, Final

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from driftloop.console.api.answers import asked_model, models_of
from driftloop.console.api.live import VERSION
from driftloop.console.api.shapes import Hello
from driftloop.console.domain.times import iso
from driftloop.console.handlers import Console
from driftloop.console.hub import Ask
from driftloop.contracts.tokens import SCOPES
from driftloop.runtime.access import Access, Right, Rules, anywhere, right_of

RULES: Final[Rules] = {"GET /api/stream": anywhere("read")}
"""It shows the models of its token only."""
_TEXT: Final = """Server-sent events, each with its struct as JSON: `hello` (Hello) first, `cards`
(Cards: all at first, then those that changed), `services` (a list of Service), `outages` (a list of
Outage), `said` (a list of Fact: new events in small groups), `missed` (Missed) and `evidence`
(EvidenceNow, of the model that was asked for)"""


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


Kind = Annotated[str, Query(max_length=200, description="Only events of this kind")]
Events = Annotated[bool, Query(description="Whether events are told at all")]


def add_stream(app: FastAPI, console: Console, access: Access) -> None:
    """Add the route of `RULES`."""

    @app.get("/api/stream", response_class=EventStream, responses={200: {"description": _TEXT}})
    async def stream(
        request: Request, model: str = "", kind: Kind = "", events: Events = True
    ) -> EventStream:
        """All that is live, and then what changes, as long as the page stays."""
        right = right_of(request)
        ask = Ask(events=events, model=asked_model(request, model), kind=kind)
        page = console.hub.open(
            models_of(request), lambda: right is None or access.good(right), ask
        )
        console.sender.welcome(page, msgspec.json.encode(_hello(console, right)))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return EventStream(console.hub.messages(page), headers=headers)


def _hello(console: Console, right: Right | None) -> Hello:
    models = None if right is None else right.models
    feed = console.desk.board.feed
    return Hello(
        time=iso(time.time()),
        user="" if right is None else right.token.name,
        scopes=sorted(SCOPES if right is None else right.scopes),
        models=None if models is None else sorted(models),
        version=VERSION,
        event_seq=feed.last_seq if models is None else 0,
        events_kept=len(feed.kept) if models is None else 0,
    )
