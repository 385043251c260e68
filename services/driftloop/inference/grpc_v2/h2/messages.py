"""The messages in the data of a call: a prefix of 5 bytes, perhaps compressed, bounded."""

import zlib
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2.faults import TooLarge

PREFIX_BYTES: Final = 5
"""A flag (1: compressed), and the length of the message in 4 bytes."""
_GZIP_OR_ZLIB: Final = 47


def size_of(data: bytes | bytearray) -> int:
    """The length that the prefix tells; 0 where the prefix is not whole."""
    return int.from_bytes(data[1:PREFIX_BYTES], "big") if len(data) >= PREFIX_BYTES else 0


def check_size(size: int, most: int) -> None:
    """Raise `TooLarge` for a message over the bound."""
    if size > most:
        raise TooLarge(f"body: {size} bytes are too many; accepted: at most {most}")


def check_whole(data: bytes, most: int, encoding: str) -> None:
    """Raise why `data` is not one message of at most `most` bytes, plain or in `encoding`."""
    size = size_of(data)
    check_size(size, most)
    if len(data) != PREFIX_BYTES + size or len(data) < PREFIX_BYTES:
        raise InvalidInput(f"body: its {len(data)} bytes are not one message; accepted: one")
    if data[0] > 1 or (data[0] == 1 and encoding == "identity"):
        raise InvalidInput("body: its compression is not named; accepted: grpc-encoding gzip")


def inflated(data: bytes, most: int, encoding: str) -> bytes:
    """What a compressed message (with its prefix) holds.

    Raises `InvalidInput` for bytes that are not so compressed, `TooLarge` where more than `most`
    bytes come out; no more than that is ever made.
    """
    inflater = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        made = inflater.decompress(data[PREFIX_BYTES:], most + 1)
    except zlib.error as error:
        raise InvalidInput(f"body: is not {encoding}: {error}") from error
    check_size(len(made), most)
    if not inflater.eof:
        raise InvalidInput(f"body: its {encoding} ends too early")
    if inflater.unused_data:
        raise InvalidInput(f"body: has bytes behind its {encoding}")
    return made
