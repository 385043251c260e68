"""One NATS connection a process: reconnects for ever, and says why it is not ready."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from driftloop.bus.identity import Identity
from driftloop.bus.stored import Stored
from driftloop.bus.wire import Direct, block_of, wired

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 5.0
PENDING_BYTES = 64 << 20
END_SECONDS = 1.0
CANCELLATIONS = 5


class Connection:
    """The FastStream broker, its nats-py client and JetStream, and the state of the line."""

    def __init__(
        self,
        url: str,
        service: str,
        on_closed: Callable[[], None] | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.url = url
        self.service = service
        self.identity = identity
        self.denied = ""
        self.drops = 0
        """How often the line was lost: what was in flight then is never answered."""
        self._stopping = False
        self._on_closed = on_closed
        self.broker = NatsBroker(
            url,
            name=service,
            apply_types=False,
            logger=None,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            pending_size=PENDING_BYTES,
            nkeys_seed_str=identity.seed() if identity is not None else None,
            error_cb=self._error,
            closed_cb=self._closed,
            disconnected_cb=self._disconnected,
        )
        self._client: Client | None = None
        self.stored = Stored(self)
        """Publishes into streams, with the acknowledgements of this connection."""

    async def open(self) -> None:
        """Connect; raises `ConnectionError` naming the address when nobody answers."""
        try:
            # The client itself would try for ever, and no caller could say that it gave up.
            self._client = await asyncio.wait_for(self.broker.connect(), CONNECT_SECONDS)
        except Exception as error:
            why = str(error) or f"no connection within {CONNECT_SECONDS:g} s"
            raise ConnectionError(f"no NATS server answers at {self.url}: {why}") from error
        self.wire = wired(self.nc)
        self.js: JetStreamContext = self.nc.jetstream()

    @property
    def nc(self) -> Client:
        """The nats-py client."""
        if self._client is None:
            raise ConnectionError("the bus is not connected")
        return self._client

    async def hear(self, subject: str, heard: Direct, queue: str = "") -> Subscription:
        """Subscribe; messages that came together are handed over together, at once.

        They go past nats-py, so what it does for a subscription (bounds of what waits, draining)
        does not hold. `unhear` ends it.
        """

        async def early(message: Msg) -> None:  # what comes before `heard` is in its place
            block = block_of(message.headers) if message.headers else b""
            heard([(message.subject.encode(), message.reply.encode(), block, message.data)])

        made = await self.nc.subscribe(subject, queue=queue, cb=early)
        self.wire.direct[b"%d" % made._id] = heard
        return made

    async def unhear(self, subscription: Subscription) -> None:
        """End such a subscription."""
        self.wire.direct.pop(b"%d" % subscription._id, None)
        if not self.nc.is_closed:
            await subscription.unsubscribe()

    async def write(self, lines: Sequence[bytes]) -> bool:
        """Write protocol lines, past what nats-py has in its queue; False if the line is down.

        nats-py has no public way to send several messages at once, and a `publish` for each costs
        more than all the rest. `tests/integration/test_responder.py` fails when a release no longer
        has this. Returns when there is room for more.
        """
        transport = self.nc._transport
        try:
            if self.nc.is_connected and transport is not None:
                transport.writelines(list(lines))
                await transport.drain()  # type: ignore[no-untyped-call]
                return True
        except (AttributeError, OSError, RuntimeError) as error:  # it went while this was written
            log.debug("write: %s", error)
        return False

    def problem(self) -> str:
        """Why the connection is not usable, or an empty text."""
        if self._client is None or not self._client.is_connected:
            return f"not connected to NATS at {self.url}"
        return self.denied

    async def close(self) -> None:
        """Drain subscriptions and publishes, then leave."""
        self._stopping = True
        if self._client is None or self._client.is_closed:
            return
        if not await _ended(self.broker.stop(), CLOSE_SECONDS):
            log.warning("nats: left without draining")  # the broker is away: nobody to drain to
            await _ended(self._client.close(), END_SECONDS)

    async def _error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self.denied = str(error)
        log.warning("nats: %s", error)

    async def _disconnected(self) -> None:
        self.drops += 1
        if not self._stopping:
            log.warning("nats: disconnected from %s", self.url)

    async def _closed(self) -> None:
        if not self._stopping and self._on_closed is not None:
            log.error("nats: connection closed for good")
            self._on_closed()


async def _ended(leaving: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether leaving went well within `seconds`; if it has not ended then, it is made to.

    Over a dead line the client may raise nearly anything or wait for ever, and it takes one
    cancellation for its own, so that it has to be told again.
    """
    task = asyncio.create_task(leaving)
    await asyncio.wait([task], timeout=seconds)
    for _ in range(CANCELLATIONS):
        if task.done():
            break
        task.cancel()
        await asyncio.wait([task], timeout=0.2)
    if task.cancelled() or not task.done():
        return False
    if error := task.exception():
        log.warning("nats: %s", error)
    return error is None
