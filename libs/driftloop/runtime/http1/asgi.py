"""Requests answered by an ASGI app (HTTP only), each in a task of its own."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Scope

from driftloop.runtime.http1.answers import bodiless
from driftloop.runtime.http1.exchange import Exchange, fail

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset((b"connection", b"date", b"keep-alive", b"server", b"transfer-encoding"))
"""Fields the server itself writes, or leaves out; those of the app are dropped."""


class Bridge:
    """The handler for every request that has no hot route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, exchange: Exchange, body: bytes) -> None:
        """Answer by the app. Its task is cancelled when the client goes before the answer."""
        task = asyncio.get_running_loop().create_task(self._run(exchange, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.gone = task.cancel

    async def stop(self, seconds: float) -> None:
        """Let the tasks end (some go on after their answer), and cancel them after a while."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, exchange: Exchange, body: bytes) -> None:
        call = Call(exchange, body)
        try:
            await self._app(scope_of(exchange, body), call.receive, call.send)
            call.ended()
        except Exception as error:
            fail(exchange, error)
        finally:
            call.over.set()


class Call:
    """`receive` and `send` of one request."""

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        self._body: bytes | None = body
        self._start: Message | None = None
        self.over = asyncio.Event()
        """The answer is complete."""

    async def receive(self) -> Message:
        """The body, whole; then, once the answer is complete, that the client has gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Part of the answer. Raises `RuntimeError` for a message that is not due."""
        exchange = self._exchange
        if exchange.closed:
            return
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = message
        elif kind == "http.response.body" and self._start is not None and not self.over.is_set():
            body, more = bytes(message.get("body", b"")), bool(message.get("more_body", False))
            self._write(self._start, body, more)
            if more:
                await exchange.drained()
        else:
            raise RuntimeError(f"{kind}: not due here")

    def ended(self) -> None:
        """The app has returned. Raises `RuntimeError` if its answer is not complete."""
        if not self._exchange.answered:
            raise RuntimeError("the app returned without a whole answer")

    def _write(self, start: Message, body: bytes, more: bool) -> None:
        exchange = self._exchange
        if not exchange.started:
            status = int(start["status"])
            kind, length, lines = _lines(start.get("headers", ()))
            if not more:
                self._whole(status, kind, length, lines, body)
                return
            exchange.start(status, kind, lines, length)
        exchange.send(body)
        if not more:
            exchange.end()
            self.over.set()

    def _whole(
        self, status: int, kind: bytes, length: int | None, lines: bytes, body: bytes
    ) -> None:
        unsent = self._exchange.head.method == "HEAD" or bodiless(status)
        if length is not None and length != len(body) and not unsent:
            raise RuntimeError(f"content-length: {length}, but the body has {len(body)} bytes")
        self._exchange.answer(status, kind, body, lines, None if body else length)
        self.over.set()


def scope_of(exchange: Exchange, body: bytes) -> Scope:
    """The ASGI scope of a request; a body the server inflated has no `content-encoding` left."""
    head = exchange.head
    headers: list[tuple[bytes, bytes]] = list(head.headers)
    if head.coding and body:
        dropped = (b"content-encoding", b"content-length", b"transfer-encoding")
        headers = [field for field in headers if field[0] not in dropped]
        headers.append((b"content-length", b"%d" % len(body)))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.http_version,
        "method": head.method,
        "scheme": exchange.scheme,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": "",
        "headers": headers,
        "client": exchange.client,
        "server": exchange.server,
        "extensions": {},
    }


def _lines(headers: Iterable[Any]) -> tuple[bytes, int | None, bytes]:
    """Content type, content length and the other fields of an app's answer, as header lines."""
    kind, length = b"", None
    lines: list[bytes] = []
    for given, value in headers:
        name = bytes(given).lower()
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise RuntimeError(f"answer header: {name!r}: {value!r} cannot be sent")
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            length = int(value)
        elif name not in _OURS:
            lines.append(b"%b: %b\r\n" % (name, value))
    return kind, length, b"".join(lines)
