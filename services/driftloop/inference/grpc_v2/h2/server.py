"""The gRPC server on this package's own HTTP/2: address, TLS, start and stop."""

import asyncio
import socket
import ssl
import tempfile

from driftloop.inference.grpc_v2.asked import Core
from driftloop.inference.grpc_v2.h2.calls import CoreCalls
from driftloop.inference.grpc_v2.h2.connection import Connection
from driftloop.inference.grpc_v2.h2.streams import Limits
from driftloop.inference.grpc_v2.tls import Tls

__all__ = ["GrpcServer", "Tls"]


class GrpcServer:
    """The Open Inference Protocol V2 over gRPC, in the event loop that starts it.

    `max_message_bytes` bounds one request; a larger one is refused as RESOURCE_EXHAUSTED. With
    `reuse_port` other processes may listen on the same port, and the kernel spreads connections.
    """

    def __init__(
        self,
        core: Core,
        host: str,
        port: int,
        *,
        max_message_bytes: int,
        tls: Tls | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.port = port
        """The port listened on; after `start` the real one, where 0 was asked for."""
        self._core = core
        self._host = host
        self._tls = tls
        self._reuse_port = reuse_port
        self._limits = Limits(max_message_bytes)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen; raises `OSError` naming the address when that fails."""
        calls = CoreCalls(self._core, self._limits.message_bytes)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            bound = socket.create_server(
                (self._host, self.port), family=family, reuse_port=self._reuse_port, backlog=1024
            )
        except OSError as error:
            where = f"{self._host}:{self.port}"
            raise OSError(f"cannot listen on {where} (gRPC): {error.strerror}") from error
        self.port = int(bound.getsockname()[1])
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(calls, self._limits, self._connections),
            sock=bound,
            ssl=_context(self._tls) if self._tls is not None else None,
        )

    async def stop(self, grace: float) -> None:
        """Refuse new calls, finish those under way within `grace` seconds, end the others."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._connections):
            connection.leave()
        waits = [connection.lost for connection in self._connections]
        if waits and grace > 0:
            await asyncio.wait(waits, timeout=grace)
        for connection in list(self._connections):
            connection.abort()


def _context(tls: Tls) -> ssl.SSLContext:
    """A context that speaks HTTP/2; asks for a certificate of the caller where there is a `ca`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    if tls.ca is not None:
        context.load_verify_locations(cadata=tls.ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # ssl reads a chain from files only
        file.write(tls.key + b"\n" + tls.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context
