"""The console's app: its pages, the login, and the operator API."""

from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import HTTPConnection

from driftloop.console.api import actions, costs, data, events, live, models, runs, stream
from driftloop.console.api.answers import describe
from driftloop.console.handlers import Console
from driftloop.console.login import HEADERS, LOGIN, STATIC, add_login
from driftloop.console.login import RULES as LOGIN_RULES
from driftloop.console.orders import Orders
from driftloop.contracts.errors import DriftloopError
from driftloop.runtime.access import OPEN, Access, Rules, anywhere, document
from driftloop.runtime.access.guard import tell as tell_problem
from driftloop.runtime.problems import NotAuthenticated, explain, problem

RULES: Final[Rules] = {
    **LOGIN_RULES,
    "/static/*": OPEN,
    "GET /favicon.ico": OPEN,
    "GET /": anywhere("read"),
    "GET /openapi.json": anywhere("read"),
    **live.RULES,
    **events.RULES,
    **stream.RULES,
    **models.RULES,
    **runs.RULES,
    **costs.RULES,
    **data.RULES,
    **actions.RULES,
}


def create_app(console: Console, orders: Orders, access: Access) -> FastAPI:
    """The service's own routes. What is more special comes first: the first that fits answers."""
    app = FastAPI(title="Driftloop console", docs_url=None, redoc_url=None)
    explain(app)
    app.add_exception_handler(RequestValidationError, _unfit)
    _pages(app)
    add_login(app, access)
    live.add_live(app, console)
    events.add_events(app, console)
    stream.add_stream(app, console, access)
    models.add_models(app, console)
    runs.add_runs(app, console)
    costs.add_costs(app, console.past)
    data.add_data(app, console)
    actions.add_actions(app, orders)
    describe(app)
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


async def _unfit(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = [f"{e['loc'][-1]}: {e['input']!r:.80}; accepted: {e['msg']}" for e in error.errors()]
    return problem(422, "\n".join(lines))
