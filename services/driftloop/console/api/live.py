"""Routes of what is live: the whole state, the overview, one model, the services."""

import time
from importlib.metadata import version
from typing import Annotated, Final

from fastapi import FastAPI, Query, Request, Response

from driftloop.console.api.answers import answer, gives, models_of
from driftloop.console.api.shapes import Model, Overview, Service, State
from driftloop.console.domain.desk import told
from driftloop.console.handlers import Console
from driftloop.contracts.names import check_model_name
from driftloop.runtime.access import Rules, anywhere, of_model

VERSION: Final = version("driftloop")
MOST_CARDS: Final = 5_000
RULES: Final[Rules] = {
    "GET /api/state": anywhere("read"),
    "GET /api/overview": anywhere("read"),
    "GET /api/models/{model}": of_model("read"),
    "GET /api/services": anywhere("read"),
}
"""State and overview show the models of their token only."""

Search = Annotated[str, Query(max_length=200, description="Text in name, task, trouble or run")]
Limit = Annotated[int, Query(ge=1, le=MOST_CARDS)]
Offset = Annotated[int, Query(ge=0, le=100_000)]


def add_live(app: FastAPI, console: Console) -> None:
    """Add the routes of `RULES`."""

    @app.get("/api/state", responses=gives(State))
    async def state(request: Request) -> Response:
        """All that is live in one document: outages, services, cards."""
        console.refresh()
        return answer(console.desk.whole(models_of(request), VERSION, time.time()))

    @app.get("/api/overview", responses=gives(Overview))
    async def overview(
        request: Request, search: Search = "", limit: Limit = 100, offset: Offset = 0
    ) -> Response:
        """Cards of models, the worst first, then by name."""
        console.refresh()
        models = models_of(request)
        return answer(console.desk.overview(search, limit, offset, models, time.time()))

    @app.get("/api/models/{model}", responses=gives(Model))
    async def model(model: str) -> Response:
        """One model as it is now: its loop, versions, shadows, labels, detectors, runs."""
        return answer(await console.model(check_model_name(model)))

    @app.get("/api/services", responses=gives(list[Service]))
    async def services(request: Request) -> Response:
        """Services by their last words, with the lag of each of their consumers."""
        whole = models_of(request) is None
        return answer(told(console.desk.services(time.time()), whole))
