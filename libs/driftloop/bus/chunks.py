"""Small objects of the object store, read message by message.

The client's own way makes a consumer for each object read, which the server keeps for some seconds
after: a service that loads many models would leave hundreds behind.
"""

import base64
from typing import Final

import msgspec
from nats.js.errors import NotFoundError

from driftloop.bus.connection import Connection
from driftloop.bus.retry import transient

MOST: Final = 16
"""Chunks (128 KiB each) up to which messages are read one by one; beyond, a consumer is quicker."""


class _About(msgspec.Struct):
    """What the object store keeps of an object, as far as it is read here."""

    nuid: str = ""
    chunks: int = 0
    size: int = 0
    deleted: bool = False


async def small(connection: Connection, bucket: str, name: str) -> bytes | None:
    """The bytes of an object of `MOST` chunks at most, unchecked; None if it has more.

    None, too, for an object that is not there, or not whole: the object store says why. Raises
    `Retry` if the broker does not answer.
    """
    js, stream = connection.js, f"OBJ_{bucket}"
    key = base64.urlsafe_b64encode(name.encode()).decode()
    data, seq = b"", 0
    with transient(f"{bucket}/{name}"):
        try:
            meta = await js.get_msg(stream, subject=f"$O.{bucket}.M.{key}")
            about = msgspec.json.decode(meta.data or b"{}", type=_About)
            if about.deleted or not 0 < about.chunks <= MOST:
                return None
            for _ in range(about.chunks):
                where = f"$O.{bucket}.C.{about.nuid}"
                chunk = await js.get_msg(stream, seq + 1, where, next=True)
                data, seq = data + (chunk.data or b""), int(chunk.seq or 0)
        except (NotFoundError, msgspec.DecodeError):
            return None
    return data if len(data) == about.size else None
