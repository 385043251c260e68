"""The chunked transfer coding of a request body (RFC 9112, section 7.1), read strictly."""

import re
from typing import Final

from driftloop.runtime.http1.refusals import Refused, shown

LINE_BYTES: Final = 256
"""Most bytes of one size line, its extensions included."""

EXTENSION_BYTES: Final = 16 * 1024
"""Most bytes of all chunk extensions of one body."""

TRAILER_BYTES: Final = 8 * 1024
"""Most bytes of the trailer section."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class Chunked:
    """Takes one chunked body out of a connection's input, in as many pieces as it comes.

    Extensions and trailers are bounded, checked and dropped. Raises `Refused`: 400 for what is not
    the chunked coding, 413 for more than `limit` bytes.
    """

    __slots__ = ("_after", "_extensions", "_left", "_limit", "_trailers", "body")

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        self._left = -1  # bytes the chunk still has to bring; -1: a size line comes next
        self._after = False  # the data of a chunk is here, its CRLF is not
        self._extensions = 0
        self._trailers = -1  # bytes of trailers so far; -1: not there yet

    def feed(self, data: bytearray) -> bool:
        """Take what is here from the front of `data`; true once the body is complete."""
        while True:
            if self._trailers >= 0:
                return self._end(data)
            if self._after:
                if len(data) < 2:
                    return False
                if data[:2] != b"\r\n":
                    raise Refused(400, f"chunk: longer than its size, at {shown(bytes(data[:8]))}")
                del data[:2]
                self._after, self._left = False, -1
            if self._left < 0:
                if not self._size(data):
                    return False
            elif not self._data(data):
                return False

    def _line(self, data: bytearray, most: int, what: str) -> bytes | None:
        end = data.find(b"\n", 0, most + 2)
        if end < 0:
            if len(data) >= most + 2:
                raise Refused(400, f"{what}: more than {most} bytes")
            return None
        line = bytes(data[: end + 1])
        del data[: end + 1]
        if line[-2:] != b"\r\n":
            raise Refused(400, f"{what}: {shown(line)} does not end in CRLF")
        return line[:-2]

    def _size(self, data: bytearray) -> bool:
        line = self._line(data, LINE_BYTES, "chunk size line")
        if line is None:
            return False
        found = _SIZE.fullmatch(line)
        if found is None:
            raise Refused(400, f"chunk size: {shown(line)}; accepted: hexadecimal digits")
        self._extensions += len(line) - found.end(1)
        if self._extensions > EXTENSION_BYTES:
            raise Refused(400, f"chunk extensions: more than {EXTENSION_BYTES} bytes in all")
        size = int(found[1], 16)
        if len(self.body) + size > self._limit:
            raise Refused(413, f"body: too large; accepted: at most {self._limit} bytes")
        if size:
            self._left = size
        else:
            self._trailers = 0
        return True

    def _data(self, data: bytearray) -> bool:
        if len(data) <= self._left:
            self.body += data
            self._left -= len(data)
            data.clear()
        else:
            with memoryview(data)[: self._left] as piece:
                self.body += piece
            del data[: self._left]
            self._left = 0
        self._after = self._left == 0
        return self._after

    def _end(self, data: bytearray) -> bool:
        while (line := self._line(data, TRAILER_BYTES - self._trailers, "trailers")) is not None:
            if not line:
                return True
            if _TRAILER.fullmatch(line) is None:
                raise Refused(400, f"trailer: {shown(line)}; accepted: name: value")
            self._trailers += len(line) + 2
            if self._trailers >= TRAILER_BYTES:
                raise Refused(400, f"trailers: more than {TRAILER_BYTES} bytes")
        return False
