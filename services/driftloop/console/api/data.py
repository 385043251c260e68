"""Routes of data quality: quarantine, dead letters, accounting and label delay."""

import time
from typing import Annotated, Final

from fastapi import FastAPI, Path, Query, Request, Response

from driftloop.console.api.answers import answer, asked_model, gives, models_of
from driftloop.console.api.shapes import Data, DeadLetterBody, DeadList, QuarantineList
from driftloop.console.handlers import Console
from driftloop.console.queries import data, dead
from driftloop.contracts.names import check_model_name
from driftloop.runtime.access import Rules, anywhere

RULES: Final[Rules] = {
    "GET /api/data": anywhere("read"),
    "GET /api/data/quarantine": anywhere("read"),
    "GET /api/data/dead": anywhere("read"),
    "GET /api/data/dead/{seq}": anywhere("read"),
}
"""All show rows and letters of the models of their token only."""

MOST_MODELS: Final = 100
Name = Annotated[str, Query(max_length=200)]
Reason = Annotated[str, Query(max_length=500, description="As `/api/data` lists them")]
Models = Annotated[int, Query(ge=1, le=MOST_MODELS)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Rows = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=100_000)]
Seq = Annotated[int, Path(ge=1, lt=1 << 63)]


def add_data(app: FastAPI, console: Console) -> None:
    """Add the routes of `RULES`."""
    past = console.past

    @app.get("/api/data", responses=gives(Data))
    async def quality(
        request: Request, model: Name = "", limit: Models = MOST_MODELS, offset: Offset = 0
    ) -> Response:
        """Quarantine by reason, dead letters, sums and label delay, of models by name."""
        name, mine = asked_model(request, model), models_of(request)
        known = sorted(its for its in console.desk.about if mine is None or its in mine)
        if name:
            await past.bus.spec(name)
        wanted = [name] if name else known[offset : offset + limit]
        console.audits.seen(wanted)
        return answer(await data.data(past, wanted, console.audits.found, mine, time.time()))

    @app.get("/api/data/quarantine", responses=gives(QuarantineList))
    async def quarantine(
        request: Request, model: Name, reason: Reason = "", limit: Rows = 50
    ) -> Response:
        """The newest rows of a model that were set aside, as they came."""
        name = check_model_name(asked_model(request, model))
        return answer(await data.quarantine(past, name, reason, limit))

    @app.get("/api/data/dead", responses=gives(DeadList))
    async def letters(request: Request, model: Name = "", limit: Limit = 100) -> Response:
        """The dead letters, newest first."""
        name = asked_model(request, model)
        return answer(await dead.listed(past, models_of(request), name, limit))

    @app.get("/api/data/dead/{seq}", responses=gives(DeadLetterBody))
    async def letter(seq: Seq, request: Request) -> Response:
        """One dead letter with its headers, and what of it a person can read."""
        return answer(await dead.shown(past, seq, models_of(request)))
