"""The HTTP side of a service: health, readiness and metrics beside its own routes."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from driftloop.contracts.errors import DriftloopError
from driftloop.runtime import metrics
from driftloop.runtime.access import OPEN, Access, Guarded, Rule, everywhere
from driftloop.runtime.access.guard import header_of
from driftloop.runtime.worker_line import State
from driftloop.runtime.workers import Silent

Problem = Callable[[], str]
"""Why the service cannot do its work now; an empty text when it can."""
Told = Callable[[], Awaitable[State]]
"""The state of all workers of the service; raises `Silent`."""
HIDDEN: Final = "told to a token with the scope read for all models"


READ: Final = everywhere("read")
RULES: Final = {"GET /healthz": OPEN, "GET /readyz": OPEN, "GET /metrics": READ}
"""Probes have no tokens; metrics and reasons tell of all models."""


def operations(
    service: str,
    problem: Problem,
    access: Access,
    app: Guarded | None = None,
    told: Told | None = None,
    note: Problem = lambda: "",
) -> Guarded:
    """`/healthz` (the process turns), `/readyz` (it can do its work), `/metrics`, and the service's
    own `app`. With `told`, ready and metrics are those of all workers. `note` is told where there
    is no problem.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"service": service, "alive": True})

    async def readyz(request: Request) -> Response:
        try:
            reason = problem() if told is None else (await told()).problem
        except Silent as error:
            reason = str(error)
        told_of = reason or note()
        shown = told_of if not told_of or may_read(access, request) else HIDDEN
        body = {"service": service, "ready": not reason, "reason": shown}
        return JSONResponse(body, status_code=503 if reason else 200)

    async def measured(_: Request) -> Response:
        return await _measured(told)

    routes: list[BaseRoute] = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", measured),
    ]
    rules: dict[str, Rule] = dict(RULES)
    if app is not None:
        routes.append(Mount("/", app))
        rules["/*"] = OPEN  # it has rules of its own
    return Guarded(Starlette(routes=routes), access, rules)


async def _measured(told: Told | None) -> Response:
    try:
        found = generate_latest() if told is None else metrics.text((await told()).families)
    except Silent as error:  # the values of one worker would look as if counters went down
        return PlainTextResponse(f"{error}\n", status_code=503)
    return Response(found, media_type=CONTENT_TYPE_LATEST)


def may_read(access: Access, request: Request) -> bool:
    """Whether a caller may know why a service is not ready: the reason may name a model."""
    if not access.required:
        return True
    try:
        return access.admit(header_of(request), READ.scopes).models is None
    except DriftloopError:
        return False


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the runtime decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class HttpServer:
    """One uvicorn server in this event loop; with `reuse_port` several processes share its port."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        reuse_port: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
            backlog=1024,
        )
        config.load()
        config.ssl = tls
        self._server = Server(config)
        self._task: asyncio.Task[None] | None = None
        self._address = (host, port)
        self._reuse_port = reuse_port

    async def start(self) -> None:
        """Bind and listen; raises `OSError` naming the address when the port is taken."""
        host, port = self._address
        try:
            made = socket.create_server(
                (host, port),
                family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                reuse_port=self._reuse_port,
            )
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._task = asyncio.create_task(self._server.serve(sockets=[made]))

    async def stop(self) -> None:
        """Refuse new connections, finish what is under way."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
