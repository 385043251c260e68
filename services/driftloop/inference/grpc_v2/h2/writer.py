"""What a connection sends: answers within the windows that the peer grants."""

import asyncio
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from driftloop.inference.grpc_v2.faults import TooLarge
from driftloop.inference.grpc_v2.h2.allowance import CALL, Allowance
from driftloop.inference.grpc_v2.h2.frames import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
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
from driftloop.inference.grpc_v2.h2.limits import REFUSED
from driftloop.inference.grpc_v2.h2.streams import Stream

if TYPE_CHECKING:
    from driftloop.inference.grpc_v2.h2.pool import Pool

_STATUS_200: Final = b"\x88"  # entry 8 of the static table
_TYPE: Final = ("content-type", "application/grpc")
_OK: Final = ("grpc-status", "0")
_ENDS: Final = Flag.END_HEADERS | Flag.END_STREAM
_NO_TABLE: Final = b"\x20"  # the dynamic table has 0 bytes from now on
_LARGEST_FRAME: Final = 1 << 16
_FLUSH_BYTES: Final = 1 << 18
"""What is written at once of answers that windows held back."""
_SLOWEST_BYTES: Final = 1 << 14
"""What a slow reader has to take within the time allowed."""
_WHOLE: Final = struct.Struct(">5sI2s HBHIBI")
"""HEADERS frame with two bytes, then head and prefix of the DATA frame behind it."""
_LAST: Final = struct.Struct(">5sIc")
"""HEADERS frame with one byte."""


class Writer:
    """Frames to send: gathered within one turn of the event loop, written at once."""

    def __init__(self, pool: "Pool", transport: asyncio.Transport, allowance: Allowance) -> None:
        self.closed: Callable[[Stream], None]
        """Is told of each call whose end is sent."""
        self.paused = False
        """The transport takes no more: what is ready waits in the backlog of its call."""
        self._pool = pool
        self._transport = transport
        self._allowance = allowance
        self._out: list[bytes] = []
        self._window = DEFAULT_WINDOW
        self._first_window = DEFAULT_WINDOW
        self._frame_bytes = DEFAULT_FRAME
        self._stalled: dict[int, Stream] = {}
        self._unsent = 0
        self._known: list[tuple[str, str]] = []
        self._literal = False
        self._told = b""
        self._repeated = (b"", b"")
        """The fields of most answers, once the peer's table has them: places in the table."""

    def put(self, data: bytes) -> None:
        """Send bytes with all else of this turn."""
        if not self._out:
            self._pool.loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Write what is gathered."""
        if self._out and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def pause(self, paused: bool) -> None:
        """The transport is full, or takes more again."""
        self.paused = paused
        if not paused:
            self._pump_all()

    def whole(self, stream: Stream, body: bytes) -> None:
        """Send the answer of a call that has one, and end the call.

        Raises `TooLarge` as `message` does.
        """
        size = len(body)
        framed = size + 5
        first, last = self._repeated
        if (
            framed > self._window
            or framed > self._first_window + stream.credit
            or framed > self._frame_bytes
            or self.paused
            or not first
            or not stream.ended
        ):
            self.message(stream, body)
            self.end(stream)
            return
        self._window -= framed
        id = stream.id
        made = _WHOLE.pack(b"\0\0\2\1\4", id, first, framed >> 8, framed & 255, 0, id, 0, size)
        self.put(b"%b%b%b" % (made, body, _LAST.pack(b"\0\0\1\1\5", id, last)))
        self._allowance.earn(CALL)
        self.closed(stream)

    def message(self, stream: Stream, body: bytes) -> None:
        """Send one message of an answer.

        Raises `TooLarge` where it can neither be sent nor kept; the call can still be ended.
        """
        if not stream.started:
            stream.started = True
            self._fields_frame(stream, Flag.END_HEADERS, _STATUS_200 + self._field(_TYPE))
        if not isinstance(stream.backlog, bytearray):
            stream.backlog = bytearray()
        stream.backlog += b"\0" + number(len(body)) + body
        self._hold(len(body) + 5)
        self._pump(stream)
        limits = self._pool.limits
        if stream.backlog and (
            self._unsent > limits.unsent_bytes or self._pool.unsent > limits.all_unsent_bytes
        ):
            self.forget(stream)
            REFUSED.labels("unsent").inc()
            raise TooLarge(f"answer: {self._unsent} bytes of answers wait for room; read faster")

    def end(self, stream: Stream, trailers: bytes = b"") -> None:
        """End an answer, by default as one that went well, after what it has in the backlog."""
        stream.trailers = trailers
        self._pump(stream)

    def refuse(self, stream: Stream, fields: bytes) -> None:
        """End a call with an error; `fields` are its trailers, all of them literals."""
        if not stream.started:
            fields = _STATUS_200 + literal(*_TYPE) + fields
        self.end(stream, fields)

    def deny(self, stream: Stream, status: int) -> None:
        """Answer what is no call of gRPC with a status of HTTP alone."""
        self.end(stream, literal(":status", str(status)))

    def forget(self, stream: Stream) -> None:
        """Send no more of an answer."""
        self._stalled.pop(stream.id, None)
        if stream.backlog:
            self._hold(-len(stream.backlog))
            stream.backlog = b""

    def stuck(self, now: float, seconds: float) -> list[Stream]:
        """The calls whose answer the peer has not let on for so long."""
        found = []
        for stream in self._stalled.values():
            if not stream.since or stream.moved >= _SLOWEST_BYTES:
                stream.since, stream.moved = now, 0
            elif now - stream.since > seconds:
                found.append(stream)
        return found

    def widen(self, by: int) -> None:
        """The peer takes so many bytes more, of all streams together."""
        if self._window + by > MOST_WINDOW:
            raise PeerFault(Code.FLOW_CONTROL_ERROR, "the connection's window is too large")
        self._window += by
        self._pump_all()

    def widen_one(self, stream: Stream, by: int) -> bool:
        """The same of one stream; false where that is more than a window may be."""
        if self._first_window + stream.credit + by > MOST_WINDOW:
            return False
        stream.credit += by
        if stream.id in self._stalled:
            self._pump(stream)
        return True

    def agree(self, given: list[tuple[int, int]]) -> None:
        """Keep to the peer's settings, and say so."""
        for key, value in given:
            if key == Setting.INITIAL_WINDOW_SIZE:
                self._first_window = value
                if any(value + its.credit > MOST_WINDOW for its in self._stalled.values()):
                    raise PeerFault(Code.FLOW_CONTROL_ERROR, "a stream's window is too large")
            elif key == Setting.MAX_FRAME_SIZE:
                self._frame_bytes = min(value, _LARGEST_FRAME)
            elif key == Setting.HEADER_TABLE_SIZE and value < TABLE_BYTES and not self._literal:
                self._literal = True
                self._repeated = (b"", b"")
                self._told = _NO_TABLE
        self.put(frame(Kind.SETTINGS, Flag.ACK, 0))
        self._pump_all()

    def _hold(self, size: int) -> None:
        self._unsent += size
        self._pool.unsent += size

    def _fields_frame(self, stream: Stream, flags: int, fields: bytes) -> None:
        """A change of the table's size stands before the fields that come first after it."""
        told, self._told = self._told, b""
        self.put(frame(Kind.HEADERS, flags, stream.id, told + fields))

    def _field(self, field: tuple[str, str]) -> bytes:
        """A field, by its place in the peer's table where it is there."""
        if self._literal:
            return literal(*field)
        if field in self._known:
            return bytes((0x80 | len(STATIC) + len(self._known) - self._known.index(field),))
        self._known.append(field)
        return kept(*field)

    def _pump_all(self) -> None:
        for stream in list(self._stalled.values()):
            self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Send of the backlog what the windows let through; the trailers when all is sent."""
        if stream.gone:
            return
        if stream.backlog:
            self._drain(stream)
        if stream.backlog or (self.paused and stream.trailers is None):
            return
        waited = self._stalled.pop(stream.id, None) is not None
        stream.since = 0.0
        if stream.trailers is None:
            if waited:
                self._pool.calls.more(stream)
        else:
            self._fields_frame(stream, _ENDS, stream.trailers or self._field(_OK))
            if not stream.ended:
                self.put(frame(Kind.RST_STREAM, 0, stream.id, number(Code.NO_ERROR)))
            if not self._repeated[0] and len(self._known) == 2 and not self._literal:
                self._repeated = (_STATUS_200 + self._field(_TYPE), self._field(_OK))
            self._allowance.earn(CALL)
            self.closed(stream)

    def _drain(self, stream: Stream) -> None:
        """Send parts of the backlog until it is empty, or there is no room."""
        backlog, sent, pending = stream.backlog, 0, 0
        while backlog and isinstance(backlog, bytearray):
            room = min(self._window, self._first_window + stream.credit, self._frame_bytes)
            if room <= 0 or self.paused:
                self._stalled[stream.id] = stream
                break
            part = bytes(backlog[:room])
            del backlog[:room]  # in place: costs nothing by what is left
            size = len(part)
            self._window -= size
            stream.credit -= size
            self.put(frame(Kind.DATA, 0, stream.id, part))
            sent += size
            pending += size
            if pending > _FLUSH_BYTES:
                pending = 0
                self.flush()
        stream.moved += sent
        self._hold(-sent)
        self._allowance.earn(sent >> 10)
