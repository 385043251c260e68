"""Asks a service on this machine whether it is ready."""

import ssl
from urllib.error import URLError
from urllib.request import urlopen

SECONDS = 4.0
"""A service of several workers waits some seconds for those that do not answer."""


def unready(address: str) -> str | None:
    """Why the service at `address` is not ready; None when it is."""
    unchecked = None
    if address.startswith("https:"):
        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname = False  # our own child on loopback, under another name
        unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urlopen(f"{address}/readyz", timeout=SECONDS, context=unchecked):
            return None
    except URLError as error:
        body = error.read().decode() if hasattr(error, "read") else ""
        return body or str(error.reason)
    except (OSError, TimeoutError) as error:
        return str(error)
