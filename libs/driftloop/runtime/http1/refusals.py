"""Requests the server itself refuses, and how they are counted."""

from typing import Final

from driftloop.runtime import metrics

CONNECTIONS: Final = metrics.gauge("http_connections", "HTTP connections open")
CONNECTIONS_REFUSED: Final = metrics.counter(
    "http_connections_refused", "HTTP connections refused because too many were open"
)
REFUSED: Final = metrics.counter(
    "http_requests_refused", "HTTP requests the server refused, and clients it cut off", ["reason"]
)

REASONS: Final = {
    400: "bad_request",
    408: "timeout",
    413: "too_large",
    414: "too_large",
    415: "unsupported_coding",
    417: "expectation",
    431: "too_large",
    501: "not_implemented",
    503: "overloaded",
    505: "version",
}
"""The label `reason` of a refusal, by its status."""


class Refused(Exception):
    """A request that is answered with `status` and a problem, after which the connection closes."""

    def __init__(self, status: int, detail: str, headers: bytes = b"") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.head_only = False
        """The request is a HEAD, whose answer has no body."""


def shown(value: bytes, most: int = 80) -> str:
    """A value of the request for an error message: printable, and not too long."""
    text = value[:most].decode("latin-1").encode("unicode_escape").decode("ascii")
    return f"{text}..." if len(value) > most else text
