"""Asks a service on this machine whether it is ready, and whether it lives."""

import ssl
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

SECONDS = 4.0
"""A service of several workers waits some seconds for those that do not answer."""


def unready(address: str) -> str | None:
    """Why the service at `address` is not ready; None when it is."""
    try:
        with urlopen(f"{address}/readyz", timeout=SECONDS, context=_unchecked(address)):
            return None
    except URLError as error:
        body = error.read().decode() if hasattr(error, "read") else ""
        return body or str(error.reason)
    except (OSError, TimeoutError) as error:
        return str(error)


def answers(address: str, seconds: float) -> bool:
    """Whether the process at `address` turns: it says something at `/healthz` within `seconds`."""
    try:
        with urlopen(f"{address}/healthz", timeout=seconds, context=_unchecked(address)):
            return True
    except HTTPError as error:
        error.close()
        return True
    except (OSError, HTTPException):
        return False


def _unchecked(address: str) -> ssl.SSLContext | None:
    """Our own child on loopback has its certificate for another name."""
    if not address.startswith("https:"):
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made
