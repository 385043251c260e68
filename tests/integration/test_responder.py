"""Answers at a high rate, through what nats-py keeps private: a release may take it away."""

import asyncio
from collections.abc import Mapping

import nats
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.responder import Responder
from driftloop.bus.wire import Heard, headers_of
from driftloop.contracts.errors import InvalidInput, Retry
from driftloop.local.nats import NatsServer

DEADLINE = 20.0


class Echo:
    """Answers with what was asked, as soon as it is heard."""

    def __init__(self, bus: Bus) -> None:
        self.responder: Responder = bus.responder()
        self.heard: list[Mapping[str, str]] = []

    def hear(self, asked: list[Heard]) -> None:
        for subject, to, block, body in asked:
            headers = headers_of(block) if block else {}
            self.heard.append(headers)
            if body == b"bug":
                raise KeyError("a bug")
            if body == b"bad":
                self.responder.fail(to, InvalidInput("body: bad"))
            else:
                self.responder.answer(to, subject + b" " + body, "text/plain" * bool(headers))


@pytest.fixture
async def echo(bus: Bus) -> Echo:
    made = Echo(bus)
    await made.responder.start("echo.*", made.hear)
    return made


async def test_each_of_many_requests_has_its_answer(echo: Echo, nats_server: NatsServer) -> None:
    async with await nats.connect(nats_server.url) as client:
        asked = [b"%d" % at + b"x" * (at * 97 % 9_000) for at in range(500)]
        answers = await asyncio.gather(
            *(client.request(f"echo.{at}", body, DEADLINE) for at, body in enumerate(asked))
        )
        assert [a.data for a in answers] == [b"echo.%d " % at + b for at, b in enumerate(asked)]
        assert {a.header is None for a in answers} == {True}
        answer = await client.request("echo.a", b"", DEADLINE, headers={"content-type": "any"})
        assert answer.headers == {"content-type": "text/plain"}
        assert echo.heard[-1] == {"content-type": "any"}
        # Nothing went the long way, and what is for nobody is left alone.
        await client.publish("echo.b", b"no reply")
        assert (await client.request("echo.c", b"", DEADLINE)).data == b"echo.c "
    assert len(echo.heard) == 502


async def test_errors_are_raised_again_and_cost_no_other_its_answer(echo: Echo, bus: Bus) -> None:
    with pytest.raises(InvalidInput, match="body: bad"):
        await bus.ask("echo.a", b"bad", timeout=DEADLINE)
    with pytest.raises(Exception, match=r"internal error \(KeyError\)"):
        await bus.ask("echo.a", b"bug", timeout=DEADLINE)
    assert (await bus.ask("echo.a", b"good", timeout=DEADLINE)).payload == b"echo.a good"


async def test_answers_to_many_at_once_each_have_their_header_and_bound(
    bus: Bus, nats_server: NatsServer
) -> None:
    responder = bus.responder()
    longest = bus.connection.nc.max_payload
    held: list[Heard] = []

    def hear(asked: list[Heard]) -> None:
        held.extend(asked)
        if len(held) == 3:
            bodies = [b"1", b"x" * (longest + 1), b"3"]
            responder.answer_each([request[1] for request in held], bodies, "text/plain")

    await responder.start("many", hear)
    async with await nats.connect(nats_server.url) as client:
        answers = await asyncio.gather(*(client.request("many", b"", DEADLINE) for _ in range(3)))
    assert [answer.data for answer in answers][::2] == [b"1", b"3"]
    assert answers[0].headers == {"content-type": "text/plain"}
    assert b"ask for less" in answers[1].data


async def test_it_goes_on_after_the_line_was_lost(
    echo: Echo, bus: Bus, nats_server: NatsServer
) -> None:
    nats_server.kill()
    nats_server.start()
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                answer = await bus.ask("echo.a", b"again", timeout=1.0)
                break
            except Retry:
                await asyncio.sleep(0.05)
    assert answer.payload == b"echo.a again"
