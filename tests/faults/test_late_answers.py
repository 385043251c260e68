"""A broker that was restarted has forgotten who asked: an answer to them is denied, and no more."""

import asyncio
import contextlib

import pytest

from driftloop.bus.connection import Connection
from driftloop.bus.requests import Reply, Request, ask
from driftloop.client.client import Client
from driftloop.contracts import requests
from driftloop.contracts.errors import Retry
from tests.support.flows import eventually
from tests.support.secured import Secured, broker

__all__ = ["broker"]


@pytest.mark.fault(11, "NATS is killed while a service has a request to answer")
async def test_who_answers_too_late_is_ready_and_answers_the_next_request(
    broker: Secured,
) -> None:
    heard, go = asyncio.Event(), asyncio.Event()
    async with broker.user("ingest") as bus:

        async def answer(_: Request) -> Reply:
            heard.set()
            await go.wait()
            return Reply(payload=b"yes")

        await bus.serve("ingest.*.rows", answer)
        await bus.start()
        key = f"{broker.keys}/client.nk"
        async with Client(broker.server.url, key=key, timeout=0.5) as client:
            connection = client._connection
            lost = asyncio.create_task(asked(connection))
            await heard.wait()
            broker.server.kill()
            broker.server.start()

            async def again() -> bool:
                lines = bus.connection, connection
                return all(line.drops and line.nc.is_connected for line in lines)

            await eventually(again, "both are connected again")
            go.set()

            async def denied() -> bool:
                return bus.connection.denials > 0

            await eventually(denied, "the late answer is denied")
            with contextlib.suppress(Retry):
                await lost
            assert bus.connection.problem() == ""
            assert await asked(connection) == b"yes"


async def asked(connection: Connection) -> bytes:
    subject = requests.send("rain", "rows")
    return (await ask(connection, subject, b"", timeout=5.0)).payload
