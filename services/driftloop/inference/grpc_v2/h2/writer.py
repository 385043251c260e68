"""What a connection sends: answers within the windows that the peer grants."""

import asyncio
import struct
from collections.abc import Callable
from typing import Final

from driftloop.inference.grpc_v2.h2.frames import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    HEAD,
    MOST_WINDOW,
    Code,
    Flag,
    Kind,
    PeerFault,
    Setting,
    frame,
    number,
)
from driftloop.inference.grpc_v2.h2.hpack import STATIC, TABLE_BYTES, kept, literal
from driftloop.inference.grpc_v2.h2.streams import Stream

_STATUS_200: Final = b"\x88"  # entry 8 of the static table
_TYPE: Final = ("content-type", "application/grpc")
_OK: Final = ("grpc-status", "0")
_ENDS: Final = Flag.END_HEADERS | Flag.END_STREAM
_NO_TABLE: Final = b"\x20"  # the dynamic table has 0 bytes from now on
_LARGEST_FRAME: Final = 1 << 16


class Writer:
    """Frames to send: gathered within one turn of the event loop, written at once."""

    def __init__(self, transport: asyncio.Transport, closed: Callable[[Stream], None]) -> None:
        self._transport = transport
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._window = DEFAULT_WINDOW
        self._first_window = DEFAULT_WINDOW
        self._frame_bytes = DEFAULT_FRAME
        self._stalled: dict[int, Stream] = {}
        self._known: list[tuple[str, str]] = []
        self._literal = False
        self._told = b""
        self._repeated = (b"", b"")

    def put(self, data: bytes) -> None:
        """Send bytes with all else of this turn."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Write what is gathered."""
        if self._out and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def whole(self, stream: Stream, body: bytes) -> None:
        """Send the answer of a call that has one, and end the call."""
        size = len(body)
        framed = size + 5
        if framed > min(self._window, self._first_window + stream.credit, self._frame_bytes):
            self.message(stream, body)
            self.end(stream)
            return
        self._window -= framed
        if self._repeated[0]:
            first, last = self._repeated
        else:
            first, last = self._first(), self._fields(_OK)
            self._repeated = self._first(), self._fields(_OK)
        self.put(
            b"".join(
                (
                    HEAD.pack(0, len(first), Kind.HEADERS, Flag.END_HEADERS, stream.id),
                    first,
                    HEAD.pack(framed >> 8, framed & 255, Kind.DATA, 0, stream.id),
                    b"\0",
                    size.to_bytes(4, "big"),
                    body,
                    HEAD.pack(0, len(last), Kind.HEADERS, _ENDS, stream.id),
                    last,
                )
            )
        )
        self._closed(stream)

    def message(self, stream: Stream, body: bytes) -> None:
        """Send one message of an answer."""
        if not stream.started:
            stream.started = True
            fields = self._first()
            self.put(frame(Kind.HEADERS, Flag.END_HEADERS, stream.id, fields))
        stream.backlog += b"\0"
        stream.backlog += number(len(body))
        stream.backlog += body
        self._pump(stream)

    def end(self, stream: Stream, trailers: bytes = b"") -> None:
        """End an answer, by default as one that went well, after what it has in the backlog."""
        stream.trailers = trailers
        self._pump(stream)

    def refuse(self, stream: Stream, fields: bytes) -> None:
        """End a call with an error; `fields` are its trailers, all of them literals."""
        told, self._told = self._told, b""
        if not stream.started:
            fields = told + _STATUS_200 + literal(*_TYPE) + fields
        self.end(stream, fields)

    def forget(self, stream: Stream) -> None:
        """Send no more of an answer."""
        self._stalled.pop(stream.id, None)

    def widen(self, by: int) -> None:
        """The peer takes so many bytes more, of all streams together."""
        if self._window + by > MOST_WINDOW:
            raise PeerFault(Code.FLOW_CONTROL_ERROR, "the connection's window is too large")
        self._window += by
        self._pump_all()

    def widen_one(self, stream: Stream, by: int) -> None:
        """The same of one stream."""
        if self._first_window + stream.credit + by > MOST_WINDOW:
            raise PeerFault(Code.FLOW_CONTROL_ERROR, "a stream's window is too large")
        stream.credit += by
        if stream.id in self._stalled:
            self._pump(stream)

    def agree(self, payload: bytes) -> None:
        """Keep to the peer's settings, and say so."""
        if len(payload) % 6:
            raise PeerFault(Code.FRAME_SIZE_ERROR, "settings are not 6 bytes each")
        for key, value in struct.iter_unpack(">HI", payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                if value > MOST_WINDOW:
                    raise PeerFault(Code.FLOW_CONTROL_ERROR, "the first window is too large")
                self._first_window = value
                self._pump_all()
            elif key == Setting.MAX_FRAME_SIZE:
                self._frame_bytes = min(max(value, DEFAULT_FRAME), _LARGEST_FRAME)
            elif key == Setting.HEADER_TABLE_SIZE and value < TABLE_BYTES and not self._literal:
                self._literal = True
                self._repeated = (b"", b"")
                self._told = _NO_TABLE
        self.put(frame(Kind.SETTINGS, Flag.END_STREAM, 0))

    def _first(self) -> bytes:
        """The fields that begin an answer."""
        fields = self._fields(_TYPE)
        if fields.startswith(_NO_TABLE):  # a change of the table stands before all fields
            return _NO_TABLE + _STATUS_200 + fields[1:]
        return _STATUS_200 + fields

    def _fields(self, field: tuple[str, str]) -> bytes:
        """A field, by its place in the peer's table where it is there."""
        if self._literal:
            told, self._told = self._told, b""
            return told + literal(*field)
        if field in self._known:
            return bytes((0x80 | len(STATIC) + len(self._known) - self._known.index(field),))
        self._known.append(field)
        return kept(*field)

    def _pump_all(self) -> None:
        for stream in list(self._stalled.values()):
            self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Send of the backlog what the windows let through; the trailers when all is sent."""
        while stream.backlog:
            room = min(self._window, self._first_window + stream.credit, self._frame_bytes)
            if room <= 0:
                self._stalled[stream.id] = stream
                return
            part = bytes(stream.backlog[:room])
            del stream.backlog[:room]
            self._window -= len(part)
            stream.credit -= len(part)
            self.put(frame(Kind.DATA, 0, stream.id, part))
        self._stalled.pop(stream.id, None)
        if stream.trailers is not None:
            fields = stream.trailers or self._fields(_OK)
            self.put(frame(Kind.HEADERS, _ENDS, stream.id, fields))
            if not stream.ended:
                self.put(frame(Kind.RST_STREAM, 0, stream.id, number(Code.NO_ERROR)))
            self._closed(stream)
