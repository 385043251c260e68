"""Routes of a model's past: time line, features, slices, versions, and its spec over time."""

from typing import Annotated, Final

from fastapi import FastAPI, Path, Query, Response

from driftloop.console.api.answers import answer, gives
from driftloop.console.api.shapes import (
    Features,
    Slices,
    SpecHistory,
    SpecRevision,
    Timeline,
    VersionDetail,
    VersionDiff,
    Versions,
    Why,
)
from driftloop.console.handlers import Console
from driftloop.console.queries import diff, features, runs, slices, specs, timeline, versions
from driftloop.contracts.names import check_model_name
from driftloop.runtime.access import Rules, of_model

_READ: Final = of_model("read")
RULES: Final[Rules] = {
    "GET /api/models/{model}/timeline": _READ,
    "GET /api/models/{model}/features": _READ,
    "GET /api/models/{model}/slices": _READ,
    "GET /api/models/{model}/versions": _READ,
    "GET /api/models/{model}/versions/{version}": _READ,
    "GET /api/models/{model}/versions/{a}/diff/{b}": _READ,
    "GET /api/models/{model}/spec": _READ,
    "GET /api/models/{model}/spec/history": _READ,
    "GET /api/models/{model}/why": _READ,
}

LAST_MS: Final = 253_402_300_799_999
Millis = Annotated[
    int, Query(ge=0, le=LAST_MS, description="Event time, milliseconds since 1970; 0: from the end")
]
Points = Annotated[int, Query(ge=2, le=2_000, description="Buckets at most")]
Number = Annotated[int, Path(ge=1, lt=1 << 31)]


def add_models(app: FastAPI, console: Console) -> None:
    """Add the routes of `RULES`."""
    _data(app, console)
    _versions(app, console)
    _spec(app, console)


def _data(app: FastAPI, console: Console) -> None:
    past = console.past

    @app.get("/api/models/{model}/timeline", responses=gives(Timeline))
    async def time_line(
        model: str, since: Millis = 0, until: Millis = 0, points: Points = 300
    ) -> Response:
        """Live, frozen and estimated loss over event time, and what happened meanwhile."""
        name = check_model_name(model)
        return answer(await timeline.timeline(past, name, since, until, points))

    @app.get("/api/models/{model}/features", responses=gives(Features))
    async def distributions(model: str) -> Response:
        """Features and answers: the champion's training rows against the newest rows."""
        return answer(await features.features(past, check_model_name(model)))

    @app.get("/api/models/{model}/slices", responses=gives(Slices))
    async def parts(model: str) -> Response:
        """The champion's loss on the slices of the spec."""
        return answer(await slices.slices(past, check_model_name(model)))

    @app.get("/api/models/{model}/why", responses=gives(Why))
    async def why(model: str) -> Response:
        """Why the champion is live: each event from the trigger on."""
        return answer(await runs.explained(past, check_model_name(model)))


def _versions(app: FastAPI, console: Console) -> None:
    past = console.past

    @app.get("/api/models/{model}/versions", responses=gives(Versions))
    async def every(model: str) -> Response:
        """The versions of a model, newest first."""
        return answer(await versions.versions(past, check_model_name(model)))

    @app.get("/api/models/{model}/versions/{version}", responses=gives(VersionDetail))
    async def one(model: str, version: Number) -> Response:
        """One version: its rows, gates, lineage, environment, cost, and how it did."""
        return answer(await versions.version(past, check_model_name(model), version))

    @app.get("/api/models/{model}/versions/{a}/diff/{b}", responses=gives(VersionDiff))
    async def two(model: str, a: Number, b: Number) -> Response:
        """Two versions side by side."""
        return answer(await diff.diff(past, check_model_name(model), a, b))


def _spec(app: FastAPI, console: Console) -> None:
    past = console.past

    @app.get("/api/models/{model}/spec", responses=gives(SpecRevision))
    async def spec(model: str) -> Response:
        """The spec as TOML, and its revision."""
        return answer(await specs.spec(past, check_model_name(model)))

    @app.get("/api/models/{model}/spec/history", responses=gives(SpecHistory))
    async def history(model: str) -> Response:
        """The revisions of the spec, newest first, each with what differs from the one before."""
        return answer(await specs.history(past, check_model_name(model)))
