"""Listens, and starts and stops everything behind."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from starlette.types import ASGIApp

from driftloop.runtime.http1.asgi import Bridge
from driftloop.runtime.http1.connection import Connection
from driftloop.runtime.http1.cors import Cors
from driftloop.runtime.http1.heads import Heads, Router
from driftloop.runtime.http1.limits import Limits
from driftloop.runtime.http1.pool import Pool

BACKLOG = 2048
HANDSHAKE_SECONDS = 10.0


class Http1Server:
    """One HTTP/1.1 server in this event loop.

    `router` picks a handler for the hot routes; every other request goes to `app`. `cors` is a
    list of origins, or `*`; `compress` allows gzip answers; with `reuse_port` several processes
    listen on the same port.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        router: Router | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
        cors: Sequence[str] = (),
        compress: bool = False,
    ) -> None:
        self.port = port
        """The port listened on: with 0 given, the one found by `start`."""
        self._host = host
        self._limits = limits or Limits()
        self._tls = tls
        self._reuse_port = reuse_port
        self._bridge = Bridge(app)
        self._heads = Heads(self._limits, router, self._bridge, Cors(cors), compress)
        self._pool: Pool | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen; raises `OSError` naming the address when the port is taken."""
        listening = self._listen()
        self.port = listening.getsockname()[1]
        self._pool = pool = Pool(self._limits, self._heads)
        self._server = await pool.loop.create_server(
            lambda: Connection(pool),
            sock=listening,
            ssl=self._tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
        )

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening and close idle connections; answer what is under way, with `connection:
        close`; cut off after `grace` seconds what is left.
        """
        if self._server is None or self._pool is None:
            return
        self._server.close()
        await self._pool.stop(grace)
        await self._bridge.stop(1.0)

    def forget(self) -> None:
        """Ask the router again about every head: its answers have changed."""
        self._heads.forget()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets take it
            if self._reuse_port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind((self._host, self.port))
            made.listen(BACKLOG)
        except OSError as error:
            made.close()
            reason = error.strerror or error
            raise OSError(f"cannot listen on {self._host}:{self.port}: {reason}") from error
        made.setblocking(False)
        return made
