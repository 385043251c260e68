"""The server's side of one HTTP/2 connection: frames in, streams with their data out."""

import asyncio
from typing import Any, Final

from driftloop.inference.grpc_v2.h2.frames import (
    DEFAULT_WINDOW,
    HEAD,
    HEAD_BYTES,
    MOST_WINDOW,
    PREFACE,
    Code,
    Flag,
    Kind,
    PeerFault,
    Setting,
    frame,
    number,
    settings,
    unpadded,
)
from driftloop.inference.grpc_v2.h2.hpack import Decoder, HpackError
from driftloop.inference.grpc_v2.h2.streams import Calls, Head, Limits, Stream
from driftloop.inference.grpc_v2.h2.writer import Writer
from driftloop.runtime import metrics

FRAME_BYTES: Final = 1 << 16
"""Largest frame accepted."""
BLOCK_BYTES: Final = 1 << 14
"""Largest header block accepted."""
_HEADS: Final = 128
_EXCESS: Final = metrics.counter("grpc_connections_excess", "gRPC connections over the bound")
_CONNECTION_WINDOW: Final = 1 << 30
_CREDIT_AFTER: Final = 1 << 20


class Connection(asyncio.Protocol):
    """Reads frames, keeps streams and windows, and hands on what gRPC has to answer."""

    writer: Writer

    def __init__(self, calls: Calls, limits: Limits, all_: set["Connection"]) -> None:
        self._calls = calls
        self._limits = limits
        self._all = all_
        self._buffer = b""
        self._decoder = Decoder()
        self._heads: dict[bytes, Head] = {}
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._unread = 0
        self._received = 0
        self._going = False
        self._prefaced = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is closed."""
        self._block: tuple[int, int, bytearray] | None = None
        self._transport: Any = None
        self._by_kind = {
            Kind.DATA: self._data,
            Kind.HEADERS: self._headers,
            Kind.RST_STREAM: self._reset,
            Kind.SETTINGS: self._settings,
            Kind.PUSH_PROMISE: self._pushed,
            Kind.PING: self._ping,
            Kind.WINDOW_UPDATE: self._window,
            Kind.CONTINUATION: self._continued,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what is accepted here."""
        self._transport = transport
        if len(self._all) >= self._limits.connections:
            _EXCESS.inc()
            self._transport.abort()
            return
        self._all.add(self)
        self.writer = Writer(self._transport, self.closed)
        said = {
            Setting.MAX_CONCURRENT_STREAMS: self._limits.calls,
            Setting.INITIAL_WINDOW_SIZE: self._first_window(),
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: BLOCK_BYTES,
        }
        wide = number(_CONNECTION_WINDOW - DEFAULT_WINDOW)
        self.writer.put(settings(said) + frame(Kind.WINDOW_UPDATE, 0, 0, wide))

    def connection_lost(self, exc: Exception | None) -> None:
        """Answers of calls under way go nowhere."""
        self._all.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)
        for stream in self._streams.values():
            stream.gone = True
        self._streams.clear()

    def pause_writing(self) -> None:
        """The peer does not read answers: read no more requests."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Read all frames that are complete."""
        if self._buffer:
            data = self._buffer + data
        try:
            self._buffer = data[self._read(data) :]
        except PeerFault as fault:
            self._give_up(fault.code, str(fault))
        except HpackError as error:
            self._give_up(Code.COMPRESSION_ERROR, str(error))

    def leave(self) -> None:
        """Take no new calls; close when those under way are answered."""
        self._going = True
        self.writer.put(frame(Kind.GOAWAY, 0, 0, number(self._last) + number(Code.NO_ERROR)))
        self._close_if_done()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def handed_on(self, stream: Stream, size: int) -> None:
        """So many bytes of `stream.data` are read: the caller may send as many more."""
        del stream.data[:size]
        self._unread -= size
        stream.taken += size
        if stream.taken > self._first_window() // 2 and not stream.ended:
            self.writer.put(frame(Kind.WINDOW_UPDATE, 0, stream.id, number(stream.taken)))
            stream.taken = 0

    def _first_window(self) -> int:
        return min(max(self._limits.message_bytes + 5, DEFAULT_WINDOW), MOST_WINDOW)

    def closed(self, stream: Stream) -> None:
        """The answer of a call is sent, or is not wanted any more."""
        if self._streams.pop(stream.id, None) is not None:
            self._unread -= len(stream.data)
            stream.gone = True
            if self._going:
                self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._streams:
            self.writer.flush()
            self._transport.close()

    def _give_up(self, code: Code, text: str) -> None:
        said = number(self._last) + number(code) + text.encode()
        self.writer.put(frame(Kind.GOAWAY, 0, 0, said))
        self.writer.flush()
        self._buffer = b""
        self._transport.close()

    def _read(self, data: bytes) -> int:
        """Act on the frames in `data`; how many bytes of it were read."""
        at, end = 0, len(data)
        if not self._prefaced:
            if data[: len(PREFACE)] != PREFACE[:end]:
                raise PeerFault(Code.PROTOCOL_ERROR, "this is no HTTP/2")
            if end < len(PREFACE):
                return 0
            self._prefaced, at = True, len(PREFACE)
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            size = high << 8 | low
            if size > FRAME_BYTES:
                raise PeerFault(Code.FRAME_SIZE_ERROR, f"a frame has {size} bytes")
            stop = at + HEAD_BYTES + size
            if stop > end:
                break
            if self._block is not None and kind != Kind.CONTINUATION:
                raise PeerFault(Code.PROTOCOL_ERROR, "a header block is cut by another frame")
            act = self._by_kind.get(kind)
            if act is not None:
                act(stream & MOST_WINDOW, flags, data[at + HEAD_BYTES : stop])
            at = stop
        return at

    def _headers(self, id: int, flags: int, payload: bytes) -> None:
        if flags & Flag.PADDED:
            payload = unpadded(payload)
        if flags & Flag.PRIORITY:
            payload = payload[5:]
        if flags & Flag.END_HEADERS:
            self._opened(id, flags, payload)
        else:
            self._block = (id, flags, bytearray(payload))

    def _continued(self, id: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != id:
            raise PeerFault(Code.PROTOCOL_ERROR, "a header block goes on that was not begun")
        _, first, block = self._block
        block += payload
        if len(block) > BLOCK_BYTES:
            raise PeerFault(Code.ENHANCE_YOUR_CALM, f"a header block has over {BLOCK_BYTES} bytes")
        if flags & Flag.END_HEADERS:
            self._block = None
            self._opened(id, first, bytes(block))

    def _opened(self, id: int, flags: int, block: bytes) -> None:
        """A header block is complete: a new call, or the end of one."""
        head = self._heads.get(block) or self._decoded(block)
        stream = self._streams.get(id)
        if stream is not None:
            if stream.ended or not flags & Flag.END_STREAM:
                raise PeerFault(Code.PROTOCOL_ERROR, "fields within a request")
            self._more(stream, flags)
            return
        if id % 2 == 0:
            raise PeerFault(Code.PROTOCOL_ERROR, f"stream {id} is not a client's")
        if id <= self._last:
            return  # the end of a call that is answered already
        self._last = id
        if self._going or len(self._streams) >= self._limits.calls:
            self.writer.put(frame(Kind.RST_STREAM, 0, id, number(Code.REFUSED_STREAM)))
            return
        self._streams[id] = stream = Stream(id, head)
        if head.status or flags & Flag.END_STREAM:
            self._more(stream, flags)

    def _decoded(self, block: bytes) -> Head:
        if len(block) > BLOCK_BYTES:
            raise PeerFault(Code.ENHANCE_YOUR_CALM, f"a header block has over {BLOCK_BYTES} bytes")
        fields, same = self._decoder.decode(block)
        head = self._calls.head(fields)
        if not same or len(self._heads) >= _HEADS:
            self._heads.clear()
        if same:
            self._heads[block] = head
        return head

    def _data(self, id: int, flags: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > _CREDIT_AFTER:
            self.writer.put(frame(Kind.WINDOW_UPDATE, 0, 0, number(self._received)))
            self._received = 0
        stream = self._streams.get(id)
        if stream is None or stream.ended or stream.gone:
            if id == 0 or id > self._last or (stream is not None and stream.ended):
                raise PeerFault(Code.STREAM_CLOSED, f"data of stream {id}, which is not open")
            return
        if flags & Flag.PADDED:
            payload = unpadded(payload)
        if flags & Flag.END_STREAM and not stream.data and not stream.head.many:
            stream.ended = True
            self._calls.whole(self, stream, payload)
            return
        stream.data += payload
        self._unread += len(payload)
        if len(stream.data) > self._first_window() or self._unread > self._limits.unread_bytes:
            self._calls.excess(self, stream)
        else:
            self._more(stream, flags)

    def _more(self, stream: Stream, flags: int) -> None:
        stream.ended = bool(flags & Flag.END_STREAM)
        if stream.ended and not stream.head.many:
            data = bytes(stream.data)
            self.handed_on(stream, len(data))
            self._calls.whole(self, stream, data)
        else:
            self._calls.more(self, stream)

    def _reset(self, id: int, flags: int, payload: bytes) -> None:
        """The caller wants no answer. A call in the core's hands counts until it is answered."""
        stream = self._streams.get(id)
        if stream is None:
            return
        self.writer.forget(stream)
        held = stream.ended and not stream.head.many and stream.trailers is None
        if held or stream.order:
            stream.gone = True
        else:
            self.closed(stream)

    def _settings(self, id: int, flags: int, payload: bytes) -> None:
        if not flags & Flag.END_STREAM:  # no ACK
            self.writer.agree(payload)

    def _ping(self, id: int, flags: int, payload: bytes) -> None:
        if not flags & Flag.END_STREAM:  # no ACK
            self.writer.put(frame(Kind.PING, Flag.END_STREAM, 0, payload[:8]))

    def _window(self, id: int, flags: int, payload: bytes) -> None:
        by = int.from_bytes(payload, "big") & MOST_WINDOW
        if len(payload) != 4 or by == 0:
            raise PeerFault(Code.PROTOCOL_ERROR, "a window grows by nothing")
        stream = self._streams.get(id)
        if id == 0:
            self.writer.widen(by)
        elif stream is not None:
            self.writer.widen_one(stream, by)

    def _pushed(self, id: int, flags: int, payload: bytes) -> None:
        raise PeerFault(Code.PROTOCOL_ERROR, "a client pushes nothing")
