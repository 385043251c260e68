"""The page, its data, and the orders of an operator."""

from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import HTTPConnection

from driftloop.bus.bus import unknown
from driftloop.console.domain.view import part
from driftloop.console.handlers import Console
from driftloop.console.hub import Models
from driftloop.console.login import HEADERS, LOGIN, STATIC, add_login, foreign
from driftloop.console.login import RULES as LOGIN_RULES
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.names import check_model_name, new_id
from driftloop.contracts.requests import Command
from driftloop.runtime.access import OPEN, Access, Rules, anywhere, document, of_model, right_of
from driftloop.runtime.access.guard import tell as tell_problem
from driftloop.runtime.problems import NotAuthenticated, explain, problem, read_body

MOST_BYTES: Final = 16_384
JSON: Final = "application/json"
_READ: Final = anywhere("read")
RULES: Final[Rules] = {
    **LOGIN_RULES,
    "/static/*": OPEN,
    "GET /favicon.ico": OPEN,
    "GET /": _READ,
    "GET /api/state": _READ,
    "GET /api/events": _READ,
    "GET /api/stream": _READ,
    "POST /api/models/{model}/{command}": of_model("operate"),
    "GET /openapi.json": _READ,
}
"""State, events and stream show the models of their token only."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator wants, why, and who it is."""

    reason: str = ""
    version: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] = 0
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


def create_app(console: Console, access: Access) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(title="Driftloop console", docs_url=None, redoc_url=None)
    explain(app)
    app.add_exception_handler(RequestValidationError, _unfit)
    _pages(app)
    add_login(app, access)
    _data(app, console, access)

    @app.post("/api/models/{model}/{command}", openapi_extra=_ORDER)
    async def order(
        model: str,
        command: Literal["retrain", "challenge", "promote", "rollback"],
        request: Request,
    ) -> Response:
        """Order a retraining, a challenge, a promotion or a roll-back; the registry decides."""
        if refused := foreign(request):
            return refused
        asked, right = read_order(await read_body(request, MOST_BYTES), command), right_of(request)
        wanted = Command(
            command=command,
            by=asked.by if right is None else f"token {right.token.name}",
            reason=asked.reason,
            version=asked.version,
            request=new_id(),
        )
        return _json(await console.order(check_model_name(model), wanted))

    document(app, RULES)
    return app


def tell(error: DriftloopError, request: HTTPConnection) -> Response:
    """An error as problem details; a page that needs a token leads to where one is given."""
    if isinstance(error, NotAuthenticated) and request.url.path == "/":
        return RedirectResponse(LOGIN, 303)
    return tell_problem(error, request)


def _pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


def _data(app: FastAPI, console: Console, access: Access) -> None:
    @app.get("/api/state")
    async def state(request: Request) -> Response:
        """Services and models as they are now."""
        return _json(part(console.view(), models_of(request)))

    @app.get("/api/events")
    async def events(
        request: Request, limit: Annotated[int, Query(ge=1, le=1_000)] = 100, model: str = ""
    ) -> Response:
        """The newest control events, newest first."""
        models = models_of(request)
        if model and models is not None and model not in models:
            raise unknown(check_model_name(model))
        told = [
            event
            for event in reversed(console.board.events)
            if (not model or event.model == model) and (models is None or event.model in models)
        ]
        return _json(told[:limit])

    @app.get("/api/stream")
    async def stream(request: Request) -> StreamingResponse:
        """Server-sent events: `state` each second, `said` for each control event as it comes."""
        right = right_of(request)
        page = console.hub.open(models_of(request), lambda: right is None or access.good(right))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            console.hub.messages(page), media_type="text/event-stream", headers=headers
        )


def models_of(request: Request) -> Models:
    """The models a caller may know of."""
    right = right_of(request)
    return None if right is None else right.models


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
