"""A flood of large bodies on one path leaves room for the requests of others."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from driftloop.runtime.http1 import Exchange, Handler, Head, Http1Server
from driftloop.runtime.http1.turns import AT_ONCE, TURN_SECONDS
from tests.integration.test_http1 import POST, SECONDS, Running

LARGE = b"a" * (AT_ONCE + 1)


class Slow:
    """Takes longer than a turn to read a large body; in which order paths were asked for."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running: Running

    def router(self, head: Head) -> Handler:
        return self.take

    def take(self, exchange: Exchange, body: bytes) -> None:
        if len(body) >= len(LARGE):
            time.sleep(2 * TURN_SECONDS)
        self.order.append(exchange.head.path)
        if exchange.head.path == "/cut":
            for connection in self.running.pool.open:
                if connection.exchange not in (None, exchange):
                    connection.abort()
        exchange.json(b"%d" % len(body))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


@contextlib.contextmanager
def standing_still(server: Running) -> Iterator[None]:
    """The server does nothing meanwhile: all that is sent is there when it goes on."""
    begun, go_on = threading.Event(), threading.Event()

    def stand() -> None:
        begun.set()
        go_on.wait(SECONDS)

    server.loop.call_soon_threadsafe(stand)
    assert begun.wait(SECONDS)
    try:
        yield
    finally:
        go_on.set()


@pytest.fixture(params=["uvloop", "asyncio"])
def slow(request: pytest.FixtureRequest) -> Iterator[tuple[Slow, Running]]:
    made = Slow()
    server = Running(
        lambda: Http1Server(made.app, "127.0.0.1", 0, router=made.router), request.param
    )
    with server:
        made.running = server
        yield made, server
        server.until(lambda: server.connections() == 0, "all connections of the test are gone")
        assert server.pool.turns.held == 0


def post(path: bytes, body: bytes) -> bytes:
    return POST % (path, len(body), body)


def test_others_are_answered_between_the_bodies_of_a_flood(slow: tuple[Slow, Running]) -> None:
    made, server = slow
    sent = [(b"/flood", LARGE)] * 6 + [(b"/other", LARGE), (b"/small", b"a")]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in sent]
        server.until(lambda: server.connections() == len(sent), "all are connected")
        with standing_still(server):
            for client, (path, body) in zip(clients, sent, strict=True):
                client.send(post(path, body))
        for client, (_, body) in zip(clients, sent, strict=True):
            assert client.answer().body == b"%d" % len(body)
    assert made.order == ["/flood", "/small", "/flood", "/other", *["/flood"] * 4]


def test_a_body_in_pieces_waits_its_turn_as_well(slow: tuple[Slow, Running]) -> None:
    made, server = slow
    body = LARGE * 100  # more than is read at once
    with contextlib.ExitStack() as stack:
        flood, other = (stack.enter_context(server.client()) for _ in range(2))
        flood.send(post(b"/flood", body) * 2)
        other.send(post(b"/other", body))
        assert [flood.answer().body for _ in range(2)] == [b"%d" % len(body)] * 2
        assert other.answer().body == b"%d" % len(body)
    assert sorted(made.order) == ["/flood", "/flood", "/other"]


def test_who_has_gone_is_passed_over(slow: tuple[Slow, Running]) -> None:
    made, server = slow
    with contextlib.ExitStack() as stack:
        first, cuts, *gone = (stack.enter_context(server.client()) for _ in range(5))
        server.until(lambda: server.connections() == 5, "all are connected")
        with standing_still(server):
            first.send(post(b"/first", LARGE))
            cuts.send(post(b"/cut", LARGE))
            for client in gone:
                client.send(post(b"/gone", LARGE))
        assert first.answer().status == cuts.answer().status == 200
        server.until(lambda: server.connections() == 2, "the others are gone")
    assert made.order == ["/first", "/cut"]
