"""The rare routes, and the documents of all routes."""

from typing import Final

import msgspec
from fastapi import FastAPI, Response
from starlette.requests import HTTPConnection

from driftloop.contracts.errors import DriftloopError
from driftloop.inference.documents import PROBLEMS, add_hot_routes
from driftloop.inference.plain.describe import Describe
from driftloop.inference.v2.calls import error_of
from driftloop.inference.v2.management import Management
from driftloop.inference.v2.service import V2
from driftloop.runtime.access import OPEN, Rule, Rules, anywhere, document, of_model
from driftloop.runtime.access.guard import tell as tell_problem
from driftloop.runtime.problems import explain

JSON: Final = "application/json"
_DESCRIBED: Final = of_model("read", "predict")
_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = "/v2/models/{model}/versions/{version}"


def _of_both(method: str, path: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for a model and for a version of it."""
    return {f"{method} {start}{path}": rule for start in (_MODEL, _VERSION)}


RULES: Final[Rules] = {
    "GET /v1/models/{model}": _DESCRIBED,
    "POST /v1/models/{model}/predict": of_model("predict"),
    "GET /v2": anywhere("read", "predict", "operate"),
    "GET /v2/health/live": OPEN,
    "GET /v2/health/ready": OPEN,
    **_of_both("GET", "", _DESCRIBED),
    **_of_both("GET", "/ready", _DESCRIBED),
    **_of_both("GET", "/config", _DESCRIBED),
    **_of_both("POST", "/infer", of_model("predict")),
    "POST /v2/repository/index": anywhere("read", "operate"),
    "POST /v2/repository/models/{model}/load": of_model("operate"),
    "POST /v2/repository/models/{model}/unload": of_model("operate"),
    "GET /openapi.json": anywhere("read", "predict", "operate"),
}
"""The index shows the models of its token only."""


def create_app(describe: Describe, v2: V2) -> FastAPI:
    """The service's own routes, beside the hot ones that never come here."""
    app = FastAPI(title="Driftloop inference", docs_url=None, redoc_url=None)
    explain(app)

    @app.get("/v1/models/{model}", responses=PROBLEMS)
    async def describe_model(model: str) -> Response:
        """The version that answers, its digest, its features and classes."""
        return Response(msgspec.json.encode(await describe(model)), media_type=JSON)

    Management(v2).add_to(app)
    add_hot_routes(app)
    document(app, RULES)
    return app


def tell(error: DriftloopError, request: HTTPConnection) -> Response:
    """An error in the form of the protocol that was spoken."""
    if not request.url.path.startswith("/v2"):
        return tell_problem(error, request)
    status, body, headers = error_of(error)
    return Response(body, status, headers, JSON)
