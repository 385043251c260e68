"""The rare routes, and the documents of all routes."""

from typing import Final

import msgspec
from fastapi import FastAPI, Response

from driftloop.inference.documents import PROBLEMS, add_hot_routes
from driftloop.inference.plain.describe import Describe
from driftloop.inference.v2.management import Management
from driftloop.inference.v2.service import V2
from driftloop.runtime.problems import explain

JSON: Final = "application/json"


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
    return app
