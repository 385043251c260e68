"""The page, its data, and the orders of an operator."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from driftloop.console.handlers import Console
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import check_model_name, new_id
from driftloop.contracts.requests import Command
from driftloop.runtime.problems import explain, problem, read_body

STATIC: Final = Path(__file__).parent / "static"
MOST_BYTES: Final = 16_384
JSON: Final = "application/json"
POLICY: Final = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator wants, why, and who it is."""

    reason: str = ""
    version: int = 0
    by: str = "console"


_ORDER: Final[dict[str, Any]] = {
    "requestBody": {
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "reason": {"type": "string"},
                        "version": {"type": "integer", "description": "for promote"},
                        "by": {"type": "string"},
                    },
                }
            }
        }
    }
}


def create_app(console: Console) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(title="Driftloop console", docs_url=None, redoc_url=None)
    explain(app)
    app.add_exception_handler(RequestValidationError, _unfit)
    _pages(app)
    _data(app, console)

    @app.post("/api/models/{model}/{command}", openapi_extra=_ORDER)
    async def order(
        model: str,
        command: Literal["retrain", "challenge", "promote", "rollback"],
        request: Request,
    ) -> Response:
        """Order a retraining, a challenge, a promotion or a roll-back; the registry decides."""
        if not same_origin(request.headers.get("origin"), request.headers.get("host", "")):
            return problem(403, f"origin: {request.headers['origin']!r}; accepted: this page's own")
        asked = read_order(await read_body(request, MOST_BYTES), command)
        wanted = Command(
            command=command,
            by=asked.by,
            reason=asked.reason,
            version=asked.version,
            request=new_id(),
        )
        return _json(await console.order(check_model_name(model), wanted))

    return app


def _pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


def _data(app: FastAPI, console: Console) -> None:
    @app.get("/api/state")
    async def state() -> Response:
        """Services and models as they are now."""
        return _json(console.view())

    @app.get("/api/events")
    async def events(
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100, model: str = ""
    ) -> Response:
        """The newest control events, newest first."""
        told = [e for e in reversed(console.board.events) if not model or e.model == model]
        return _json(told[:limit])

    @app.get("/api/stream")
    async def stream() -> StreamingResponse:
        """Server-sent events: `state` each second, `said` for each control event as it comes."""
        page = console.hub.open()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            console.hub.messages(page), media_type="text/event-stream", headers=headers
        )


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a request comes from this page, or from no page at all."""
    return origin is None or urlsplit(origin).netloc == host


def read_order(body: bytes, command: str) -> Order:
    """The order in a body; raises `InvalidInput`."""
    accepted = 'accepted: JSON such as {"reason": "...", "version": 3, "by": "..."}'
    try:
        asked = msgspec.json.decode(body or b"{}", type=Order)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidInput(f"body: {error}; {accepted}") from error
    if command in ("promote", "challenge") and asked.version < 1:
        raise InvalidInput(f"version: {asked.version} is not a version; accepted: 1 or above")
    return asked


async def _unfit(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = [f"{e['loc'][-1]}: {e['input']!r:.80}; accepted: {e['msg']}" for e in error.errors()]
    return problem(422, "\n".join(lines))


def _json(value: object) -> Response:
    return Response(
        msgspec.json.encode(value), media_type=JSON, headers={"cache-control": "no-store"}
    )
