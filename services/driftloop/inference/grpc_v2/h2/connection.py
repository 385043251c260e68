"""The server's side of one HTTP/2 connection: frames in, and what is not about a single call."""

import asyncio
import logging
from typing import Any, Final

from driftloop.inference.grpc_v2.h2.allowance import FRAME, Allowance
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
    of_all,
    read_settings,
    settings,
    sized,
)
from driftloop.inference.grpc_v2.h2.heads import LIST_BYTES
from driftloop.inference.grpc_v2.h2.huffman import HpackError
from driftloop.inference.grpc_v2.h2.intake import Intake
from driftloop.inference.grpc_v2.h2.limits import CUT
from driftloop.inference.grpc_v2.h2.pool import Pool
from driftloop.inference.grpc_v2.h2.writer import Writer

log = logging.getLogger(__name__)

FRAME_BYTES: Final = 1 << 16
"""Largest frame accepted."""
_WINDOW: Final = 1 << 30
"""What a peer may send on one connection until it is told more, which it always is in time."""
_ALIVE: Final = b"alive ? "
_LEAVING: Final = b"leaving "


class Connection(asyncio.Protocol):
    """Reads frames, hands on those of single calls, and ends when the peer breaks the rules."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._allowance = Allowance(pool.limits.allowance, pool.limits.allowance_a_second)
        self._buffer = bytearray()
        self._needed = 0
        self._transport: Any = None
        self._greeted = self._agreed = self._leaving = self._closing = False
        self._heard = True
        self._progress = self._seen = 0
        self._heard_at = self._asked_at = self._paused_at = self._closed_at = self._stuck_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what is accepted here."""
        self._transport = transport
        pool, limits = self._pool, self._pool.limits
        if not pool.add(self):
            self._closing = True
            self._transport.abort()
            return
        self._heard_at = self._stuck_at = pool.loop.time()
        self._writer = writer = Writer(pool, self._transport, self._allowance)
        self._intake = intake = Intake(pool, writer, self._allowance)
        writer.closed = intake.closed
        self._acts = {
            Kind.DATA: intake.data,
            Kind.HEADERS: intake.headers,
            Kind.PRIORITY: self._priority,
            Kind.RST_STREAM: intake.reset,
            Kind.SETTINGS: self._settings,
            Kind.PUSH_PROMISE: self._pushed,
            Kind.PING: self._ping,
            Kind.GOAWAY: self._goaway,
            Kind.WINDOW_UPDATE: intake.window,
            Kind.CONTINUATION: intake.continued,
        }
        said = {
            Setting.MAX_CONCURRENT_STREAMS: limits.calls,
            Setting.INITIAL_WINDOW_SIZE: intake.first_window,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: LIST_BYTES,
        }
        writer.put(
            settings(said) + frame(Kind.WINDOW_UPDATE, 0, 0, number(_WINDOW - DEFAULT_WINDOW))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Answers of calls under way go nowhere."""
        self._closing = True
        self._buffer.clear()
        if self in self._pool.open:
            self._intake.close()
            self._pool.remove(self)

    def pause_writing(self) -> None:
        """The peer does not read answers: read no more requests."""
        self._paused_at = self._pool.loop.time()
        self._writer.pause(True)
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused_at = 0.0
        if not self._closing:
            self._transport.resume_reading()
            self._writer.pause(False)

    def data_received(self, data: bytes) -> None:
        """Read all frames that are complete."""
        self._heard = True
        if self._closing:
            return
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed:
                return
            data = bytes(buffer)
            buffer.clear()
        try:
            at = self._read(data)
        except PeerFault as fault:
            self._give_up(fault.code, str(fault))
        except HpackError as error:
            self._give_up(Code.COMPRESSION_ERROR, str(error))
        except Exception:  # a bug ends this connection, and no other
            log.exception("a frame could not be read")
            self._give_up(Code.INTERNAL_ERROR, "internal error")
        else:
            if at < len(data) and not self._closing:
                buffer += data[at:]

    def leave(self) -> None:
        """Take no new calls; close when those under way are answered.

        The peer is told at once, and until it has read that, its calls are taken: they may be on
        their way already.
        """
        if self._closing or self._leaving:
            return
        self._leaving = True
        self._say_goodbye(MOST_WINDOW)
        self._writer.put(frame(Kind.PING, 0, 0, _LEAVING))
        self._intake.emptied = self._last_goodbye
        if not self._intake.streams:
            self._last_goodbye()

    def abort(self) -> None:
        """Close now."""
        self._closing = True
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Look at all that may last too long."""
        limits = self._pool.limits
        if self._closing:
            self._closed_at = self._closed_at or now
            if now - self._closed_at > limits.linger_seconds:
                self._transport.abort()
            return
        if self._paused_at and now - self._paused_at > limits.write_seconds:
            self._cut("answers_not_read")
        elif not self._agreed and now - self._heard_at > limits.greet_seconds:
            self._cut("no_greeting")
        elif self._stuck(now) > limits.read_seconds:
            self._cut("slow")
        elif self._agreed and not self._alive(now):
            self._cut("dead")
        else:
            self._intake.sweep(now)

    def _alive(self, now: float) -> bool:
        """Whether the peer has said something of late, or still has time to answer a PING."""
        limits = self._pool.limits
        if self._heard or self._paused_at:
            self._heard = False
            self._heard_at, self._asked_at = now, 0.0
        elif self._asked_at:
            return now - self._asked_at <= limits.ping_seconds
        elif now - self._heard_at > limits.idle_seconds:
            self._asked_at = now
            self._writer.put(frame(Kind.PING, 0, 0, _ALIVE))
        return True

    def _stuck(self, now: float) -> float:
        """For how long a frame or a header block has been under way."""
        if self._intake.began:
            return now - self._intake.began
        if not self._buffer or self._paused_at or self._progress != self._seen:
            self._seen, self._stuck_at = self._progress, now
        return now - self._stuck_at

    def _cut(self, reason: str) -> None:
        """End a connection that costs more than it brings."""
        CUT.labels(reason).inc()
        self.abort()

    def _give_up(self, code: Code, text: str) -> None:
        """Tell the peer what it did wrong, and close."""
        CUT.labels(code.name.lower()).inc()
        self._closing = True
        self._writer.put(
            frame(Kind.GOAWAY, 0, 0, number(self._intake.last) + number(code) + text.encode())
        )
        self._writer.flush()
        self._transport.close()

    def _say_goodbye(self, last: int) -> None:
        self._writer.put(frame(Kind.GOAWAY, 0, 0, number(last) + number(Code.NO_ERROR)))

    def _last_goodbye(self) -> None:
        """Refuse what is opened from now on; close when all is answered."""
        if not self._intake.final:
            self._intake.final = True
            self._say_goodbye(self._intake.last)
        if not self._intake.streams and not self._closing:
            self._closing = True
            self._writer.flush()
            self._transport.close()

    def _read(self, data: bytes) -> int:
        """Act on the frames in `data`; how many bytes of it were read."""
        at, end = 0, len(data)
        if not self._greeted:
            if data[: len(PREFACE)] != PREFACE[:end]:
                raise PeerFault(Code.PROTOCOL_ERROR, "this is no HTTP/2")
            if end < len(PREFACE):
                return 0
            self._greeted, at = True, len(PREFACE)
        acts, intake = self._acts, self._intake
        unpack, head_bytes = HEAD.unpack_from, HEAD_BYTES
        while end - at >= head_bytes:
            high, low, kind, flags, stream = unpack(data, at)
            start = at + head_bytes
            stop = start + (high << 8 | low)
            if stop - start > FRAME_BYTES:
                raise PeerFault(Code.FRAME_SIZE_ERROR, f"a frame has {stop - start} bytes")
            if not self._agreed or intake.began:
                self._check_turn(kind, flags)
            if stop > end:
                self._needed = stop - at
                break
            act = acts.get(kind)
            if act is not None:
                act(stream & MOST_WINDOW, flags, data[start:stop])
            else:
                self._allowance.spend(FRAME)  # of a kind that is not known, which is ignored
            at = stop
        else:
            self._needed = head_bytes
        self._progress += at
        return at

    def _check_turn(self, kind: int, flags: int) -> None:
        """Settings come first, and nothing else within a header block."""
        if not self._agreed and (kind != Kind.SETTINGS or flags & Flag.ACK):
            raise PeerFault(Code.PROTOCOL_ERROR, "the first frame does not hold settings")
        if self._intake.began and kind != Kind.CONTINUATION:
            raise PeerFault(Code.PROTOCOL_ERROR, "a header block is cut by another frame")

    def _settings(self, id: int, flags: int, payload: bytes) -> None:
        of_all(id, "SETTINGS")
        if flags & Flag.ACK:
            sized(payload, 0, "an acknowledgement")
            return
        given = read_settings(payload)
        self._allowance.spend(FRAME + len(given))
        self._agreed = True
        self._writer.agree(given)

    def _ping(self, id: int, flags: int, payload: bytes) -> None:
        of_all(id, "PING")
        sized(payload, 8, "PING")
        if not flags & Flag.ACK:
            self._allowance.spend(FRAME)
            self._writer.put(frame(Kind.PING, Flag.ACK, 0, payload))
        elif self._leaving and payload == _LEAVING:
            self._last_goodbye()

    def _goaway(self, id: int, flags: int, payload: bytes) -> None:
        """The client opens no more calls; it closes when it has its answers."""
        of_all(id, "GOAWAY")
        self._allowance.spend(FRAME)

    def _priority(self, id: int, flags: int, payload: bytes) -> None:
        """Priorities were given up by the standard; they are read and not followed."""
        sized(payload, 5, "PRIORITY")
        self._allowance.spend(FRAME)
        if id == 0 or int.from_bytes(payload[:4], "big") & MOST_WINDOW == id:
            raise PeerFault(Code.PROTOCOL_ERROR, "a priority on itself, or on no stream")

    def _pushed(self, id: int, flags: int, payload: bytes) -> None:
        raise PeerFault(Code.PROTOCOL_ERROR, "a client pushes nothing")
