"""A lease: a key that its holder writes again and again, and that is free when it is gone.

The values of the bucket live `LEASE_SECONDS` by the server's clock. The holder writes its own every
`RENEW_SECONDS`, on condition that it is still there (compare-and-swap on the revision).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Final

from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from driftloop.bus.connection import Connection
from driftloop.bus.publish import WRONG_LAST_SEQUENCE, Conflict
from driftloop.bus.retry import transient
from driftloop.contracts.errors import Retry

log = logging.getLogger(__name__)

BUCKET: Final = "OWNERS"
LEASE_SECONDS: Final = 3.0
RENEW_SECONDS: Final = 1.0
LIVES: Final = "Nats-TTL"
"""How long a message lives: https://docs.nats.io/learn/jetstream/message-ttl"""
FREE: Final = b"free"
"""The value of a lease that was given back, for the shortest time a message may live."""
FREE_SECONDS: Final = "1s"
NONE: Final[Mapping[str, str]] = {}


class Lease:
    """One key of the bucket, held in the name `token`."""

    def __init__(self, connection: Connection, key: str, token: str) -> None:
        self._connection = connection
        self._subject = f"$KV.{BUCKET}.{key}"
        self._token = token.encode()
        self._revision = 0
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether it is ours as far as is known here: nobody else's, and renewed in time."""
        return time.monotonic() < self._until

    async def keep(self) -> None:
        """Take it if it is free and was not ours; renew it if it was. See `held` for the result."""
        sent = time.monotonic()
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                self._revision = await self._write()
        except Conflict:
            self._revision, self._until = 0, 0.0
        except (Retry, TimeoutError) as error:
            log.warning("%s: not renewed: %s", self._subject, error)
        else:
            self._until = sent + LEASE_SECONDS

    async def _write(self) -> int:
        with transient(self._subject):
            try:
                return await self._put(self._revision, self._token)
            except APIError as error:
                if error.err_code not in WRONG_LAST_SEQUENCE:
                    raise
            return await self._put(await self._ours(), self._token)

    async def _put(self, revision: int, value: bytes, extra: Mapping[str, str] = NONE) -> int:
        header = str(api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value)
        ack = await self._connection.js.publish(
            self._subject, value, headers={header: str(revision), **extra}
        )
        return ack.seq

    async def _ours(self) -> int:
        """The revision if it is ours (a renewal was written, and not said so) or was given back."""
        try:
            last = await self._connection.js.get_last_msg(f"KV_{BUCKET}", self._subject)
        except NotFoundError:
            last = api.RawStreamMsg()
        if last.data not in (self._token, FREE):
            raise Conflict(f"{self._subject} is another's, or was not renewed in time")
        return int(last.seq or 0)

    async def give_back(self) -> None:
        """Make it free within a second; one that is somebody else's by now stays as it is."""
        self._until = 0.0
        if not self._revision:
            return
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS):
                await self._put(self._revision, FREE, {LIVES: FREE_SECONDS})
        self._revision = 0
