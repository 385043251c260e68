"""The gRPC server: address, options, TLS, start and stop."""

from typing import Any, Final

import grpc.aio

from driftloop.inference.grpc_v2.aio import Handlers
from driftloop.inference.grpc_v2.asked import Core
from driftloop.inference.grpc_v2.schema import SERVICE
from driftloop.inference.grpc_v2.tls import Tls

CALLS_A_CONNECTION: Final = 1_024
"""Calls of one connection under way; HTTP/2 makes the client wait with further ones."""

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
        self._options = (
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_concurrent_streams", CALLS_A_CONNECTION),
            ("grpc.so_reuseport", int(reuse_port)),
        )
        self._server: Any = None

    async def start(self) -> None:
        """Bind and listen; raises `OSError` naming the address when that fails."""
        server = grpc.aio.server(options=self._options)
        handlers = Handlers(self._core).by_name()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self.port}"
        try:
            self.port = self._bind(server, address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} (gRPC): {error}") from error
        await server.start()
        self._server = server

    def _bind(self, server: Any, address: str) -> int:
        """The port bound."""
        if self._tls is None:
            return int(server.add_insecure_port(address))
        key, certificate, ca = self._tls
        credentials = grpc.ssl_server_credentials(
            ((key, certificate),), root_certificates=ca, require_client_auth=ca is not None
        )
        return int(server.add_secure_port(address, credentials))

    async def stop(self, grace: float) -> None:
        """Refuse new calls, finish those under way within `grace` seconds, end the others."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)
