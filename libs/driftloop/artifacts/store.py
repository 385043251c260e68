"""The artifact store over NATS's object store."""

import asyncio
import re
from typing import Final

from driftloop.bus import chunks
from driftloop.bus.bus import Bus
from driftloop.bus.objects import Damaged, Objects
from driftloop.bus.provision import ARTIFACTS_BUCKET
from driftloop.contracts.errors import Reject
from driftloop.contracts.names import digest

INLINE_BYTES: Final = 64 << 10
"""Up to so many bytes a digest takes less time than a thread would."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")


class ArtifactMissing(Reject):
    """No artifact of this digest is kept."""


class ArtifactCorrupt(Reject):
    """What is kept under a digest has another one."""


class Artifacts:
    """Puts and gets bytes; the name of an artifact is its SHA-256, so it cannot be replaced."""

    def __init__(self, bus: Bus) -> None:
        self._connection = bus.connection
        self._objects = Objects(bus.connection, ARTIFACTS_BUCKET)

    async def put(self, data: bytes) -> str:
        """Keep `data`; returns its SHA-256. Keeping the same bytes again costs a look-up."""
        name = digest(data)
        await self._objects.put(name, data)
        return name

    async def get(self, sha256: str) -> bytes:
        """The bytes of a digest, verified; raises `ArtifactMissing` or `ArtifactCorrupt`."""
        about = f"artifact {sha256[:80]}"
        if not _DIGEST.match(sha256):
            raise ArtifactMissing(f"{about}: is no digest; accepted: 64 hexadecimal characters")
        data = await chunks.small(self._connection, ARTIFACTS_BUCKET, sha256)
        if data is None:
            try:
                data = await self._objects.get(sha256)
            except Damaged as error:
                raise ArtifactCorrupt(f"{about}: {error}") from error
        if data is None:
            raise ArtifactMissing(f"{about}: is not in the store")
        found = await _digest(data)
        if found != sha256:
            raise ArtifactCorrupt(f"{about}: the bytes kept have digest {found}")
        return data


async def _digest(data: bytes) -> str:
    """The digest; 10 MB would hold up a service for 9 ms."""
    return digest(data) if len(data) <= INLINE_BYTES else await asyncio.to_thread(digest, data)
