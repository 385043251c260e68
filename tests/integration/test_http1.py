import asyncio
import contextlib
import gzip
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import uvloop
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from driftloop.contracts.errors import InvalidInput, Overloaded
from driftloop.runtime import metrics
from driftloop.runtime.http1 import Exchange, Handler, Head, Http1Server, Limits, tls_context
from driftloop.runtime.http1.connection import Connection
from driftloop.runtime.http1.pool import Pool
from driftloop.runtime.problems import explain
from tests.support.certificates import certificate

SECONDS = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: here\r\n%b\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%b"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        assert json.loads(self.body)["status"] == self.status
        return str(json.loads(self.body)["detail"])


class Client:
    """A socket and what came over it and is not read yet."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), SECONDS)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self._input = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Self:
        self.sock.sendall(data)
        return self

    def upto(self, mark: bytes) -> bytes:
        while mark not in self._input:
            data = self.sock.recv(65536)
            assert data, f"closed after {self._input!r}"
            self._input += data
        found, _, self._input = self._input.partition(mark)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self._input) < size:
            data = self.sock.recv(1 << 20)
            assert data, f"closed {size - len(self._input)} bytes too early"
            self._input += data
        found, self._input = self._input[:size], self._input[size:]
        return found

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        parts = [self._input]
        while data := self.sock.recv(65536):
            parts.append(data)
        self._input = b""
        return b"".join(parts)

    def answer(self, bodiless: bool = False) -> Answer:
        """The next answer, whole."""
        first, *lines = self.upto(b"\r\n\r\n").decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/1.1 ")
        status, headers = int(first[9:12]), dict[str, str]()
        for line in lines:
            name, _, value = line.partition(": ")
            assert name == name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if bodiless or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.upto(b"\r\n"), 16):
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
        elif "content-length" in headers:
            body = self.exactly(int(headers["content-length"]))
        else:
            body = self.rest()
        return Answer(status, headers, body)

    def ask(self, data: bytes) -> Answer:
        return self.send(data).answer()

    def closed(self) -> bool:
        """The server has closed in good order, and said nothing more."""
        return self.rest() == b""


class Running:
    """A server in a thread with an event loop of its own."""

    def __init__(self, make: Callable[[], Http1Server], loop: str) -> None:
        self.errors: list[str] = []
        self.held: list[Exchange] = []
        self.app_ended: Future[str] = Future()
        self.loop: asyncio.AbstractEventLoop
        self.server: Http1Server
        self._ready: Future[None] = Future()
        factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
        self._thread = threading.Thread(target=self._main, args=(make, factory))
        self._thread.start()
        self._ready.result(SECONDS)

    def _main(
        self,
        make: Callable[[], Http1Server],
        factory: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            self.loop.set_exception_handler(lambda _, context: self.errors.append(str(context)))
            self._end = asyncio.Event()
            self.server = make()
            await self.server.start()
            self._ready.set_result(None)
            await self._end.wait()
            await self.server.stop(1.0)

        with asyncio.Runner(loop_factory=factory) as runner:
            try:
                runner.run(serve())
            except BaseException as error:
                self._ready.set_exception(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        assert self.errors == []

    def client(self) -> Client:
        return Client(self.server.port)

    def ask(self, data: bytes) -> Answer:
        with self.client() as client:
            return client.ask(data)

    def call(self, function: Callable[[], Any]) -> Any:
        """The value of a function called in the server's event loop."""
        done: Future[Any] = Future()

        def called() -> None:
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        self.loop.call_soon_threadsafe(called)
        return done.result(SECONDS)

    def stop(self, grace: float) -> "Future[None]":
        """Begin to stop."""
        return asyncio.run_coroutine_threadsafe(self.server.stop(grace), self.loop)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + SECONDS
        while not self.call(holds):
            assert time.monotonic() < end, f"never: {what}"

    @property
    def pool(self) -> Pool:
        assert self.server._pool is not None
        return self.server._pool

    def connections(self) -> int:
        return len(self.pool.open)

    def connection(self) -> Connection:
        """The server's side of the only connection."""
        [found] = self.call(lambda: list(self.pool.open))
        assert isinstance(found, Connection)
        return found


class Site:
    """The hot routes and the app behind the server under test."""

    def __init__(self) -> None:
        self.running: Running

    def router(self, head: Head) -> Handler | None:
        if head.path == "/no-route":
            raise ValueError("a bug in the router")
        found = {"/json": self.json, "/echo": self.echo, "/hold": self.hold, "/fail": self.fail}
        found |= {"/bytes": self.letters, "/stream": self.stream, "/twice": self.twice}
        return found.get(head.path)

    def json(self, exchange: Exchange, body: bytes) -> None:
        exchange.json(body or b'{"ok":true}')

    def echo(self, exchange: Exchange, body: bytes) -> None:
        head = exchange.head
        told = {"method": head.method, "query": head.query.decode(), "body": body.decode("latin-1")}
        exchange.answer(200, b"application/json", json.dumps(told).encode(), b"x-echo: 1\r\n")

    def hold(self, exchange: Exchange, _: bytes) -> None:
        self.running.held.append(exchange)

    def fail(self, exchange: Exchange, _: bytes) -> None:
        if exchange.head.query == b"late":
            exchange.start(200, b"text/plain")
        if exchange.head.query == b"ours":
            raise InvalidInput("rows: 3")
        if exchange.head.query == b"busy":
            raise Overloaded("queue: full")
        raise ValueError("secret")

    def letters(self, exchange: Exchange, _: bytes) -> None:
        exchange.answer(200, b"application/octet-stream", b"a" * int(exchange.head.query))

    def stream(self, exchange: Exchange, _: bytes) -> None:
        exchange.start(200, b"text/plain", length=6 if exchange.head.query == b"6" else None)
        for part in (b"abc", b"", b"def"):
            exchange.send(part)
        exchange.end()

    def twice(self, exchange: Exchange, _: bytes) -> None:
        exchange.json(b"1")
        exchange.json(b"2")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What an app may do, by path."""
        path, message = scope["path"], await receive()
        plain = [(b"Content-Type", b"text/plain")]

        async def start(status: int = 200, *more: tuple[bytes, bytes]) -> None:
            await send(
                {"type": "http.response.start", "status": status, "headers": [*plain, *more]}
            )

        async def body(data: bytes, more: bool = False) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        if path == "/app/echo":
            told = {k: v for k, v in scope.items() if k in ("method", "path", "scheme", "client")}
            told["headers"] = [[n.decode(), v.decode()] for n, v in scope["headers"]]
            told["body"] = message["body"].decode("latin-1")
            await start(200, (b"Transfer-Encoding", b"chunked"), (b"X-App", b"1"))
            await body(json.dumps(told).encode())
        elif path == "/app/stream":
            await start()
            for part in (b"abc", b"", b"def"):
                await body(part, True)
            await body(b"")
        elif path == "/app/endless":
            await start()
            try:
                while True:
                    await body(b"a" * 65536, True)
            finally:
                self.running.app_ended.set_result("cancelled")
        elif path == "/app/wait":
            try:
                await asyncio.Event().wait()
            finally:
                self.running.app_ended.set_result("cancelled")
        elif path == "/app/status":
            await start(int(scope["query_string"]), (b"content-length", b"3"))
            await body(b"abc")
        else:
            await self._other(path, receive, start, body)

    async def _other(self, path: str, receive: Receive, start: Any, body: Any) -> None:
        if path == "/app/after":
            await start()
            await body(b"answered")
            self.running.app_ended.set_result((await receive())["type"])
            return
        if path == "/app/raise":
            raise ValueError("secret")
        await start(200, (b"content-length", b"5"))
        if path == "/app/long":
            await body(b"abc", True)
            await body(b"defg")
        elif path == "/app/short":
            await body(b"abc", True)
        elif path == "/app/other":
            await body(b"abc")
        elif path == "/app/split":
            await start(200)


@contextlib.contextmanager
def running(
    loop: str = "uvloop", app: ASGIApp | None = None, limits: Limits | None = None, **more: Any
) -> Iterator[Running]:
    site = Site()
    with Running(
        lambda: Http1Server(
            app or site.app, "127.0.0.1", 0, router=site.router, limits=limits, **more
        ),
        loop,
    ) as made:
        site.running = made
        yield made


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def shared(request: pytest.FixtureRequest) -> Iterator[Running]:
    """One server, with the usual limits, for all tests that leave it as it is."""
    with running(request.param) as made:
        yield made


@pytest.fixture
def server(shared: Running) -> Iterator[Running]:
    shared.held.clear()
    shared.app_ended = Future()
    yield shared
    shared.until(lambda: shared.connections() == 0, "all connections of the test are gone")
    assert shared.pool.held == 0
    assert shared.errors == []


def refusals(reason: str) -> float:
    return metrics.values().get(f"driftloop_http_requests_refused_total{{reason={reason}}}", 0.0)


# One request after another.


def test_a_hot_route_answers_and_the_connection_stays(server: Running) -> None:
    with server.client() as client:
        for _ in range(3):
            answer = client.ask(GET % (b"/json", b""))
            assert (answer.status, answer.body) == (200, b'{"ok":true}')
            assert answer.headers.keys() == {"date", "content-type", "content-length"}
            assert answer.headers["content-type"] == "application/json"
        assert time.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")


def test_bodies_come_whole_whatever_their_size(server: Running) -> None:
    with server.client() as client:
        for size in (0, 1, 1000, 70_000, 3_000_000):
            body = random.Random(size).randbytes(size) or b""
            answer = client.ask(POST % (b"/json", size, body))
            assert answer.body == (body or b'{"ok":true}')


@pytest.mark.parametrize("path", [b"/echo?a=b", b"/app/echo"])
def test_a_request_may_come_byte_by_byte(server: Running, path: bytes) -> None:
    with server.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for byte in POST % (path, 3, b"abc"):
                client.send(bytes([byte]))
            assert json.loads(client.answer().body)["body"] == "abc"


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    paths = (b"/echo", b"/app/echo", b"/echo", b"/echo")
    with server.client() as client:
        client.send(b"".join(POST % (p, 3, b"%03d" % n) for n, p in enumerate(paths * 100)))
        for number in range(400):
            assert json.loads(client.answer().body)["body"] == f"{number:03d}"


def test_a_late_answer_keeps_its_place(server: Running) -> None:
    with server.client() as client:
        client.send(GET % (b"/hold", b"") + GET % (b"/json", b""))
        server.until(lambda: len(server.held) == 1, "the request is held")
        server.call(lambda: server.held[0].answer(201, b"text/plain", b"late"))
        assert (client.answer().body, client.answer().body) == (b"late", b'{"ok":true}')


def test_a_second_answer_is_an_error_and_does_not_reach_the_next_request(server: Running) -> None:
    with server.client() as client:
        assert client.ask(GET % (b"/twice", b"")).body == b"1"
        client.send(GET % (b"/hold", b"") + GET % (b"/hold", b""))
        server.until(lambda: len(server.held) == 1, "the first is held")
        server.call(lambda: server.held[0].json(b"first"))
        server.until(lambda: len(server.held) == 2, "the second is held")
        for again in (server.held[0].json, server.held[0].send):
            with pytest.raises(RuntimeError, match="answered twice"):
                server.call(partial(again, b"wrong"))
        server.call(lambda: server.held[1].json(b"second"))
        assert (client.answer().body, client.answer().body) == (b"first", b"second")


def test_an_answer_that_began_cannot_begin_again(server: Running) -> None:
    with server.client() as client:
        client.send(GET % (b"/hold", b""))
        server.until(lambda: len(server.held) == 1, "the request is held")
        server.call(lambda: server.held[0].start(200, b"text/plain"))
        for again in (server.held[0].start, server.held[0].answer):
            with pytest.raises(RuntimeError, match="twice"):
                server.call(partial(again, 200, b"text/plain", b""))
        server.call(server.held[0].end)
        assert client.answer().body == b""


def test_an_answer_after_the_client_has_gone_is_ignored(server: Running) -> None:
    with server.client() as client:
        client.send(GET % (b"/hold", b""))
        server.until(lambda: len(server.held) == 1, "the request is held")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.until(lambda: server.held[0].closed, "the exchange knows")
    server.call(lambda: server.held[0].json(b"late"))
    server.call(lambda: server.held[0].answer(200, b"text/plain", b"late"))


def test_a_client_that_sends_no_more_still_gets_its_answers(server: Running) -> None:
    with server.client() as client:
        client.send(GET % (b"/hold", b"") + GET % (b"/json", b"") * 2)
        client.sock.shutdown(socket.SHUT_WR)
        server.until(lambda: len(server.held) == 1, "the request is held")
        server.call(lambda: server.held[0].answer(200, b"text/plain", b"late"))
        assert [client.answer().body for _ in range(3)] == [b"late"] + [b'{"ok":true}'] * 2
        assert client.closed()


def test_a_client_that_stops_in_the_middle_is_closed(server: Running) -> None:
    with server.client() as client:
        client.send(GET[:9])
        client.sock.shutdown(socket.SHUT_WR)
        assert client.closed()


def test_one_empty_line_before_a_request_is_skipped(server: Running) -> None:
    with server.client() as client:
        for _ in range(2):
            assert client.ask(b"\r\n" + GET % (b"/json", b"")).status == 200
        assert client.ask(b"\r\n\r\n" + GET % (b"/json", b"")).status == 400


# Methods, versions, connections.


@pytest.mark.parametrize("path", [b"/json", b"/bytes?5", b"/stream?6", b"/app/echo", b"/fail"])
def test_a_head_request_gets_the_head_alone(server: Running, path: bytes) -> None:
    head = b"HEAD " + (GET % (path, b""))[4:]
    with server.client() as client:
        for _ in range(2):
            answer = client.send(head).answer(bodiless=True)
            assert int(answer.headers["content-length"]) > 0
        assert client.ask(GET % (b"/json", b"")).body == b'{"ok":true}'


def test_a_refused_head_request_gets_no_body_either(server: Running) -> None:
    with server.client() as client:
        client.send(b"HEAD / HTTP/1.1\r\n\r\n")
        assert client.answer(bodiless=True).status == 400
        assert client.closed()


@pytest.mark.parametrize("path", [b"/json", b"/stream", b"/app/echo", b"/app/stream"])
def test_close_is_honoured(server: Running, path: bytes) -> None:
    with server.client() as client:
        answer = client.ask(GET % (path, b"Connection: close\r\n"))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.closed()


@pytest.mark.parametrize(
    ("path", "body"), [(b"/stream", b"abcdef"), (b"/app/stream", b"abcdef"), (b"/json", b"{")]
)
def test_http_1_0_closes_unless_asked_to_stay(server: Running, path: bytes, body: bytes) -> None:
    with server.client() as client:
        answer = client.ask(b"GET %b HTTP/1.0\r\n\r\n" % path)
        assert answer.body.startswith(body)
        assert answer.headers["connection"] == "close"
        assert "transfer-encoding" not in answer.headers
        assert client.closed()


@pytest.mark.parametrize("path", [b"/json", b"/app/echo", b"/stream?6"])
def test_http_1_0_may_stay(server: Running, path: bytes) -> None:
    with server.client() as client:
        for _ in range(2):
            answer = client.ask(b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % path)
            assert answer.headers["connection"] == "keep-alive"


def test_an_upgrade_is_ignored(server: Running) -> None:
    with server.client() as client:
        more = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n"
        assert client.ask(GET % (b"/json", more) + b"{}").body == b"{}"
        assert client.ask(GET % (b"/json", b"")).status == 200


def test_the_whole_uri_may_be_the_target(server: Running) -> None:
    assert server.ask(GET % (b"http://there/json", b"")).status == 200


# Bodies.


def chunked(path: bytes, data: bytes, more: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n%b\r\n" % (path, more)
    pieces = [data[place : place + 50_000] for place in range(0, len(data), 50_000)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("path", [b"/json", b"/app/echo"])
def test_chunked_bodies_are_put_together(server: Running, path: bytes) -> None:
    body = b"0123456789" * 20_000
    with server.client() as client:
        answer = client.send(chunked(path, body) + GET % (b"/json", b"")).answer()
        assert body in answer.body
        assert client.answer().body == b'{"ok":true}'


@pytest.mark.parametrize("path", [b"/json", b"/app/echo"])
@pytest.mark.parametrize("size", [100, 1_000_000])
def test_packed_bodies_are_inflated(server: Running, path: bytes, size: int) -> None:
    body = random.Random(size).randbytes(size // 2).hex().encode()
    packed = gzip.compress(body, 1)
    more = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    with server.client() as client:
        for _ in range(2):
            answer = client.ask(b"POST" + (GET % (path, more))[3:] + packed)
            assert body in answer.body
        if path == b"/app/echo":
            headers = dict(json.loads(answer.body)["headers"])
            assert headers["content-length"] == str(size)
            assert "content-encoding" not in headers
        answer = client.ask(chunked(path, packed, b"Content-Encoding: gzip\r\n"))
        assert body in answer.body


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_damaged_packed_body_is_refused(server: Running, size: int) -> None:
    packed = gzip.compress(random.Random(1).randbytes(size))[:-1]
    more = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    with server.client() as client:
        assert "cut short" in client.ask(GET % (b"/json", more) + packed).problem
        assert client.closed()


def test_a_client_may_wait_to_be_asked_for_the_body(server: Running) -> None:
    more = b"Expect: 100-continue\r\nContent-Length: 3\r\n"
    with server.client() as client:
        for _ in range(2):
            assert client.ask(GET % (b"/json", more)).status == 100
            assert client.ask(b"abc").body == b"abc"
        assert client.ask(GET % (b"/json", more) + b"abc").body == b"abc"


def test_a_client_is_asked_for_the_body_once(server: Running) -> None:
    more = b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
    with server.client() as client:
        assert client.ask(GET % (b"/json", more)).status == 100
        connection = server.connection()
        client.send(b"3\r\nabc\r\n")
        server.until(lambda: len(connection._intake) == 3, "the first chunk is there")
        assert client.ask(b"0\r\n\r\n").body == b"abc"


def test_a_body_that_is_not_wanted_is_not_asked_for(server: Running) -> None:
    with server.client() as client:
        more = b"Expect: 100-continue\r\nContent-Length: 9999999999\r\n"
        answer = client.ask(GET % (b"/json", more))
        assert answer.status == 413
        assert client.closed()


# What is refused.


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\n\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\nHost: here\n\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\rHost: here\r\r", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (GET % (b"/", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, "bad_request"),
        (GET % (b"/", b"Content-Length: 1\r\nContent-Length: 2\r\n"), 400, "bad_request"),
        (GET % (b"/", b"X: a\r\n b\r\n"), 400, "bad_request"),
        (GET % (b"/", b"Transfer-Encoding: chunked\r\n") + b"zz\r\n", 400, "bad_request"),
        (GET % (b"/", b"Transfer-Encoding: br\r\n"), 501, "not_implemented"),
        (GET % (b"/", b"Expect: more\r\n"), 417, "expectation"),
        (GET % (b"/", b"Content-Encoding: br\r\n"), 415, "unsupported_coding"),
        (GET % (b"/", b"X: y\r\n" * 100), 431, "too_large"),
        (GET % (b"/", b"X: " + b"a" * 16384 + b"\r\n"), 431, "too_large"),
        (GET % (b"/", b"X: " + b"a" * 16384), 431, "too_large"),
        (b"GET /" + b"a" * 20_000, 414, "too_large"),
        (GET % (b"/", b"Content-Length: 67108865\r\n"), 413, "too_large"),
        (b"GET / HTTP/3.0\r\nHost: here\r\n\r\n", 505, "version"),
        (GET % (b"/no-route", b""), 500, "error"),
    ],
)
def test_a_refused_request_gets_a_problem_and_a_close_and_is_counted(
    server: Running, data: bytes, status: int, reason: str
) -> None:
    before = refusals(reason)
    with server.client() as client:
        client.send(GET % (b"/json", b"") + data + GET % (b"/json", b""))
        assert client.answer().status == 200
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.problem
        assert client.closed()
    assert refusals(reason) == before + 1


def test_a_client_that_still_sends_reads_why_it_was_refused(server: Running) -> None:
    with server.client() as client:
        client.send(GET % (b"/json", b"Content-Length: 99999999\r\n"))
        with contextlib.suppress(TimeoutError):
            client.send(b"a" * 5_000_000)
        assert client.answer().status == 413
        assert client.closed()


def test_an_unread_request_behind_a_close_is_not_answered(server: Running) -> None:
    with server.client() as client:
        client.send(GET % (b"/json", b"Connection: close\r\n") + GET % (b"/json", b""))
        assert client.answer().status == 200
        assert client.closed()


def test_bodies_over_the_limit_are_refused_however_they_are_sent() -> None:
    with running(limits=Limits(body_bytes=1000)) as server:
        packed = gzip.compress(b"\0" * 1001)
        coded = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
        for data in (
            POST % (b"/json", 1001, b"a" * 1001),
            chunked(b"/json", b"a" * 1001),
            GET % (b"/json", coded) + packed,
        ):
            assert "1000 bytes" in server.ask(data).problem
        assert server.ask(chunked(b"/json", b"a" * 1000)).status == 200


def test_unfinished_bodies_of_all_clients_together_are_bounded() -> None:
    with running(limits=Limits(held_bytes=1_000_000)) as server:
        before = refusals("overloaded")
        clients = [server.client() for _ in range(3)]
        for client in clients[:2]:
            client.send(POST % (b"/json", 600_000, b"a" * 400_000))
        server.until(lambda: server.pool.held == 800_000, "both are held")
        answer = clients[2].ask(POST % (b"/json", 600_000, b"a" * 400_000))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        for client in clients[:2]:
            assert len(client.ask(b"a" * 200_000).body) == 600_000
        assert refusals("overloaded") == before + 1
        for client in clients:
            client.sock.close()


# What goes wrong behind the server.


def test_a_handler_that_raises_is_a_500_without_its_secrets(server: Running) -> None:
    with server.client() as client:
        answer = client.ask(GET % (b"/fail", b""))
        assert answer.problem == "/fail: internal error (ValueError)"
        assert client.ask(GET % (b"/json", b"")).status == 200


def test_an_error_of_ours_has_its_own_status(server: Running) -> None:
    answer = server.ask(GET % (b"/fail?ours", b""))
    assert (answer.status, answer.problem) == (422, "rows: 3")
    answer = server.ask(GET % (b"/fail?busy", b""))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_an_answer_that_cannot_be_finished_is_cut_off(server: Running) -> None:
    for path in (b"/fail?late", b"/app/long", b"/app/short"):
        with server.client() as client:
            client.send(GET % (path, b""))
            with contextlib.suppress(ConnectionResetError):
                assert b"0\r\n\r\n" not in client.rest()


@pytest.mark.parametrize("path", [b"/app/raise", b"/app/other", b"/app/split", b"/app/none"])
def test_an_app_that_fails_before_its_answer_is_a_500(server: Running, path: bytes) -> None:
    with server.client() as client:
        assert client.ask(GET % (path, b"")).status == 500
        assert client.ask(GET % (b"/json", b"")).status == 200


# The app.


def test_the_app_sees_the_request_and_its_own_framing_is_dropped(server: Running) -> None:
    answer = server.ask(POST % (b"/app/ec%68o", 3, b"abc"))
    told = json.loads(answer.body)
    assert (told["method"], told["path"], told["scheme"]) == ("POST", "/app/echo", "http")
    assert told["body"] == "abc"
    assert told["client"][0] == "127.0.0.1"
    assert ["host", "here"] in told["headers"]
    assert answer.headers["content-length"] == str(len(answer.body))
    assert (answer.headers["x-app"], answer.headers["content-type"]) == ("1", "text/plain")


def test_a_streamed_answer_goes_out_in_chunks(server: Running) -> None:
    for path in (b"/stream", b"/app/stream"):
        answer = server.ask(GET % (path, b""))
        assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"abcdef")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_body_has_none(server: Running, status: int) -> None:
    with server.client() as client:
        answer = client.ask(GET % (b"/app/status?%d" % status, b""))
        assert answer.status == status
        assert "content-length" not in answer.headers
        assert client.ask(GET % (b"/json", b"")).status == 200


@pytest.mark.parametrize("path", [b"/app/wait", b"/app/endless"])
def test_the_app_is_cancelled_when_the_client_goes(server: Running, path: bytes) -> None:
    with server.client() as client:
        client.send(GET % (path, b""))
        if path == b"/app/endless":
            client.exactly(100_000)
        else:
            server.until(lambda: server.connections() == 1, "connected")
    assert server.app_ended.result(SECONDS) == "cancelled"


def test_the_app_may_go_on_after_its_answer(server: Running) -> None:
    with server.client() as client:
        assert client.ask(GET % (b"/app/after", b"")).body == b"answered"
    assert server.app_ended.result(SECONDS) == "http.disconnect"


def test_a_fastapi_app_runs_behind_the_server() -> None:
    app = FastAPI()
    explain(app)

    @app.post("/sum")
    async def total(numbers: list[int], request: Request) -> dict[str, int]:
        assert request.client is not None
        return {"sum": sum(numbers)}

    @app.get("/parts")
    async def parts() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]), media_type="text/plain")

    more = b"Content-Type: application/json\r\nContent-Length: 7\r\n"
    with running(app=app) as server, server.client() as client:
        answer = client.ask(b"POST" + (GET % (b"/sum", more))[3:] + b"[1,2,3]")
        assert json.loads(answer.body) == {"sum": 6}
        assert client.ask(POST % (b"/sum", 1, b"[")).status == 422
        assert client.ask(GET % (b"/parts", b"")).body == b"ab"
        assert client.ask(GET % (b"/none", b"")).problem == "GET /none: Not Found"


# Time and load.


def test_a_slow_request_is_a_timeout_and_an_idle_connection_is_closed() -> None:
    limits = Limits(read_seconds=0.2, idle_seconds=0.2, sweep_seconds=0.05)
    with running(limits=limits) as server:
        before = refusals("timeout")
        for data in (GET[:9], POST % (b"/json", 9, b"abc"), chunked(b"/json", b"abc")[:-3]):
            with server.client() as client:
                assert client.ask(data).status == 408
                assert client.closed()
        assert refusals("timeout") == before + 3
        with server.client() as client:
            assert client.closed()
        with server.client() as client:
            assert client.ask(GET % (b"/json", b"")).status == 200
            assert client.closed()


def test_a_request_under_way_is_neither_slow_nor_idle() -> None:
    limits = Limits(read_seconds=0.1, idle_seconds=0.1, sweep_seconds=0.02)
    with running(limits=limits) as server, server.client() as client:
        client.send(GET % (b"/hold", b""))
        for _ in range(3):
            with server.client() as idle:
                assert idle.closed()
        server.call(lambda: server.held[0].json(b"1"))
        assert client.answer().body == b"1"


def test_a_refused_client_that_stays_is_cut_off() -> None:
    limits = Limits(linger_seconds=0.1, sweep_seconds=0.05)
    with running(limits=limits) as server, server.client() as client:
        assert client.ask(b"nonsense\r\n\r\n").status == 400
        server.until(lambda: server.connections() == 0, "cut off")


def test_answers_do_not_wait_for_one_another_on_the_wire(server: Running) -> None:
    with server.client() as client:
        client.ask(GET % (b"/json", b""))
        connection = server.connection()
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("path", [b"/bytes?20000000", b"/app/endless"])
def test_a_client_that_does_not_read_is_cut_off(path: bytes) -> None:
    limits = Limits(write_seconds=0.2, sweep_seconds=0.05)
    with running(limits=limits) as server, server.client() as client:
        before = refusals("unread")
        client.send(GET % (path, b""))
        server.until(lambda: refusals("unread") == before + 1, "cut off")
        server.until(lambda: server.connections() == 0, "gone")


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    with running(limits=Limits(ahead_bytes=1000)) as server, server.client() as client:
        client.sock.settimeout(0.5)
        sent = 0
        request = GET % (b"/bytes?100000", b"X: " + b"a" * 10_000 + b"\r\n")
        with contextlib.suppress(TimeoutError):
            while sent < 100_000_000:
                place = sent % len(request)
                sent += client.sock.send((request * 21)[place:])
        assert sent < 100_000_000
        connection = server.connection()
        assert server.call(lambda: connection._paused)
        assert server.call(lambda: len(connection._intake.data)) < 400_000
        client.sock.settimeout(SECONDS)
        for _ in range(sent // len(request)):
            assert len(client.answer().body) == 100_000


def test_one_connection_too_many_is_told_so_and_counted() -> None:
    with running(limits=Limits(connections=2)) as server:
        counted = "driftloop_http_connections_refused_total"
        before = metrics.values()[counted]
        with server.client() as one, server.client() as two:
            assert one.ask(GET % (b"/json", b"")).status == 200
            assert two.ask(GET % (b"/json", b"")).status == 200
            with server.client() as third:
                answer = third.answer()
                assert (answer.status, answer.headers["connection"]) == (503, "close")
                assert third.closed()
            assert one.ask(GET % (b"/json", b"")).status == 200
        assert metrics.values()[counted] == before + 1
        server.until(lambda: server.connections() == 0, "gone")
        assert server.ask(GET % (b"/json", b"")).status == 200


def test_open_connections_are_counted(server: Running) -> None:
    before = metrics.values()["driftloop_http_connections"]
    with server.client() as client:
        client.ask(GET % (b"/json", b""))
        assert metrics.values()["driftloop_http_connections"] == before + 1


# Start and stop.


def test_a_taken_port_is_an_error_that_names_it(server: Running) -> None:
    async def second() -> None:
        await Http1Server(Site().app, "127.0.0.1", server.server.port).start()

    with pytest.raises(OSError, match=f"127.0.0.1:{server.server.port}"):
        asyncio.run(second())


def test_several_servers_may_share_a_port() -> None:
    with running(reuse_port=True) as first:
        port = first.server.port
        site = Site()
        with Running(
            lambda: Http1Server(site.app, "127.0.0.1", port, router=site.router, reuse_port=True),
            "uvloop",
        ) as second:
            answers = [second.ask(GET % (b"/json", b"")).status for _ in range(20)]
            assert answers == [200] * 20


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_stop_closes_idle_connections_and_finishes_what_is_under_way(loop: str) -> None:
    with running(loop) as server, server.client() as idle, server.client() as busy:
        assert idle.ask(GET % (b"/json", b"")).status == 200
        busy.send(GET % (b"/hold", b""))
        server.until(lambda: len(server.held) == 1, "the request is held")
        stopping = server.stop(SECONDS)
        assert idle.closed()
        with pytest.raises(ConnectionRefusedError):
            server.client()
        assert not stopping.done()
        server.call(lambda: server.held[0].json(b"last"))
        answer = busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"last", "close")
        assert busy.closed()
        stopping.result(SECONDS)


def test_stop_cuts_off_what_does_not_end() -> None:
    with running() as server, server.client() as hot, server.client() as app:
        hot.send(GET % (b"/hold", b""))
        app.send(GET % (b"/app/wait", b""))
        server.until(lambda: len(server.held) == 1 and server.connections() == 2, "both are here")
        server.stop(0.1).result(SECONDS)
        assert server.held[0].closed
        assert server.app_ended.result(SECONDS) == "cancelled"
        assert hot.closed()


# What is set at the start.


def test_answers_are_compressed_for_clients_that_take_it() -> None:
    with running(compress=True) as server, server.client() as client:
        answer = client.ask(GET % (b"/bytes?5000", b"Accept-Encoding: gzip\r\n"))
        assert gzip.decompress(answer.body) == b"a" * 5000
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "accept-encoding"
        for path, coding in ((b"/bytes?5000", b""), (b"/bytes?1024", b"gzip"), (b"/json", b"gzip")):
            answer = client.ask(GET % (path, b"Accept-Encoding: " + coding + b"\r\n"))
            assert "content-encoding" not in answer.headers
            assert answer.headers["vary"] == "accept-encoding"


def test_pages_of_allowed_origins_may_read_answers() -> None:
    ours, other = b"Origin: https://a.example\r\n", b"Origin: https://b.example\r\n"
    allowed = "access-control-allow-origin"
    with running(cors=("https://a.example",)) as server, server.client() as client:
        for path in (b"/json", b"/app/echo", b"/fail"):
            answer = client.ask(GET % (path, ours))
            assert (answer.headers[allowed], answer.headers["vary"]) == (
                "https://a.example",
                "origin",
            )
            assert allowed not in client.ask(GET % (path, other)).headers
        asks = b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a\r\n"
        preflight = b"OPTIONS" + (GET % (b"/json", asks + b"%b"))[3:]
        answer = client.ask(preflight % ours)
        assert (answer.status, answer.headers[allowed]) == (204, "https://a.example")
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == "x-a"
        answer = client.ask(preflight % other)
        assert (answer.status, allowed in answer.headers) == (403, False)
        refused = client.ask(GET % (b"/json", ours + b"Transfer-Encoding: chunked\r\n") + b"z\r\n")
        assert (refused.status, refused.headers[allowed]) == (400, "https://a.example")


@pytest.fixture(scope="module", name="certificate")
def made_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_https_answers_like_http(certificate: tuple[str, str], loop: str) -> None:
    context = ssl.create_default_context(cafile=certificate[0])
    with running(loop, tls=tls_context(*certificate)) as server:
        with Client(server.server.port, context) as client:
            assert client.ask(GET % (b"/json", b"")).body == b'{"ok":true}'
            body = b"a" * 1_000_000
            assert client.ask(POST % (b"/json", len(body), body)).body == body
            assert json.loads(client.ask(GET % (b"/app/echo", b"")).body)["scheme"] == "https"
            assert client.ask(b"nonsense\r\n\r\n").status == 400
            assert client.closed()
        with Client(server.server.port, context) as client:
            client.ask(GET % (b"/json", b"Connection: close\r\n"))
            assert client.closed()


def test_old_tls_and_missing_files_are_refused(
    certificate: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match=r"none\.pem"):
        tls_context(str(tmp_path / "none.pem"), certificate[1])
    with pytest.raises(OSError, match="cannot use certificate"):
        tls_context(certificate[0], certificate[0])
    old = ssl.create_default_context(cafile=certificate[0])
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = old.minimum_version = ssl.TLSVersion.TLSv1_1
    with running(tls=tls_context(*certificate)) as server, pytest.raises((ssl.SSLError, OSError)):
        Client(server.server.port, old)


# Anything at all.


def mutated(rng: random.Random) -> bytes:
    """A few good requests with some damage."""
    good = (
        GET % (b"/json", b""),
        POST % (b"/echo", 3, b"abc"),
        chunked(b"/json", b"abc"),
        GET % (b"/app/echo", b"Connection: close\r\n"),
        b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    )
    data = bytearray(b"".join(rng.choices(good, k=rng.randint(1, 3))))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[place : place + 1] = rng.randbytes(1)
            case 1:
                del data[place : place + rng.randint(1, 10)]
            case 2:
                data[place:place] = rng.choice(
                    [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\r\n\r\n", b"99999999", b"-1"]
                )
            case _:
                data[place:place] = data[: rng.randrange(60)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_any_bytes_get_whole_answers_and_then_a_close(server: Running, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(25):
        with server.client() as client:
            data = mutated(rng)
            while data:
                size = rng.choice((1, 7, 100, 1000))
                client.send(data[:size])
                data = data[size:]
            client.sock.shutdown(socket.SHUT_WR)
            got = client.rest()
            assert got == b"" or got.startswith(b"HTTP/1.1 "), got
    assert server.ask(GET % (b"/json", b"")).status == 200
