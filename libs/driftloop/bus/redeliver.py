"""Giving a dead letter back to the consumer that could not use it, and to nobody else.

Published where it was, the message would be heard by every other consumer of its subject a second
time, would count as sent twice, and could not be conditional on its place. So whoever consumes also
answers requests on `redeliver.<consumer>`: a request carries a letter, and the answer comes when it
was handled and what it led to is stored.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError

from driftloop.bus import letters, requests
from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered, Outgoing
from driftloop.bus.publish import publish_all
from driftloop.contracts import headers
from driftloop.contracts.errors import Reject
from driftloop.contracts.requests import REDELIVER_SECONDS, redeliver

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

Handle = Callable[[Delivered], Awaitable[None]]


async def serve(connection: Connection, consumer: str, handle: Handle) -> None:
    """Take letters of `consumer` back; what `handle` raises goes to who asked."""

    async def asked(request: requests.Request) -> requests.Reply:
        letter = Delivered(
            subject=request.subject,
            payload=request.payload,
            headers=request.headers,
            stream=letters.STREAM,
            seq=0,
            time=float(request.headers.get(letters.TIME, "0")),
        )
        await handle(letters.original(letter))
        return requests.Reply(payload=b"")

    with contextlib.suppress(NatsError):  # away for a moment: the subscription is made again
        await requests.serve(connection, redeliver(consumer), asked)


async def say(connection: Connection, said: Sequence[Outgoing]) -> None:
    """Publish what a handler said; a dead letter among it is its error, and the letter stays."""
    for message in said:
        if message.subject.startswith("dead."):
            raise Reject(message.headers.get(headers.REASON, message.subject))
    await publish_all(connection, said)


async def give_back(bus: "Bus", found: Delivered) -> None:
    """Hand a letter to its consumer; raises what that raises, and `Retry` if it is not there."""
    consumer = letters.letter(found).service
    await bus.ask(
        redeliver(consumer),
        found.payload,
        headers=letters.sendable(found) | {letters.TIME: str(found.time)},
        timeout=REDELIVER_SECONDS,
    )
