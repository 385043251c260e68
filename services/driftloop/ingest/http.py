"""The HTTP door: rows and labels in four formats, plain or packed."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.ingest import bodies, codings
from driftloop.ingest.handlers import Intake, counted
from driftloop.ingest.level import What
from driftloop.ingest.pressure import Room
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


def create_app(intake: Intake, room: Room, max_body: int) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(title="Driftloop ingest", docs_url=None, redoc_url=None)
    explain(app)
    unpacker = codings.Unpacker(max_body)

    async def accept(what: What, model: str, request: Request) -> Response:
        told, right = request.headers.get("content-length", ""), right_of(request)
        coding = codings.coding_of(", ".join(request.headers.getlist("content-encoding")))
        kind = request.headers.get("content-type", "")
        key = request.headers.get("idempotency-key", "")
        size = min(int(told), max_body) if told.isdigit() else max_body
        with room.hold(size):
            body = await read_body(request, max_body)
            if coding:
                body = await unpacker.unpack(coding, body)
        if right is not None:
            right.check_size(len(body))
        with room.hold(len(body)):  # what is held now: more if it was packed
            accepted = await intake.accept(what, model, kind, body, key)
        if right is not None:
            right.take(accepted.accepted)
        return Response(msgspec.json.encode(accepted), 202, media_type=bodies.JSON)

    @app.post("/v1/models/{model}/rows", status_code=202, openapi_extra=_documented("rows"))
    async def rows(model: str, request: Request) -> Response:
        """Take rows in; 202 once the log has them."""
        with counted("rows"):
            return await accept("rows", model, request)

    @app.post("/v1/models/{model}/labels", status_code=202, openapi_extra=_documented("labels"))
    async def labels(model: str, request: Request) -> Response:
        """Take labels in; 202 once the log has them."""
        with counted("labels"):
            return await accept("labels", model, request)

    document(app, RULES)
    return app
