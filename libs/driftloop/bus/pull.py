"""Pulling messages: a standing request to the consumer, and what has arrived handed over at once.

nats-py's `fetch` waits to fill its batch and asks anew each time; here a request is always
outstanding, so a lone message is seen at once and a backlog comes in groups.
"""

import asyncio
import json
import time
from collections import deque
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

EXPIRES: Final = 5.0
HEARTBEAT: Final = 1.0
MAX_BYTES: Final = 16 << 20
"""Bytes one request may bring: more at once and the server takes the connection for a slow one."""
SILENCE: Final = 3.0
"""Seconds without a message or a heartbeat after which the request is taken for lost."""


class Pull:
    """A standing pull of up to `window` messages from one consumer."""

    def __init__(self, nc: Client, stream: str, consumer: str, window: int) -> None:
        self._nc = nc
        self._ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._window = window
        self._credit = 0
        self._heard = 0.0
        self._ready: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self.lost = False
        """True once the consumer is gone: it has to be made anew."""

    async def open(self) -> None:
        """Subscribe the inbox; the first request leaves with the first `next`."""
        self._inbox = self._nc.new_inbox()
        self._subscription = await self._nc.subscribe(
            self._inbox, cb=self._on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    async def next(
        self,
        most: int,
        timeout: float,  # noqa: ASYNC109  # running out of it is an answer, not an error
    ) -> list[Msg]:
        """Up to `most` messages as soon as there is one; an empty list after `timeout` seconds."""
        if not self._ready:
            self._arrived.clear()  # before asking: an answer may come while the request leaves
            await self._request()
            try:
                await asyncio.wait_for(self._arrived.wait(), timeout)
            except TimeoutError:
                return []
        group = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        await self._request()
        return group

    def silent(self) -> bool:
        """True when a request is out and neither a message nor a heartbeat has come for a while."""
        return self._credit > 0 and time.monotonic() - self._heard > SILENCE

    async def close(self) -> list[Msg]:
        """Unsubscribe; returns what had arrived and was not handed over."""
        if self._subscription is not None and not self._nc.is_closed:
            await self._subscription.unsubscribe()
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
        self._heard = now
        ask = {
            "batch": wanted,
            "max_bytes": MAX_BYTES,
            "expires": int(EXPIRES * 1e9),
            "idle_heartbeat": int(HEARTBEAT * 1e9),
        }
        await self._nc.publish(self._ask, json.dumps(ask).encode(), reply=self._inbox)

    async def _on_message(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if message.reply:
            self._credit -= 1
            self._ready.append(message)
        elif message.headers is not None:
            self._on_status(message.headers)
        self._arrived.set()

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status", "")
        if status == "100":
            return
        unfilled = headers.get("Nats-Pending-Messages", "")
        self._credit = max(0, self._credit - int(unfilled)) if unfilled.isdigit() else 0
        text = headers.get("Description", "").lower()
        if status == "503" or (
            status in ("404", "409") and "consumer" in text and "pending" not in text
        ):
            self.lost = True
