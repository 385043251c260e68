"""The HTTP side of a service: health, readiness and metrics beside its own routes."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

Problem = Callable[[], str]
"""Why the service cannot do its work now; an empty text when it can."""


def operations(service: str, problem: Problem, app: ASGIApp | None = None) -> Starlette:
    """`/healthz` (the process turns), `/readyz` (it can do its work), `/metrics`, and the service's
    own `app`.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"service": service, "alive": True})

    async def readyz(_: Request) -> Response:
        reason = problem()
        body = {"service": service, "ready": not reason, "reason": reason}
        return JSONResponse(body, status_code=503 if reason else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    routes: list[BaseRoute] = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
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
    """One uvicorn server in this event loop."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
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

    async def start(self) -> None:
        """Bind and listen; raises `OSError` naming the address when the port is taken."""
        host, port = self._address
        try:
            made = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._task = asyncio.create_task(self._server.serve(sockets=[made]))

    async def stop(self) -> None:
        """Refuse new connections, finish what is under way."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
