"""Back-pressure: how far validation is behind, and how much of requests is in memory."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Overloaded
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

LAG = metrics.gauge("ingest_lag", "Messages of rows that validation has not handled yet")
HELD = metrics.gauge("ingest_held_bytes", "Bytes of requests under way")

CONSUMER = "validation-rows"


class Lag:
    """The backlog of validation, looked up every now and then."""

    def __init__(self, bus: Bus, most: int, seconds: float) -> None:
        self._bus = bus
        self._most = most
        self._seconds = seconds
        self.messages = 0

    def check(self) -> None:
        """Raise `Overloaded` when validation is too far behind to take more."""
        if self.messages > self._most:
            raise Overloaded(
                f"rows: validation is {self.messages} batches behind;"
                f" accepted: at most {self._most}, try again",
                delay=max(1.0, self._seconds),
            )

    async def watch(self) -> None:
        """Keep it current until the service stops."""
        while not self._bus.stopping.is_set():
            try:
                self.messages = await self._bus.log.lag("ROWS", CONSUMER)
                LAG.set(self.messages)
            except Exception as error:  # the broker is away for a while: the last figure stands
                log.warning("lag of %s: %s", CONSUMER, error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bus.stopping.wait(), self._seconds)


class Room:
    """Memory for requests under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold `size` bytes meanwhile; raises `Overloaded` when too much is held already."""
        if self._held and self._held + size > self._most:
            raise Overloaded(
                f"body: {self._held} bytes of requests are under way;"
                f" accepted: at most {self._most}, try again"
            )
        self._held += size
        HELD.set(self._held)
        try:
            yield
        finally:
            self._held -= size
            HELD.set(self._held)
