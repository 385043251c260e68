"""One NATS connection a process: reconnects for ever, and says why it is not ready."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from faststream.nats import NatsBroker
from faststream.nats.security import NatsNKey, NatsSecurity
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from driftloop.bus.identity import Identity, Login, Trust
from driftloop.bus.stored import Stored
from driftloop.bus.wire import Direct, block_of, wired

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 5.0
PENDING_BYTES = 64 << 20
END_SECONDS = 1.0
CANCELLATIONS = 5
LATE_ANSWER = 'publish to "_inbox.'
"""In what the broker says to an answer that it does not let through: a server that was restarted
has forgotten who asked. Who asked asks again; nothing is wrong with who answers."""


NOBODY = Login()


class Connection:
    """The FastStream broker, its nats-py client and JetStream, and the state of the line."""

    def __init__(
        self,
        url: str,
        service: str,
        on_closed: Callable[[], None] | None = None,
        login: Login = NOBODY,
    ) -> None:
        self.url = url
        self.service = service
        self.login = login
        self.forged = 0
        """Messages whose signature was not that of their owner."""
        self.denied = ""
        """What the broker refused last; a service that wants what it may not have is not ready."""
        self.denials = 0
        self.drops = 0
        """How often the line was lost: what was in flight then is never answered."""
        self._said = ""
        self._stopping = False
        self._on_closed = on_closed
        self.broker = NatsBroker(
            [part.strip() for part in url.split(",")],
            name=service,
            apply_types=False,
            logger=None,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            pending_size=PENDING_BYTES,
            security=_security(login),
            inbox_prefix=login.inbox,
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
            waited = f"no connection within {CONNECT_SECONDS:g} s"
            why = str(error) or ": ".join(filter(None, (waited, self._said)))
            raise ConnectionError(f"no NATS server answers at {self.url}: {why}") from error
        self.wire = wired(self.nc)
        self.js: JetStreamContext = self.nc.jetstream()

    @property
    def identity(self) -> Identity | None:
        """Whose key this process has; None where there are no keys."""
        return self.login.identity

    @property
    def trust(self) -> Trust | None:
        """The public keys of all users; None where there are no keys, and nothing is verified."""
        return self.login.trust

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
        return self.denied or self.stored.problem()

    async def close(self) -> None:
        """Drain subscriptions and publishes, then leave."""
        self._stopping = True
        if self._client is None or self._client.is_closed:
            return
        if not await _ended(self.broker.stop(), CLOSE_SECONDS):
            log.warning("nats: left without draining")  # the broker is away: nobody to drain to
            await _ended(self._client.close(), END_SECONDS)

    async def _error(self, error: Exception) -> None:
        self._said = str(error)
        if "permissions violation" in self._said.lower():
            self.denials += 1
            if LATE_ANSWER not in self._said.lower():
                self.denied = self._said
        log.warning("nats: %s", error)

    async def _disconnected(self) -> None:
        self.drops += 1
        if not self._stopping:
            log.warning("nats: disconnected from %s", self.url)

    async def _closed(self) -> None:
        if not self._stopping and self._on_closed is not None:
            log.error("nats: connection closed for good")
            self._on_closed()


def _security(login: Login) -> NatsSecurity | None:
    tls = ssl.create_default_context(cafile=login.ca) if login.ca else None
    if login.identity is not None:
        return NatsNKey.from_seed(login.identity.seed(), ssl_context=tls)
    return NatsSecurity(ssl_context=tls) if tls is not None else None


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
