"""Route of what a model costs."""

from typing import Annotated, Final

from fastapi import FastAPI, Query, Response

from driftloop.console.api.answers import answer, gives
from driftloop.console.api.shapes import Costs
from driftloop.console.queries import costs as past
from driftloop.console.queries.past import Past
from driftloop.contracts.names import check_model_name
from driftloop.runtime.access import Rules, of_model

RULES: Final[Rules] = {"GET /api/models/{model}/costs": of_model("read")}
LATEST: Final = 4_102_444_800
"""The end of 2099: beyond it a number of seconds is none, but milliseconds."""

Since = Annotated[
    float, Query(ge=0, le=LATEST, description="Seconds since 1970, wall time; 0: all there is")
]


def add_costs(app: FastAPI, asked: Past) -> None:
    """Add the routes of `RULES`."""

    @app.get("/api/models/{model}/costs", responses=gives(Costs))
    async def costs(model: str, since: Since = 0.0) -> Response:
        """CPU seconds, and money if a price is set, of trainings and of a million predictions."""
        return answer(await past.costs(asked, check_model_name(model), since))
