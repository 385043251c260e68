"""The HTTP door: rows and labels in four formats, plain or packed."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.ingest import bodies, codings
from driftloop.ingest.handlers import Intake, counted
from driftloop.ingest.level import What
from driftloop.ingest.pressure import Room
from driftloop.runtime import traces
from driftloop.runtime.access import Rules, anywhere, document, of_model, right_of
from driftloop.runtime.problems import explain, read_body

RULES: Final[Rules] = {
    "POST /v1/models/{model}/rows": of_model("rows"),
    "POST /v1/models/{model}/labels": of_model("labels"),
    "GET /openapi.json": anywhere("rows", "labels", "read"),
}


def _documented(what: What) -> dict[str, Any]:
    rows = {"type": "array", "items": {"type": "object"}}
    wrapped = {"type": "object", "properties": {what: rows}, "required": [what]}
    text = {"schema": {"type": "string"}}
    content = dict.fromkeys(bodies.ACCEPTED, text)
    content[bodies.JSON] = {"schema": {"anyOf": [rows, wrapped, {"type": "object"}]}}  # type: ignore[dict-item]
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
    }
    coding = {
        "name": "Content-Encoding",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": [*codings.ACCEPTED, "identity"]},
    }
    return {"requestBody": {"required": True, "content": content}, "parameters": [key, coding]}


class _Door:
    """What both routes lead to."""

    def __init__(self, intake: Intake, room: Room, max_body: int) -> None:
        self._intake = intake
        self._room = room
        self._max_body = max_body
        self._unpacker = codings.Unpacker(max_body)

    async def accept(self, what: What, model: str, request: Request) -> Response:
        """Take in what a request brings; 202 once the log has it."""
        caller, name = request.headers.get("traceparent", ""), f"POST /v1/models/{{model}}/{what}"
        with counted(what), traces.entering(name, caller, model=model) as span:
            return await self._take(what, model, request, span.traceparent)

    async def _take(self, what: What, model: str, request: Request, trace: str) -> Response:
        told, right = request.headers.get("content-length", ""), right_of(request)
        coding = codings.coding_of(", ".join(request.headers.getlist("content-encoding")))
        kind = request.headers.get("content-type", "")
        key = request.headers.get("idempotency-key", "")
        size = min(int(told), self._max_body) if told.isdigit() else self._max_body
        with self._room.hold(size):
            body = await read_body(request, self._max_body)
            if coding:
                body = await self._unpacker.unpack(coding, body)
        if right is not None:
            right.check_size(len(body))
        with self._room.hold(len(body)):  # what is held now: more if it was packed
            accepted = await self._intake.accept(what, model, kind, body, key, trace)
        if right is not None:
            right.take(accepted.accepted)
        return Response(msgspec.json.encode(accepted), 202, media_type=bodies.JSON)


def create_app(intake: Intake, room: Room, max_body: int) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(title="Driftloop ingest", docs_url=None, redoc_url=None)
    explain(app)
    door = _Door(intake, room, max_body)

    @app.post("/v1/models/{model}/rows", status_code=202, openapi_extra=_documented("rows"))
    async def rows(model: str, request: Request) -> Response:
        """Take rows in; 202 once the log has them."""
        return await door.accept("rows", model, request)

    @app.post("/v1/models/{model}/labels", status_code=202, openapi_extra=_documented("labels"))
    async def labels(model: str, request: Request) -> Response:
        """Take labels in; 202 once the log has them."""
        return await door.accept("labels", model, request)

    document(app, RULES)
    return app
