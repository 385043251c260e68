"""What a service and the process of a shadow say to each other: a header, then so many bytes.

The line is a socket pair. First goes `MODEL`, answered by `READY` or `REFUSED`; then each `JOB` is
answered by `ANSWER` or `FAILED` of the same number.
"""

import socket
import struct
from typing import Final, NamedTuple

MODEL: Final = 1
"""The bytes of a model; rows and columns are its features and its width."""
JOB: Final = 2
"""A matrix of float32, row by row."""
READY: Final = 3
REFUSED: Final = 4
"""The model may not answer; a text that says why."""
ANSWER: Final = 5
"""A matrix of float32, row by row."""
FAILED: Final = 6
"""The run raised; a text that says how."""

TEXT_BYTES: Final = 4_096
"""Longest text."""

_HEADER: Final = struct.Struct("<BIIIQ")
HEADER_BYTES: Final = _HEADER.size


class Header(NamedTuple):
    """What the bytes after it are: `length` of them."""

    kind: int
    job: int
    rows: int
    columns: int
    length: int

    def encode(self) -> bytes:
        """The header as it goes over the line."""
        return _HEADER.pack(*self)


def decode(raw: bytes | bytearray) -> Header:
    """The header in `HEADER_BYTES` bytes."""
    return Header(*_HEADER.unpack(raw))


def receive(line: socket.socket, length: int) -> bytearray | None:
    """So many bytes of a blocking line; None when it has ended."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = line.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return data
