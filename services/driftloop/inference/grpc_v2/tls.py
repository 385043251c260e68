"""Key and certificate of the gRPC server, and TLS with them."""

import ssl
import tempfile
from typing import NamedTuple


class Tls(NamedTuple):
    """Key and certificate chain of the server as PEM; with `ca` callers must show a certificate."""

    key: bytes
    certificate: bytes
    ca: bytes | None = None


def context(tls: Tls) -> ssl.SSLContext:
    """A context for HTTP/2 (TLS 1.2 or newer, RFC 9113, section 9.2).

    Raises `ssl.SSLError` where key and certificate are no pair.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    made.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; the others may not carry HTTP/2
    made.set_alpn_protocols(["h2"])
    if tls.ca is not None:
        made.load_verify_locations(cadata=tls.ca.decode())
        made.verify_mode = ssl.CERT_REQUIRED
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # ssl reads a chain from files only
        file.write(tls.key + b"\n" + tls.certificate)
        file.flush()
        made.load_cert_chain(file.name)
    return made
