"""The gRPC server: address, TLS, start and stop."""

import asyncio
import socket
from typing import Final

from driftloop.inference.core.engine import Engine
from driftloop.inference.grpc_v2.asked import Core
from driftloop.inference.grpc_v2.h2.calls import CoreCalls
from driftloop.inference.grpc_v2.h2.connection import Connection
from driftloop.inference.grpc_v2.h2.limits import Limits
from driftloop.inference.grpc_v2.h2.pool import Pool
from driftloop.inference.grpc_v2.tls import Tls, context
from driftloop.inference.grpc_v2.usual import Usual
from driftloop.runtime.access import Access

__all__ = ["GrpcServer", "Limits", "Tls"]

BACKLOG: Final = 1_024
HANDSHAKE_SECONDS: Final = 10.0


class GrpcServer:
    """The Open Inference Protocol V2 over gRPC, in the event loop that starts it.

    `max_message_bytes` bounds one request; a larger one is refused as RESOURCE_EXHAUSTED. All
    bounds can be given as `limits`. With `engine` the usual requests go straight to their lane.
    `access` says who may call; None is everybody. With `reuse_port` other processes may listen on
    the same port, and the kernel spreads connections.
    """

    def __init__(
        self,
        core: Core,
        host: str,
        port: int,
        *,
        max_message_bytes: int = 8 << 20,
        limits: Limits | None = None,
        engine: Engine | None = None,
        access: Access | None = None,
        tls: Tls | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.port = port
        """The port listened on; after `start` the real one, where 0 was asked for."""
        self._core = core
        self._host = host
        self._tls = tls
        self._reuse_port = reuse_port
        self._limits = limits or Limits(max_message_bytes)
        self._usual = Usual(engine, access) if engine is not None else None
        self._access = access
        self._pool: Pool | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen; raises `OSError` naming the address when that fails."""
        calls = CoreCalls(self._core, self._limits.message_bytes, self._usual, self._access)
        self._pool = pool = Pool(calls, self._limits)
        secured = context(self._tls) if self._tls is not None else None
        bound = self._bind()
        self.port = int(bound.getsockname()[1])
        self._server = await pool.loop.create_server(
            lambda: Connection(pool),
            sock=bound,
            ssl=secured,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if secured is not None else None,
        )

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server(
                (self._host, self.port), family=family, reuse_port=self._reuse_port, backlog=BACKLOG
            )
        except OSError as error:
            where = f"{self._host}:{self.port}"
            reason = error.strerror or error
            raise OSError(f"cannot listen on {where} (gRPC): {reason}") from error

    async def stop(self, grace: float) -> None:
        """Refuse new calls, finish those under way within `grace` seconds, end the others."""
        server, self._server = self._server, None
        if server is None or self._pool is None:
            return
        server.close()
        await self._pool.stop(grace)
