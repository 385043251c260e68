"""The artifact store over NATS's object store."""

import io
import tempfile

from nats.js import api
from nats.js.errors import NotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from driftloop.bus.bus import Bus
from driftloop.bus.provision import ARTIFACTS_BUCKET
from driftloop.contracts.errors import Reject
from driftloop.contracts.names import digest


class ArtifactMissing(Reject):
    """No artifact of this digest is kept."""


class ArtifactCorrupt(Reject):
    """What is kept under a digest has another one."""


class Artifacts:
    """Puts and gets bytes; the name of an artifact is its SHA-256, so it cannot be replaced."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._store: ObjectStore | None = None

    async def put(self, data: bytes) -> str:
        """Keep `data`; returns its SHA-256. Keeping the same bytes again costs a look-up."""
        name = digest(data)
        store = await self._bucket()
        try:
            await store.get_info(name)
        except (NotFoundError, ObjectNotFoundError):
            await store.put(name, io.BytesIO(data), meta=api.ObjectMeta(description=f"{len(data)} bytes"))
        return name

    async def get(self, sha256: str) -> bytes:
        """The bytes of a digest, verified; raises `ArtifactMissing` or `ArtifactCorrupt`."""
        store = await self._bucket()
        with tempfile.SpooledTemporaryFile(max_size=256 << 20) as into:
            try:
                await store.get(sha256, writeinto=into)  # type: ignore[arg-type]  # any writable will do
            except (NotFoundError, ObjectNotFoundError) as error:
                raise ArtifactMissing(f"artifact {sha256}: is not in the store") from error
            into.seek(0)
            data = into.read()
        if digest(data) != sha256:
            raise ArtifactCorrupt(f"artifact {sha256}: the bytes kept have digest {digest(data)}")
        return data

    async def _bucket(self) -> ObjectStore:
        if self._store is None:
            self._store = await self._bus.connection.js.object_store(ARTIFACTS_BUCKET)
        return self._store
