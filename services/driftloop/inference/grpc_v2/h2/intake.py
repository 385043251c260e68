"""The calls of one connection as the peer opens, fills, resets and widens them."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from driftloop.inference.grpc_v2.h2.allowance import CALL, FRAME, TINY, Allowance
from driftloop.inference.grpc_v2.h2.frames import (
    DEFAULT_WINDOW,
    MOST_WINDOW,
    Code,
    Flag,
    Kind,
    PeerFault,
    frame,
    number,
    sized,
    unpadded,
)
from driftloop.inference.grpc_v2.h2.heads import Head
from driftloop.inference.grpc_v2.h2.hpack import Decoder
from driftloop.inference.grpc_v2.h2.limits import REFUSED
from driftloop.inference.grpc_v2.h2.streams import Stream
from driftloop.inference.grpc_v2.h2.writer import Writer

if TYPE_CHECKING:
    from driftloop.inference.grpc_v2.h2.pool import Pool

BLOCK_BYTES: Final = 1 << 14
"""Largest header block accepted."""
_HEADS: Final = 64
_KEPT_BYTES: Final = 512
"""Largest header block whose meaning is kept."""
_CREDIT_AFTER: Final = 1 << 20


class Intake:
    """The streams of one connection, and the frames that are about them."""

    def __init__(self, pool: "Pool", writer: Writer, allowance: Allowance) -> None:
        self.pool = pool
        self.writer = writer
        self.streams: dict[int, Stream] = {}
        self.last = 0
        """The highest stream the peer has opened."""
        self.final = False
        """No stream is opened any more."""
        self.began = 0.0
        """When the header block under way began, on the loop's clock; 0.0 is none."""
        self.emptied: Callable[[], None] = lambda: None
        """Is called when there are no calls any more."""
        self._calls = pool.calls
        self._limits = pool.limits
        self._allowance = allowance
        self._decoder = Decoder()
        self._heads: dict[bytes, Head] = {}
        self._block: tuple[int, int, bytearray] | None = None
        self._unread = 0
        self._received = 0
        self.first_window = min(max(pool.limits.message_bytes + 5, DEFAULT_WINDOW), MOST_WINDOW)

    def headers(self, id: int, flags: int, payload: bytes) -> None:
        """HEADERS: a call, or the end of one."""
        if flags & Flag.PADDED:
            payload = unpadded(payload)
        if flags & Flag.PRIORITY:
            if len(payload) < 5:
                raise PeerFault(Code.FRAME_SIZE_ERROR, "a priority is cut off")
            payload = payload[5:]
        if len(payload) > BLOCK_BYTES:
            raise PeerFault(Code.ENHANCE_YOUR_CALM, f"a header block has over {BLOCK_BYTES} bytes")
        if flags & Flag.END_HEADERS:
            self._opened(id, flags, payload)
        else:
            self.began = self.pool.loop.time()
            self._block = (id, flags, bytearray(payload))

    def continued(self, id: int, flags: int, payload: bytes) -> None:
        """CONTINUATION: more of a header block."""
        self._allowance.spend(FRAME)
        if self._block is None or self._block[0] != id:
            raise PeerFault(Code.PROTOCOL_ERROR, "a header block goes on that was not begun")
        _, first, block = self._block
        block += payload
        if len(block) > BLOCK_BYTES:
            raise PeerFault(Code.ENHANCE_YOUR_CALM, f"a header block has over {BLOCK_BYTES} bytes")
        if flags & Flag.END_HEADERS:
            self._block, self.began = None, 0.0
            self._opened(id, first, bytes(block))

    def data(self, id: int, flags: int, payload: bytes) -> None:
        """DATA: a part of a message, often all of it."""
        size = len(payload)
        self._received += size
        if self._received > _CREDIT_AFTER:
            self.writer.put(frame(Kind.WINDOW_UPDATE, 0, 0, number(self._received)))
            self._received = 0
        if flags & Flag.PADDED:
            payload = unpadded(payload)
        stream = self.streams.get(id)
        if stream is None or stream.gone or stream.ended:
            self._data_of_none(id, stream, size)
            return
        if flags & Flag.END_STREAM:
            if not stream.data and stream.order is None:
                stream.ended = True
                self._calls.whole(stream, payload)
                return
        elif len(payload) < TINY:
            self._allowance.spend(FRAME)
        stream.add(payload)
        stream.taken += size - len(payload)  # the padding
        self.hold(len(payload))
        if len(stream.data) > self.first_window or self.overfull:
            self._calls.excess(stream)
        else:
            self._more(stream, flags)

    def reset(self, id: int, flags: int, payload: bytes) -> None:
        """RST_STREAM: the caller wants no answer."""
        sized(payload, 4, "RST_STREAM")
        self._known(id)
        stream = self.streams.get(id)
        self._allowance.spend(FRAME if stream is None or stream.gone else CALL)
        if stream is not None:
            self.writer.forget(stream)
            self.closed(stream)

    def window(self, id: int, flags: int, payload: bytes) -> None:
        """WINDOW_UPDATE: the peer takes more, of one answer or of all together."""
        sized(payload, 4, "WINDOW_UPDATE")
        self._allowance.spend(FRAME)
        by = int.from_bytes(payload, "big") & MOST_WINDOW
        if id == 0:
            if by == 0:
                raise PeerFault(Code.PROTOCOL_ERROR, "a window grows by nothing")
            self.writer.widen(by)
            return
        self._known(id)
        stream = self.streams.get(id)
        if stream is None or stream.gone:
            return
        if by == 0:
            self.broken(stream, Code.PROTOCOL_ERROR)
        elif not self.writer.widen_one(stream, by):
            self.broken(stream, Code.FLOW_CONTROL_ERROR)

    @property
    def overfull(self) -> bool:
        """Whether more bytes of requests are unread than may be."""
        limits, pool = self._limits, self.pool
        return self._unread > limits.unread_bytes or pool.unread > limits.all_unread_bytes

    def hold(self, size: int) -> None:
        """So many bytes more (or less) of requests are unread."""
        self._unread += size
        self.pool.unread += size

    def handed_on(self, stream: Stream, size: int) -> bytes:
        """The first bytes of `stream.data`, read now: the caller may send as many more."""
        data = stream.take(size)
        self.hold(-size)
        stream.taken += size
        if stream.taken > self.first_window // 2 and not stream.ended:
            self.writer.put(frame(Kind.WINDOW_UPDATE, 0, stream.id, number(stream.taken)))
            stream.taken = 0
        return data

    def broken(self, stream: Stream, code: Code) -> None:
        """End a stream whose peer broke the rules of streams."""
        self._allowance.spend(CALL)
        self.writer.forget(stream)
        self.writer.put(frame(Kind.RST_STREAM, 0, stream.id, number(code)))
        self.closed(stream)

    def closed(self, stream: Stream) -> None:
        """The call is over. While the core has it in hand, it counts as one under way."""
        if not stream.gone:
            stream.gone = True
            if stream.data:
                self.hold(-len(stream.data))
            stream.clear()
            if stream.deadline:
                self.pool.unwatch(stream)
        if not stream.held and self.streams.pop(stream.id, None) is not None:
            self.pool.streams -= 1
            if not self.streams:
                self.emptied()

    def sweep(self, now: float) -> None:
        """Give up requests whose rest does not come, and answers that are not taken."""
        limits = self._limits
        for stream in list(self.streams.values()):
            if stream.ended or stream.gone or stream.order is not None:
                continue
            if not stream.slow:
                stream.slow = now
            elif now - stream.slow > limits.read_seconds:
                self._calls.slow(stream)
        for stream in self.writer.stuck(now, limits.write_seconds):
            REFUSED.labels("answer_not_taken").inc()
            self.broken(stream, Code.CANCEL)

    def close(self) -> None:
        """The connection is gone, and with it all calls."""
        for stream in list(self.streams.values()):
            self.writer.forget(stream)
            stream.held = 0
            self.closed(stream)

    def _known(self, id: int) -> None:
        if id == 0 or id > self.last or id % 2 == 0:
            raise PeerFault(Code.PROTOCOL_ERROR, f"stream {id} was not opened")

    def _opened(self, id: int, flags: int, block: bytes) -> None:
        """A header block is complete: a new call, or the end of one."""
        head = self._heads.get(block) or self._decoded(block)
        if id <= self.last:
            self._trailers(id, flags, head)
            return
        if id % 2 == 0:
            raise PeerFault(Code.PROTOCOL_ERROR, f"stream {id} is not a client's")
        self.last = id
        pool = self.pool
        if (
            self.final
            or len(self.streams) >= self._limits.calls
            or pool.streams >= self._limits.all_calls
        ):
            REFUSED.labels("draining" if self.final else "calls").inc()
            self._allowance.spend(FRAME)
            self.writer.put(frame(Kind.RST_STREAM, 0, id, number(Code.REFUSED_STREAM)))
            return
        self.streams[id] = stream = Stream(id, head, self)
        pool.streams += 1
        if head.timeout:
            stream.deadline = time.perf_counter() + head.timeout
            pool.watch(stream)
        if head.malformed:
            REFUSED.labels("fields").inc()
            self.broken(stream, Code.PROTOCOL_ERROR)
        elif head.status or flags & Flag.END_STREAM:
            self._more(stream, flags)

    def _trailers(self, id: int, flags: int, head: Head) -> None:
        """Fields of a stream that was opened before: they end the request."""
        if id == 0 or id % 2 == 0:
            raise PeerFault(Code.PROTOCOL_ERROR, f"stream {id} is not a client's")
        stream = self.streams.get(id)
        if stream is None or stream.gone:
            self._allowance.spend(FRAME)  # of a call that is answered already
        elif stream.ended:
            raise PeerFault(Code.STREAM_CLOSED, f"fields of stream {id}, which is ended")
        elif not flags & Flag.END_STREAM or not head.trailers:
            self.broken(stream, Code.PROTOCOL_ERROR)
        else:
            self._more(stream, flags)

    def _decoded(self, block: bytes) -> Head:
        fields, same = self._decoder.decode(block)
        head = self._calls.head(fields)
        if not same or len(self._heads) >= _HEADS:
            self._heads.clear()
        if same and len(block) <= _KEPT_BYTES:
            self._heads[block] = head
        return head

    def _data_of_none(self, id: int, stream: Stream | None, size: int) -> None:
        """Data of a call that is over: what was on its way is dropped, more is a fault."""
        if size < TINY:
            self._allowance.spend(FRAME)
        if stream is not None and not stream.gone:
            raise PeerFault(Code.STREAM_CLOSED, f"data of stream {id}, which is ended")
        self._known(id)

    def _more(self, stream: Stream, flags: int) -> None:
        stream.ended = bool(flags & Flag.END_STREAM)
        if stream.ended and stream.order is None:
            self._calls.whole(stream, self.handed_on(stream, len(stream.data)))
        else:
            self._calls.more(stream)
