"""One request and its answer."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from driftloop.runtime.http1.answers import JSON, PROBLEM, bodiless
from driftloop.runtime.http1.heads import Head
from driftloop.runtime.problems import explained, problem_body

if TYPE_CHECKING:
    from driftloop.runtime.http1.connection import Connection

log = logging.getLogger(__name__)

LARGE = 32 * 1024
"""Bytes from which a body is written on its own, which saves a copy."""


class Exchange:
    """What a handler answers with: once, now or later, from the event loop of the server.

    After the client has gone every answer is ignored (`closed` says so). Answering twice raises
    `RuntimeError`.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_keep",
        "_left",
        "_silent",
        "began",
        "closed",
        "gone",
        "head",
        "started",
    )

    def __init__(self, connection: "Connection", head: Head, began: float) -> None:
        self._connection = connection
        self.head = head
        self.began = began
        """`time.perf_counter()` when the request was complete."""
        self.closed = False
        """The client has gone, or was cut off, before the answer was complete."""
        self.gone: Callable[[], object] | None = None
        """Called once when that happens. With it set, a client that shuts down its sending side
        counts as gone; without, it still gets its answer.
        """
        self.started = False
        """`start` was called."""

    @property
    def answered(self) -> bool:
        """Nothing more can be sent: the answer is complete, or the client has gone."""
        return self._connection.exchange is not self

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the client, if known."""
        return self._connection.client

    @property
    def server(self) -> tuple[str, int] | None:
        """Address and port the client connected to, if known."""
        return self._connection.local

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self._connection.scheme

    def json(self, body: bytes) -> None:
        """Answer 200 with JSON; the fastest way to answer."""
        connection = self._connection
        start = connection.starts.json
        if self.head.plain and start and connection.exchange is self and len(body) < LARGE:
            connection.exchange = None
            connection.write(b"%b%d\r\n\r\n%b" % (start, len(body), body))
            if not connection.clear:
                connection.go_on()
            return
        self.answer(200, JSON, body)

    def answer(
        self,
        status: int,
        content_type: bytes,
        body: bytes,
        headers: bytes = b"",
        length: int | None = None,
    ) -> None:
        """Answer with a whole body.

        `headers` are finished lines, each with its CRLF, names in lower case; the server adds
        date, length and connection. No content type: empty. `length` replaces the length told to
        a HEAD request whose body was not made.
        """
        connection = self._connection
        if connection.exchange is not self or self.started:
            return self._late()
        keep = connection.keeps(self.head)
        lines, body = connection.starts.whole(
            self.head, keep, status, content_type, body, headers, length
        )
        if len(body) < LARGE:
            connection.write(lines + body)
        else:
            connection.write(lines)
            connection.write(body)
        connection.finish(keep)
        return None

    def start(
        self, status: int, content_type: bytes, headers: bytes = b"", length: int | None = None
    ) -> None:
        """Begin an answer whose body follows by `send`, and ends by `end`.

        With `length` exactly so many bytes must follow. Without, the body goes out in chunks, to
        an HTTP/1.0 client up to the end of the connection.
        """
        connection = self._connection
        if connection.exchange is not self:
            return self._late()
        if self.started:
            raise RuntimeError(f"{self.head.method} {self.head.path[:200]}: started twice")
        self.started = True
        head, keep = self.head, connection.keeps(self.head)
        self._silent = head.method == "HEAD" or bodiless(status)
        self._chunked = length is None and head.http_version == "1.1" and not bodiless(status)
        self._left = length
        if bodiless(status):
            self._left = None
        elif length is not None:
            headers += b"content-length: %d\r\n" % length
        elif self._chunked:
            headers += b"transfer-encoding: chunked\r\n"
        else:
            keep = keep and self._silent
        self._keep = keep
        connection.write(connection.starts.lines(head, keep, status, content_type, headers))
        return None

    def send(self, data: bytes) -> None:
        """Part of the body; empty is allowed. Raises `ValueError` for more than was announced."""
        connection = self._connection
        if connection.exchange is not self:
            return self._late()
        if self._left is not None and not self._silent:
            if len(data) > self._left:
                connection.abort()
                raise ValueError(f"body: {len(data) - self._left} bytes more than announced")
            self._left -= len(data)
        if data and not self._silent:
            if self._chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            connection.write(data)
        return None

    def end(self) -> None:
        """The body is complete. Raises `ValueError`, and cuts the client off, if bytes miss."""
        connection = self._connection
        if connection.exchange is not self:
            return self._late()
        if self._left and not self._silent:
            connection.abort()
            raise ValueError(f"body: {self._left} bytes fewer than announced")
        if self._chunked and not self._silent:
            connection.write(b"0\r\n\r\n")
        connection.finish(self._keep)
        return None

    def abort(self) -> None:
        """Cut the client off: the rest of an answer that began cannot be made."""
        if self._connection.exchange is self:
            self._connection.abort()

    async def drained(self) -> None:
        """Return once the client has read enough of the answer for more to be sent."""
        await self._connection.drained()

    def lost(self) -> None:
        """The connection says that the client has gone. Not for handlers."""
        self.closed = True
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()

    def _late(self) -> None:
        """An answer that is not due: ignored for a client that has gone, else a fault."""
        if not self.closed:
            raise RuntimeError(f"{self.head.method} {self.head.path[:200]}: answered twice")


def fail(exchange: Exchange, error: Exception) -> None:
    """Answer for a handler or an app that raised: its status for an error of ours, else 500.

    When the answer has begun the client is cut off; when it is complete the error is only logged.
    """
    head = exchange.head
    status, detail, headers = explained(error, head.path)
    if status == 500:
        log.error("%s %s failed", head.method, head.path[:200], exc_info=error)
    if exchange.answered:
        return
    if exchange.started:
        exchange.abort()
    else:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        exchange.answer(status, PROBLEM, problem_body(status, detail), lines.encode())


def hand_on(exchange: Exchange, body: bytes) -> None:
    """Have a request answered by whom its head names."""
    try:
        exchange.head.take(exchange, body)
    except Exception as error:
        fail(exchange, error)


def address(found: object) -> tuple[str, int] | None:
    """Host and port of what a transport tells of one of its ends; None for any other kind."""
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None
