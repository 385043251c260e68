"""Frames of HTTP/2 (RFC 9113, section 6): numbers, flags, and how one is written."""

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = struct.Struct(">HBBBI")
HEAD_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME: Final = 16_384
MOST_WINDOW: Final = 2**31 - 1
LARGEST_FRAME: Final = 2**24 - 1


class Kind:
    """Frame types; plain numbers, because they are compared for every frame."""

    DATA: Final = 0
    HEADERS: Final = 1
    PRIORITY: Final = 2
    RST_STREAM: Final = 3
    SETTINGS: Final = 4
    PUSH_PROMISE: Final = 5
    PING: Final = 6
    GOAWAY: Final = 7
    WINDOW_UPDATE: Final = 8
    CONTINUATION: Final = 9


class Flag:
    """Frame flags; ACK has the same bit as END_STREAM."""

    END_STREAM: Final = 1
    ACK: Final = 1
    END_HEADERS: Final = 4
    PADDED: Final = 8
    PRIORITY: Final = 32


class Setting(IntEnum):
    """Settings that are read or sent."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Error codes (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class PeerFault(Exception):
    """A fault of the peer after which the connection ends; `code` tells it which."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def number(value: int) -> bytes:
    """A number of 4 bytes, as WINDOW_UPDATE and RST_STREAM hold it."""
    return value.to_bytes(4, "big")


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    parts = [struct.pack(">HI", key, value) for key, value in values.items()]
    return frame(Kind.SETTINGS, 0, 0, b"".join(parts))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a SETTINGS frame, in their order, those that are not known among them.

    Raises `PeerFault` for a value that section 6.5.2 forbids.
    """
    if len(payload) % 6:
        raise PeerFault(Code.FRAME_SIZE_ERROR, "settings are not 6 bytes each")
    found = list(struct.iter_unpack(">HI", payload))
    for key, value in found:
        if key == Setting.ENABLE_PUSH and value > 1:
            raise PeerFault(Code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if key == Setting.INITIAL_WINDOW_SIZE and value > MOST_WINDOW:
            raise PeerFault(Code.FLOW_CONTROL_ERROR, "the first window is too large")
        if key == Setting.MAX_FRAME_SIZE and not DEFAULT_FRAME <= value <= LARGEST_FRAME:
            raise PeerFault(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
    return found


def unpadded(payload: bytes) -> bytes:
    """What a padded frame holds."""
    if not payload or payload[0] >= len(payload):
        raise PeerFault(Code.PROTOCOL_ERROR, "a frame has more padding than bytes")
    return payload[1 : len(payload) - payload[0]]


def sized(payload: bytes, size: int, what: str) -> None:
    """Raise `PeerFault` unless the payload has the one size that its frame type has."""
    if len(payload) != size:
        raise PeerFault(Code.FRAME_SIZE_ERROR, f"{what} of {len(payload)} bytes; accepted: {size}")


def of_all(stream: int, what: str) -> None:
    """Raise `PeerFault` for a frame about the whole connection that names a stream."""
    if stream:
        raise PeerFault(Code.PROTOCOL_ERROR, f"{what} belongs to no single stream")
