"""`POST /v1/sql`: the same questions for those who speak HTTP and JSON."""

from typing import Any, Final

import msgspec
import pyarrow as pa
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect, HTTPConnection

from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.requests import SqlQuery
from driftloop.runtime.access import Rules, document, everywhere
from driftloop.runtime.problems import explained, read_body
from driftloop.telemetry.handlers import Answers

MOST_BYTES: Final = 1 << 20
_READ: Final = everywhere("read")
RULES: Final[Rules] = {
    "POST /v1/sql": _READ,
    "GET /openapi.json": _READ,
    "GET /docs": _READ,
    "GET /docs/oauth2-redirect": _READ,
}
"""A statement may ask about any model, so its token has to be for all."""


def http_app(answers: Answers) -> FastAPI:
    """The routes of telemetry."""
    app = FastAPI(title="Driftloop telemetry", docs_url="/docs", redoc_url=None)

    @app.post("/v1/sql")
    async def sql(request: Request) -> Response:
        """Answer `{"sql": ..., "max_rows": ...}` with `{"columns": [...], "rows": [{...}]}`."""
        body = await read_body(request, MOST_BYTES)
        try:
            query = msgspec.json.decode(body, type=SqlQuery)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            accepted = '{"sql": "SELECT ...", "max_rows": 1000}'
            raise InvalidInput(f"body: {error}; accepted: {accepted}") from error
        answer = await answers.ask(query)
        return _json({"columns": answer.schema.names, "rows": _rows(answer)}, 200)

    @app.exception_handler(DriftloopError)
    async def refused(request: Request, error: DriftloopError) -> Response:
        return tell(error, request)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=400)  # the client hung up: nobody reads this

    document(app, RULES)
    return app


def tell(error: DriftloopError, request: HTTPConnection) -> Response:
    """An error in the form of this door."""
    status, text, headers = explained(error, request.url.path)
    return _json({"error": text}, status, headers)


def _rows(answer: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer.to_pylist()
    return found


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body, enc_hook=str), status, headers, media_type="application/json"
    )
