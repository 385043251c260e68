"""The HTTP door: rows and labels in four formats."""

from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.ingest import bodies
from driftloop.ingest.handlers import Intake, What, counted
from driftloop.ingest.pressure import Room
from driftloop.runtime.problems import UnsupportedType, explain, read_body


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
    return {"requestBody": {"required": True, "content": content}, "parameters": [key]}


def create_app(intake: Intake, room: Room, max_body: int) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(title="Driftloop ingest", docs_url=None, redoc_url=None)
    explain(app)

    async def accept(what: What, model: str, request: Request) -> Response:
        told, coded = (
            request.headers.get(name, "") for name in ("content-length", "content-encoding")
        )
        if coded not in ("", "identity"):
            raise UnsupportedType(
                f"content-encoding: {coded[:80]!r} is not read here; accepted: identity"
            )
        size = min(int(told), max_body) if told.isdigit() else max_body
        with room.hold(size):
            body = await read_body(request, max_body)
            kind = request.headers.get("content-type", "")
            key = request.headers.get("idempotency-key", "")
            accepted = await intake.accept(what, model, kind, body, key)
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

    return app
