"""What became of the values of a bucket: all of them first, and then those that changed."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from driftloop.bus.kv import STEPS, Bucket, gone
from driftloop.bus.retry import transient
from driftloop.contracts.errors import Retry

T = TypeVar("T")

ALL_SECONDS: Final = 30.0
"""How long reading a whole bucket may take."""


class Changes(Generic[T]):
    """What became of the values of a bucket; nothing is kept but revisions."""

    def __init__(self, bucket: Bucket[T], decode: Callable[[bytes], T]) -> None:
        self._bucket = bucket
        self._decode = decode
        self._revisions: dict[str, int] = {}
        self._position = -1

    async def next(self) -> dict[str, T | None]:
        """The values that changed since the last call, None for those removed; at first all.

        Raises `Retry` if the broker does not answer; then nothing is left out of the next call.
        """
        last = await self._bucket.last()
        if self._position < 0 or not 0 <= last - self._position <= STEPS:
            found = await self._all()
        else:
            found = {}
            async for key, message in self._bucket.after(self._position, last):
                if not self._bucket.forged(message):
                    value = None if gone(message) else message.data or b""
                    found[key] = value, int(message.seq or 0)
        made = {key: self._value(value) for key, (value, _) in found.items()}
        for key, (value, revision) in found.items():
            if value is None:
                self._revisions.pop(key, None)
            else:
                self._revisions[key] = revision
        self._position = max([last, *(revision for _, revision in found.values())])
        return made

    def _value(self, data: bytes | None) -> T | None:
        return None if data is None else self._decode(data)

    async def _all(self) -> dict[str, tuple[bytes | None, int]]:
        """What is there now and is not known at that revision, and what is there no more."""
        there: dict[str, tuple[bytes | None, int]] = {}
        try:
            async with asyncio.timeout(ALL_SECONDS):
                await self._read_all(there)
        except TimeoutError as error:
            what = f"{self._bucket.name}: not read within {ALL_SECONDS:g} s"
            raise Retry(what) from error
        new = {k: its for k, its in there.items() if self._revisions.get(k) != its[1]}
        return new | {key: (None, 0) for key in self._revisions if key not in there}

    async def _read_all(self, into: dict[str, tuple[bytes | None, int]]) -> None:
        with transient(self._bucket.name):
            for key, message in await self._bucket.newest():
                if self._bucket.forged(message):
                    into[key] = await self._bucket.newest_of(key)
                elif not gone(message):
                    into[key] = message.payload, message.seq
