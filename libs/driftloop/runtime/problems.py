"""Errors over HTTP as problem details (RFC 9457), and request bodies with a limit."""

import http
import json
import logging
import math
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    InvalidInput,
    InvalidName,
    Outdated,
    Reject,
    Retry,
    UnknownModel,
)

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"


class NotFound(Reject):
    """Nothing is there under this name or number."""


class TooLarge(Reject):
    """A body over the limit."""


class UnsupportedType(Reject):
    """A `content-type` this path does not read."""


class NotAuthenticated(Reject):
    """No token, or one that is not good."""


class NotPermitted(Reject):
    """A good token without the right to this."""


class TooFast(Retry):
    """A token is over its rate."""


STATUS: Final[tuple[tuple[type[DriftloopError], int], ...]] = (
    (NotAuthenticated, 401),
    (NotPermitted, 403),
    (UnknownModel, 404),
    (NotFound, 404),
    (Outdated, 409),
    (TooLarge, 413),
    (UnsupportedType, 415),
    (InvalidName, 422),
    (InvalidInput, 422),
    (DeadlineExceeded, 504),
    (TooFast, 429),
    (Retry, 503),
    (Reject, 400),
)
"""First match wins; any other error of ours is a 500."""


def status_of(error: DriftloopError) -> int:
    """The HTTP status that says the same as the error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def problem_body(status: int, detail: str) -> bytes:
    """Problem details as JSON; each line of `detail` is also one of `errors`."""
    body = {"title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    lines = detail.splitlines()
    return json.dumps({**body, "errors": lines} if len(lines) > 1 else body).encode()


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """A problem details response; each line of `detail` is also one of `errors`."""
    return Response(problem_body(status, detail), status, headers, MEDIA_TYPE)


def explained(error: Exception, path: str) -> tuple[int, str, dict[str, str]]:
    """Status, detail and headers that say an error raised while `path` was answered."""
    if not isinstance(error, DriftloopError):
        return 500, f"{path[:200]}: internal error ({type(error).__name__})", {}
    return status_of(error), str(error), _headers(error)


def _headers(error: DriftloopError) -> dict[str, str]:
    """When to come back, or which rights are needed (RFC 6750, section 3)."""
    if isinstance(error, Retry):
        return {"retry-after": str(max(1, math.ceil(error.delay)))}
    if isinstance(error, NotAuthenticated):
        return {"www-authenticate": 'Bearer realm="driftloop"'}
    if isinstance(error, NotPermitted):
        return {"www-authenticate": 'Bearer realm="driftloop", error="insufficient_scope"'}
    return {}


def explain(app: Starlette) -> None:
    """Make `app` answer every error with problem details."""

    async def ours(request: Request, error: Exception) -> Response:
        return problem(*explained(error, request.url.path))

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = f"{request.method} {request.url.path[:200]}: {error.detail}"
        return problem(error.status_code, detail, dict(error.headers or {}))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=400)  # the client hung up: nobody reads this

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(DriftloopError, ours)
    app.add_exception_handler(HTTPException, routing)
    app.add_exception_handler(Exception, ours)


async def read_body(request: Request, limit: int) -> bytes:
    """The body; raises `TooLarge` as soon as it is known to have more than `limit` bytes."""
    told = request.headers.get("content-length", "")
    accepted = f"accepted: at most {limit} bytes, split what is larger"
    if told.isdigit() and int(told) > limit:
        raise TooLarge(f"body: {told} bytes are too many; {accepted}")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"body: more than {limit} bytes; {accepted}")
        parts.append(part)
    return b"".join(parts)
