"""Pulling messages: a standing request to the consumer, and what has arrived handed over at once.

nats-py's `fetch` waits to fill its batch and asks anew each time; here a request is always
outstanding, so a lone message is seen at once and a backlog comes in groups.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from nats.aio.subscription import Subscription

from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered
from driftloop.bus.wire import Heard, headers_of, read_headers

EXPIRES: Final = 5.0
HEARTBEAT: Final = 1.0
MAX_BYTES: Final = 16 << 20
"""Bytes one request may bring: more at once and the server takes the connection for a slow one."""
SILENCE: Final = 3.0
"""Seconds without a message or a heartbeat after which the request is taken for lost."""


class Pulled(NamedTuple):
    """A message as it came; its reply subject says where it stands in stream and consumer."""

    subject: str
    reply: str
    headers: bytes
    payload: bytes

    def delivered(self) -> Delivered:
        """The message as handlers see it."""
        headers = read_headers(self.headers) if self.headers else {}
        return delivered(self.subject, self.reply, headers, self.payload)

    @property
    def consumer_seq(self) -> int:
        """How many messages the consumer has delivered with this one."""
        return int(_place(self.reply)[4])

    @property
    def pending(self) -> int:
        """How many messages the consumer had not given out when it gave out this one."""
        return int(_place(self.reply)[6])


def delivered(subject: str, reply: str, headers: Mapping[str, str], payload: bytes) -> Delivered:
    """A message of a consumer as handlers see it; `reply` is where it would be acknowledged."""
    stream, _, attempt, seq, _, nanoseconds, *_ = _place(reply)
    return Delivered(
        subject=subject,
        payload=payload,
        headers=headers,
        stream=stream,
        seq=int(seq),
        attempt=int(attempt) or 1,
        time=int(nanoseconds) * 1e-9,
    )


def _place(reply: str) -> list[str]:
    """Stream, consumer, attempt, sequence in both, time and pending messages.

    The subject is `$JS.ACK.` and these; newer servers put domain and account before them.
    https://docs.nats.io/reference/reference-protocols/nats_api_reference
    """
    tokens = reply.split(".")
    return tokens[2:] if len(tokens) == 9 else tokens[4:]


class Pull:
    """A standing pull of up to `window` messages from one consumer."""

    def __init__(self, connection: Connection, stream: str, consumer: str, window: int) -> None:
        self._connection = connection
        self._ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._window = window
        self._credit = 0
        self._heard_at = 0.0
        self._ready: deque[Pulled] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self.lost = False
        """True once the consumer is gone: it has to be made anew."""

    async def open(self) -> None:
        """Subscribe the inbox; the first request leaves with the first `next`."""
        self._inbox = self._connection.nc.new_inbox()
        self._subscription = await self._connection.hear(self._inbox, self._heard)

    async def next(
        self,
        most: int,
        timeout: float,  # noqa: ASYNC109  # running out of it is an answer, not an error
    ) -> list[Pulled]:
        """Up to `most` messages as soon as there is one; an empty list after `timeout` seconds."""
        return await self.take(most) if await self.arrived(timeout) else []

    async def arrived(
        self,
        timeout: float,  # noqa: ASYNC109  # running out of it is an answer, not an error
    ) -> bool:
        """Wait until something has arrived, so many seconds at most; whether it has."""
        if not self._ready:
            self._arrived.clear()  # before asking: an answer may come while the request leaves
            await self._request()
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return False
        return bool(self._ready)  # or it was a heartbeat

    async def take(self, most: int, most_bytes: int = MAX_BYTES) -> list[Pulled]:
        """Up to `most` messages that have arrived, and so many bytes or one message."""
        group: list[Pulled] = []
        while self._ready and len(group) < most:
            most_bytes -= len(self._ready[0].payload)
            if group and most_bytes < 0:
                break
            group.append(self._ready.popleft())
        await self._request()
        return group

    def silent(self) -> bool:
        """True when a request is out and neither a message nor a heartbeat has come for a while."""
        return self._credit > 0 and time.monotonic() - self._heard_at > SILENCE

    async def close(self) -> list[Pulled]:
        """Unsubscribe; returns what had arrived and was not handed over."""
        if self._subscription is not None:
            await self._connection.unhear(self._subscription)
        left = list(self._ready)
        self._ready.clear()
        return left

    async def _request(self) -> None:
        now = time.monotonic()
        if self.silent():
            self._credit = 0
        if self._credit + len(self._ready) > self._window // 2:
            return
        wanted = self._window - self._credit - len(self._ready)
        self._credit += wanted
        self._heard_at = now
        ask = {
            "batch": wanted,
            "max_bytes": MAX_BYTES,
            "expires": int(EXPIRES * 1e9),
            "idle_heartbeat": int(HEARTBEAT * 1e9),
        }
        message = json.dumps(ask).encode()
        await self._connection.nc.publish(self._ask, message, reply=self._inbox)

    def _heard(self, heard: list[Heard]) -> None:
        self._heard_at = time.monotonic()
        for subject, reply, headers, payload in heard:
            if reply:
                self._credit -= 1
                self._ready.append(Pulled(subject.decode(), reply.decode(), headers, payload))
            elif headers:
                self._on_status(headers)
        self._arrived.set()

    def _on_status(self, block: bytes) -> None:
        line, _, _ = block.partition(b"\r\n")
        _, status, *words = line.decode().split(" ", 2)
        if status == "100":
            return
        unfilled = headers_of(block).get("Nats-Pending-Messages", "")
        self._credit = max(0, self._credit - int(unfilled)) if unfilled.isdigit() else 0
        text = "".join(words).lower()
        if status == "503" or (
            status in ("404", "409") and "consumer" in text and "pending" not in text
        ):
            self.lost = True
