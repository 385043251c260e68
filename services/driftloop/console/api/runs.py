"""Routes of runs: a list, and one with its stages and what led to what."""

from typing import Annotated, Final

from fastapi import FastAPI, Query, Request, Response

from driftloop.console.api.answers import answer, asked_model, gives, models_of
from driftloop.console.api.shapes import RunDetail, RunList
from driftloop.console.handlers import Console
from driftloop.console.queries import runs
from driftloop.runtime.access import Rules, anywhere, refusal

RULES: Final[Rules] = {
    "GET /api/runs": anywhere("read"),
    "GET /api/runs/{run}": anywhere("read"),
}
"""Both show runs of the models of their token only."""

NONE: Final = "There is no such run, or none came of an alarm, and why"
Name = Annotated[str, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=1_000)]


def add_runs(app: FastAPI, console: Console) -> None:
    """Add the routes of `RULES`."""

    @app.get("/api/runs", responses=gives(RunList))
    async def latest(request: Request, model: Name = "", limit: Limit = 50) -> Response:
        """Runs, those in progress first, then the newest; of one model, or of all."""
        name = asked_model(request, model)
        return answer(await runs.latest(console.past, models_of(request), name, limit))

    @app.get("/api/runs/{run}", responses={**gives(RunDetail), 404: refusal(NONE)})
    async def one(run: str, request: Request) -> Response:
        """One run: why it began, its stages with durations and evidence, its causal chain."""
        return answer(await runs.detail(console.past, run, models_of(request)))
