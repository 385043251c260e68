"""Key and certificate of the gRPC server."""

from typing import NamedTuple


class Tls(NamedTuple):
    """Key and certificate chain of the server as PEM; with `ca` callers must show a certificate."""

    key: bytes
    certificate: bytes
    ca: bytes | None = None
