"""Named bytes in NATS's object store, larger than a message may be."""

import asyncio
import io
from typing import Final

from nats.js import api
from nats.js.errors import DigestMismatchError, NotFoundError
from nats.js.object_store import ObjectStore

from driftloop.bus.connection import Connection
from driftloop.bus.retry import transient
from driftloop.contracts.errors import Reject, Retry

GET_SECONDS: Final = 60.0


class Damaged(Reject):
    """The store's own checksum does not fit the bytes it keeps."""


class Objects:
    """One bucket of the object store. Names are not checked here."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._connection = connection
        self._name = bucket
        self._store: ObjectStore | None = None

    async def put(self, name: str, data: bytes) -> None:
        """Keep `data` under `name` unless there is something already."""
        with transient(f"{self._name}/{name}"):
            store = await self._bucket()
            try:
                await store.get_info(name)
            except NotFoundError:
                about = api.ObjectMeta(description=f"{len(data)} bytes")
                await store.put(name, io.BytesIO(data), meta=about)

    async def get(self, name: str) -> bytes | None:
        """The bytes under `name`, or None; raises `Damaged`."""
        where = f"{self._name}/{name}"
        try:
            # The client would wait for ever for a chunk that is lost.
            async with asyncio.timeout(GET_SECONDS):
                with transient(where):
                    return await self._read(name)
        except TimeoutError as error:
            raise Retry(f"{where}: not read within {GET_SECONDS:g} s") from error

    async def _read(self, name: str) -> bytes | None:
        store = await self._bucket()
        into = io.BytesIO()
        try:
            await store.get(name, writeinto=into)
        except NotFoundError:
            return None
        except DigestMismatchError as error:
            raise Damaged(f"{self._name}/{name}: the bytes kept have another checksum") from error
        return into.getvalue()

    async def _bucket(self) -> ObjectStore:
        if self._store is None:
            self._store = await self._connection.js.object_store(self._name)
        return self._store
