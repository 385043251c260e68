"""One HTTP/1.1 connection of a load client: one request under way at a time, opened again if lost.

An answer needs a content-length (RFC 9112), as all of the service's have.
"""

import asyncio
import time
from typing import Any, Final, Protocol, cast

RETRY_AFTER: Final = b"retry-after:"
_LENGTH: Final = b"content-length:"


class Hears(Protocol):
    """What is told how requests ended."""

    def answered(self, line: "Line", status: int, head: bytes, body: bytes) -> None:
        """The answer to the request of `line` is here; the head is in lower case."""

    def lost(self, line: "Line", busy: bool) -> None:
        """The connection ended; `busy` with a request under way."""


class Line(asyncio.Protocol):
    """A connection; `due` (seconds by `time.perf_counter`) and `what` are its request's."""

    def __init__(self, hears: Hears) -> None:
        self.due = 0.0
        self.what = 0
        self.about: Any = None
        """Whatever the owner wants to know again when the request ends."""
        self.busy = False
        self._hears = hears
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no instance of it

    def send(self, request: bytes, what: int, due: float = 0.0) -> None:
        """Send a whole request; what was due at `due` counts from then."""
        assert self._transport is not None
        self.what, self.busy = what, True
        self.due = due or time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._got = data = self._got + data if self._got else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[: end + 2].lower()
        at = head.find(_LENGTH)
        size = int(head[at + len(_LENGTH) : head.find(b"\r\n", at)]) if at >= 0 else 0
        if len(data) < end + 4 + size:
            return
        self._got = b""
        if b"\r\nconnection: close" in head and self._transport is not None:
            self._transport.close()
        if self.busy:  # else it refuses a connection, unasked
            self.busy = False
            self._hears.answered(self, int(head[9:12]), head, data[end + 4 :])

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed."""
        busy, self.busy = self.busy, False
        self._transport, self._got = None, b""
        self._hears.lost(self, busy)

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()


async def opened(hears: Hears, host: str, port: int) -> Line:
    """A new connection."""
    _, line = await asyncio.get_running_loop().create_connection(lambda: Line(hears), host, port)
    return line
