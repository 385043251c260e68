"""Content codings (RFC 9110, section 8.4) of a body: gzip and zstd, unpacked up to a bound."""

import asyncio
from typing import Final

import pyarrow as pa

from driftloop.contracts.errors import Reject
from driftloop.runtime.problems import TooLarge, UnsupportedType

ACCEPTED: Final = ("gzip", "zstd")
_PART: Final = 1 << 20
_HERE: Final = 4 << 10
"""Bytes of the largest body unpacked in the event loop; a larger one goes to a thread."""
_AT_ONCE: Final = 2
"""Bodies unpacked at a time; the others wait, so that only so many are beyond what is accounted."""


def coding_of(value: str) -> str:
    """The coding a `content-encoding` names, empty for none.

    Raises `UnsupportedType` for any other, and for several one after another.
    """
    name = value.strip().lower()
    name = "gzip" if name == "x-gzip" else name
    if name in ("", "identity"):
        return ""
    if name not in ACCEPTED:
        raise UnsupportedType(
            f"content-encoding: {value[:80]!r} is not read here;"
            f" accepted: {', '.join(ACCEPTED)}, identity, once"
        )
    return name


def unpack(coding: str, body: bytes, most: int) -> bytes:
    """What is packed in `body`, at most `most` bytes.

    Stops unpacking at the bound and raises `TooLarge`; raises `Reject` for what is damaged, cut
    short or followed by something else.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), coding) as source:
            while part := source.read(min(_PART, most + 1 - size)):
                size += len(part)
                if size > most:
                    raise TooLarge(
                        f"body: more than {most} bytes once unpacked;"
                        f" accepted: at most {most} bytes, split what is larger"
                    )
                parts.append(part)
    except (pa.ArrowException, OSError) as error:
        raise Reject(f"body: not {coding} ({error}); accepted: whole {coding} data") from error
    return b"".join(parts)


class Unpacker:
    """Unpacks large bodies in threads, a few at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def unpack(self, coding: str, body: bytes) -> bytes:
        """The same as `unpack`, without holding up the event loop."""
        if len(body) <= _HERE:
            return unpack(coding, body, self._most)
        async with self._free:
            return await asyncio.to_thread(unpack, coding, body, self._most)
