"""State in KV buckets: typed, cached for reading, written by compare-and-set.

What is kept is dropped when the bucket's log says that it changed, so a look costs one request
however many keys there are, and `bus.changes` gives its reader only what is new. Where there are
keys, a value counts that the bucket's owner has signed; before another, the newest one it signed.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE

from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered
from driftloop.bus.newest import newest
from driftloop.bus.publish import WRONG_LAST_SEQUENCE, Conflict
from driftloop.bus.retry import transient
from driftloop.bus.signed import EXPECTED, forged, sign

if TYPE_CHECKING:
    from driftloop.bus.changes import Changes

log = logging.getLogger(__name__)

T = TypeVar("T")

FRESH_SECONDS: Final = 3.0
KEPT_BYTES: Final = 16 << 20
"""Encoded bytes of the values kept for reading; what was not asked for longest goes."""
STEPS: Final = 64
"""Changes read one by one; when there are more, all is looked at anew."""


class Entry(NamedTuple, Generic[T]):
    """A value and the revision it was read at (0: there never was one)."""

    value: T | None
    revision: int


class Bucket(Generic[T]):
    """One bucket of values of one type, a key each model, written by the service `owner`."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
        owner: str,
    ) -> None:
        self._connection = connection
        self._name = name
        self._owner = owner
        self._encode = encode
        self._decode = decode
        self._cache: OrderedDict[str, tuple[Entry[T], int]] = OrderedDict()
        self._kept = 0
        self._keys: set[str] | None = None
        self._position = -1
        self._checked = -FRESH_SECONDS
        self._turn = asyncio.Lock()

    async def read(self, key: str) -> Entry[T]:
        """The value as it is now."""
        position = self._position
        with transient(f"{self._name}/{key}"):
            found, revision = await self.newest_of(key)
        entry = Entry(None if found is None else self._decode(found), revision)
        # Names nobody knows must not fill the memory; and what was on its way while the log was
        # looked at may be older than what was seen there.
        if entry.value is not None and position == self._position:
            self._keep(key, entry, len(found or b""))
        return entry

    async def newest_of(self, key: str) -> tuple[bytes | None, int]:
        """What the owner wrote last under a key, and the revision to write on."""
        try:
            last = await self._js.get_last_msg(self._stream, f"{self._prefix}{key}")
        except NotFoundError:
            return None, 0
        revision = int(last.seq or 0)
        if not self.forged(last):
            return (None if gone(last) else last.data or b""), revision
        log.error("%s/%s: revision %d: not of %s", self._name, key, revision, self._owner)
        return await self._before(key, revision), revision

    async def _before(self, key: str, revision: int) -> bytes | None:
        """The newest value before a forged one, of those that the bucket has kept."""
        found: bytes | None = None
        seq = 1
        while seq < revision:
            try:
                message = await self._js.get_msg(
                    self._stream, seq=seq, subject=f"{self._prefix}{key}", next=True
                )
            except NotFoundError:
                break
            if not self.forged(message):
                found = None if gone(message) else message.data or b""
            seq = int(message.seq or revision) + 1
        return found

    def forged(self, message: RawStreamMsg | Delivered) -> bool:
        """Whether there are keys, and this was not signed by the bucket's owner."""
        payload = message.payload if isinstance(message, Delivered) else message.data or b""
        about = message.subject or "", message.headers or {}, payload
        return forged(self._connection, self._owner, *about)

    async def get(self, key: str) -> T | None:
        """The value, at most `FRESH_SECONDS` old."""
        if time.monotonic() - self._checked >= FRESH_SECONDS:
            await self._look(FRESH_SECONDS)
        kept = self._cache.get(key)
        if kept is None:
            return (await self.read(key)).value
        self._cache.move_to_end(key)
        return kept[0].value

    def forget(self, key: str) -> None:
        """Read anew the next time: somebody said that the value changed."""
        kept = self._cache.pop(key, None)
        self._kept -= kept[1] if kept is not None else 0

    async def write(self, key: str, value: T, revision: int) -> int:
        """Write if the key is still at `revision`; returns the new one, raises `Conflict`."""
        return await self._put(key, self._encode(value), revision, {})

    async def remove(self, key: str, revision: int) -> int:
        """Remove a key that is still at `revision`; else like `write`."""
        return await self._put(key, b"", revision, {KV_OP: KV_DEL})

    async def _put(self, key: str, payload: bytes, revision: int, headers: dict[str, str]) -> int:
        subject = f"{self._prefix}{key}"
        headers = {**headers, EXPECTED: str(revision)}
        if self._connection.identity is not None:
            headers = sign(self._connection.identity, subject, headers, payload)
        where = f"{self._name}/{key}"
        try:
            with transient(where):
                return await self._publish(where, subject, payload, headers)
        finally:
            self.forget(key)

    async def _publish(
        self, where: str, subject: str, payload: bytes, headers: dict[str, str]
    ) -> int:
        try:
            return int((await self._js.publish(subject, payload, headers=headers)).seq)
        except APIError as error:
            if error.err_code not in WRONG_LAST_SEQUENCE:
                raise
            what = f"{where} is no longer at revision {headers[EXPECTED]}"
            raise Conflict(what, delay=0.05) from error

    async def keys(self) -> list[str]:
        """All keys, sorted, as they are now."""
        await self._look(0.0)
        if self._keys is None:
            with transient(self._name):
                found = await self.newest(headers_only=True)
            self._keys = {key for key, message in found if not gone(message)}
        return sorted(self._keys)

    async def known(self) -> list[str]:
        """The same, at most `FRESH_SECONDS` old."""
        fresh = time.monotonic() - self._checked < FRESH_SECONDS
        return sorted(self._keys) if fresh and self._keys is not None else await self.keys()

    def changes(self) -> "Changes[T]":
        """A reader of all values, and of those that change from then on."""
        from driftloop.bus.changes import Changes  # which reads buckets

        return Changes(self, self._decode)

    def _keep(self, key: str, entry: Entry[T], size: int) -> None:
        self.forget(key)
        self._cache[key] = entry, size
        self._kept += size
        while self._kept > KEPT_BYTES and len(self._cache) > 1:
            self.forget(next(iter(self._cache)))

    async def _look(self, fresh: float) -> None:
        """Forget what changed since the last look, if that is `fresh` seconds ago."""
        asked = time.monotonic()
        async with self._turn:
            if self._checked > asked - fresh:
                return
            began, last = time.monotonic(), await self.last()
            if not 0 <= last - self._position <= STEPS or self._position < 0:
                self._cache.clear()
                self._kept, self._keys, self._position = 0, None, last
            async for key, message in self.after(self._position, last):
                self.forget(key)
                if self._keys is not None:
                    (self._keys.discard if gone(message) else self._keys.add)(key)
                self._position = message.seq or self._position
            self._position, self._checked = max(self._position, last), began

    async def last(self) -> int:
        """The last sequence of the log beneath the bucket."""
        with transient(self._name):
            return int((await self._js.stream_info(self._stream)).state.last_seq)

    async def after(self, seq: int, last: int) -> AsyncIterator[tuple[str, RawStreamMsg]]:
        """What was written after `seq`, up to `last`, with its key; a few messages at most."""
        while seq < last:
            with transient(self._name):
                try:
                    message = await self._js.get_msg(
                        self._stream, seq=seq + 1, subject=f"{self._prefix}>", next=True
                    )
                except NotFoundError:
                    return
            seq = int(message.seq or last)
            yield (message.subject or "").removeprefix(self._prefix), message

    async def newest(self, *, headers_only: bool = False) -> list[tuple[str, Delivered]]:
        """The last thing written under each key, removals included."""
        found = await newest(
            self._connection, self._stream, f"{self._prefix}>", headers_only=headers_only
        )
        return [(message.subject.removeprefix(self._prefix), message) for message in found]

    @property
    def name(self) -> str:
        """The name of the bucket."""
        return self._name

    @property
    def _js(self) -> JetStreamContext:
        return self._connection.js

    @property
    def _stream(self) -> str:
        return f"KV_{self._name}"

    @property
    def _prefix(self) -> str:
        return f"$KV.{self._name}."


def gone(message: RawStreamMsg | Delivered) -> bool:
    """Whether a message of the log beneath a bucket removes its key."""
    return (message.headers or {}).get(KV_OP) in (KV_DEL, KV_PURGE)
