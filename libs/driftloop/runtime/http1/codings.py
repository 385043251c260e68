"""Content codings (RFC 9110, section 8.4): gzip and deflate bodies in, gzip answers out."""

import re
import zlib
from typing import Final

from driftloop.runtime.http1.refusals import Refused

ACCEPTED: Final = b"accept-encoding: gzip, deflate\r\n"
"""Goes with a 415: the codings of a request body that are read."""

COMPRESS_FROM: Final = 1024
"""Bytes an answer must have more than, to be compressed."""

COMPRESS_TO: Final = 4 * 1024 * 1024
"""Bytes of the largest answer that is compressed; a larger one would hold up the event loop."""

_WINDOW = {b"gzip": 31, b"deflate": 15}  # as zlib reads them: with a gzip or a zlib header
_PACKED = re.compile(rb"(?:image|audio|video|font)/(?!svg)|application/(?:zip|gzip|zstd)")
_QUALITY = re.compile(rb"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)


def coding_of(value: bytes) -> bytes:
    """The coding a `content-encoding` names: gzip, deflate or empty for none.

    Raises `Refused` with 415 for any other, several after one another included.
    """
    name = value.strip().lower()
    if name in (b"", b"identity"):
        return b""
    name = b"gzip" if name == b"x-gzip" else name
    if name not in _WINDOW:
        text = name[:40].decode("latin-1")
        detail = f"content-encoding: {text!r}; accepted: gzip or deflate, once"
        raise Refused(415, detail, ACCEPTED)
    return name


def inflate(coding: bytes, data: bytes, limit: int) -> bytes:
    """The body behind `coding`: one gzip member (RFC 1952) or one zlib stream (RFC 1950).

    Never makes more than `limit` + 1 bytes. Raises `Refused`: 413 beyond the limit, 400 for what
    is damaged, cut short or followed by something else.
    """
    name = coding.decode()
    unpacker = zlib.decompressobj(_WINDOW[coding])
    try:
        body = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise Refused(400, f"body: not {name} ({error})") from error
    if len(body) > limit:
        raise Refused(413, f"body: too large once inflated; accepted: at most {limit} bytes")
    if not unpacker.eof:
        raise Refused(400, f"body: {name} data is cut short")
    if unpacker.unused_data:
        raise Refused(400, f"body: {len(unpacker.unused_data)} bytes after the end of the {name}")
    return body


def accepts_gzip(value: bytes) -> bool:
    """Whether an `accept-encoding` takes gzip, and not less gladly than no coding at all."""
    quality: dict[bytes, float] = {}
    for entry in value.lower().split(b","):
        name, _, rest = entry.partition(b";")
        found = _QUALITY.fullmatch(rest) if rest else None
        if rest and found is None:
            continue
        quality[name.strip()] = float(found[1]) if found else 1.0
    gzip = quality.get(b"gzip", quality.get(b"x-gzip", quality.get(b"*", 0.0)))
    return gzip > 0 and gzip >= quality.get(b"identity", 0.0)


def worth_it(content_type: bytes, size: int) -> bool:
    """Whether an answer of `size` bytes and this type is compressed for clients that take it."""
    return COMPRESS_FROM < size <= COMPRESS_TO and _PACKED.match(content_type.lower()) is None


def compress(body: bytes) -> bytes:
    """The body as one gzip member, at the fastest level."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
