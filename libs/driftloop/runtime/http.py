"""The HTTP side of a service: health, readiness and metrics beside its own routes."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from driftloop.runtime import metrics
from driftloop.runtime.worker_line import State
from driftloop.runtime.workers import Silent

Problem = Callable[[], str]
"""Why the service cannot do its work now; an empty text when it can."""
Told = Callable[[], Awaitable[State]]
"""The state of all workers of the service; raises `Silent`."""


def operations(
    service: str, problem: Problem, app: ASGIApp | None = None, told: Told | None = None
) -> Starlette:
    """`/healthz` (the process turns), `/readyz` (it can do its work), `/metrics`, and the service's
    own `app`. With `told`, ready and metrics are those of all workers.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"service": service, "alive": True})

    async def readyz(_: Request) -> Response:
        try:
            reason = problem() if told is None else (await told()).problem
        except Silent as error:
            reason = str(error)
        body = {"service": service, "ready": not reason, "reason": reason}
        return JSONResponse(body, status_code=503 if reason else 200)

    async def measured(_: Request) -> Response:
        try:
            found = generate_latest() if told is None else metrics.text((await told()).families)
        except Silent as error:  # the values of one worker would look as if counters went down
            return PlainTextResponse(f"{error}\n", status_code=503)
        return Response(found, media_type=CONTENT_TYPE_LATEST)

    routes: list[BaseRoute] = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", measured),
    ]
    if app is not None:
        routes.append(Mount("/", app))
    return Starlette(routes=routes)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the runtime decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class HttpServer:
    """One uvicorn server in this event loop; with `reuse_port` several processes share its port."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, reuse_port: bool = False) -> None:
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
