"""`POST /v1/sql`: the same questions for those who speak HTTP and JSON."""

from typing import Any

import msgspec
import pyarrow as pa
from fastapi import FastAPI, Request, Response

from driftloop.contracts.errors import InvalidInput, Retry
from driftloop.contracts.requests import SqlQuery
from driftloop.telemetry.handlers import Answers


def http_app(answers: Answers) -> FastAPI:
    """The routes of telemetry."""
    app = FastAPI(title="Driftloop telemetry", docs_url="/docs", redoc_url=None)

    @app.post("/v1/sql")
    async def sql(request: Request) -> Response:
        """Answer `{"sql": ..., "max_rows": ...}` with `{"columns": [...], "rows": [{...}]}`."""
        try:
            query = msgspec.json.decode(await request.body(), type=SqlQuery)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            accepted = '{"sql": "SELECT ...", "max_rows": 1000}'
            return _json({"error": f"body: {error}; accepted: {accepted}"}, 422)
        try:
            answer = await answers.ask(query)
        except InvalidInput as error:
            return _json({"error": str(error)}, 422)
        except Retry as error:
            return _json({"error": str(error)}, 503)
        return _json({"columns": answer.schema.names, "rows": _rows(answer)}, 200)

    return app


def _rows(answer: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer.to_pylist()
    return found


def _json(body: dict[str, Any], status: int) -> Response:
    return Response(
        msgspec.json.encode(body, enc_hook=str), status_code=status, media_type="application/json"
    )
