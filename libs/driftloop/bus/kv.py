"""State in KV buckets: typed, cached for reading, written by compare-and-set."""

import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from nats.js import JetStreamContext
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from nats.js.kv import KeyValue

from driftloop.bus.connection import Connection
from driftloop.bus.publish import WRONG_LAST_SEQUENCE, Conflict
from driftloop.bus.retry import transient

T = TypeVar("T")

FRESH_SECONDS = 3.0


class Entry(NamedTuple, Generic[T]):
    """A value and the revision it was read at (0: it does not exist)."""

    value: T | None
    revision: int


class Bucket(Generic[T]):
    """One bucket of values of one type, a key each model."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
    ) -> None:
        self._connection = connection
        self._name = name
        self._encode = encode
        self._decode = decode
        self._kv: KeyValue | None = None
        self._cache: dict[str, tuple[float, Entry[T]]] = {}
        self._keys: tuple[float, list[str]] = (-FRESH_SECONDS, [])

    async def read(self, key: str) -> Entry[T]:
        """The value as it is now."""
        with transient(f"{self._name}/{key}"):
            kv = await self._bucket()
            try:
                found = await kv.get(key)
            except KeyNotFoundError:
                entry: Entry[T] = Entry(None, 0)
            else:
                entry = Entry(self._decode(found.value or b""), int(found.revision or 0))
        if entry.revision:  # names nobody knows must not fill the memory
            self._cache[key] = (time.monotonic(), entry)
        return entry

    async def get(self, key: str) -> T | None:
        """The value, at most `FRESH_SECONDS` old."""
        read_at, entry = self._cache.get(key, (-FRESH_SECONDS, Entry(None, 0)))
        if time.monotonic() - read_at >= FRESH_SECONDS:
            entry = await self.read(key)
        return entry.value

    def forget(self, key: str) -> None:
        """Read anew the next time: somebody said that the value changed."""
        self._cache.pop(key, None)

    async def write(self, key: str, value: T, revision: int) -> int:
        """Write if the key is still at `revision`; returns the new one, raises `Conflict`."""
        payload = self._encode(value)
        try:
            with transient(f"{self._name}/{key}"):
                return await self._write(key, payload, revision)
        finally:
            self.forget(key)

    async def _write(self, key: str, payload: bytes, revision: int) -> int:
        kv = await self._bucket()
        try:
            if revision:
                return int(await kv.update(key, payload, revision))
            return int(await kv.create(key, payload))
        except APIError as error:
            if (
                isinstance(error, KeyWrongLastSequenceError)
                or error.err_code in WRONG_LAST_SEQUENCE
            ):
                where = f"{self._name}/{key}"
                raise Conflict(
                    f"{where} is no longer at revision {revision}", delay=0.05
                ) from error
            raise

    async def keys(self) -> list[str]:
        """All keys, sorted."""
        with transient(self._name):
            kv = await self._bucket()
            try:
                found = sorted(await kv.keys())
            except NoKeysError:
                found = []
        self._keys = (time.monotonic(), found)
        return found

    async def known(self) -> list[str]:
        """The same, at most `FRESH_SECONDS` old: to name them costs as much as many reads."""
        read_at, found = self._keys
        return found if time.monotonic() - read_at < FRESH_SECONDS else await self.keys()

    async def _bucket(self) -> KeyValue:
        if self._kv is None:
            js: JetStreamContext = self._connection.js
            self._kv = await js.key_value(self._name)
        return self._kv
