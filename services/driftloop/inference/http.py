"""The HTTP side: predictions and what answers them."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.contracts.headers import ARROW
from driftloop.inference.predict import JSON, Predictor
from driftloop.runtime.problems import explain, read_body

_ROWS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
                    "required": ["rows"],
                }
            },
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def create_app(predictor: Predictor, body_bytes: int) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(title="Driftloop inference", docs_url=None, redoc_url=None)
    explain(app)

    @app.post("/v1/models/{model}/predict", openapi_extra=_ROWS)
    async def predict(model: str, request: Request) -> Response:
        """Answer rows by feature name with the champion."""
        body = await read_body(request, body_bytes)
        answer = await predictor.answer(model, request.headers.get("content-type", ""), body)
        return Response(answer.body, media_type=answer.content_type)

    @app.get("/v1/models/{model}")
    async def describe(model: str) -> Response:
        """The version that answers, its digest, its features and classes."""
        return Response(msgspec.json.encode(await predictor.describe(model)), media_type=JSON)

    return app
