"""Load over gRPC: HTTP/2 itself over a socket, so that the client is no limit.

It sends unary calls with one small message, and reads of an answer only whether it has a message.
HTTP/2: RFC 9113; header blocks: RFC 7541; gRPC over HTTP/2: its PROTOCOL-HTTP2 document.
"""

import asyncio
import time
from collections import deque
from importlib.util import find_spec
from itertools import cycle
from typing import Final

import uvloop

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.job import DRAIN_SECONDS, Job, Told, answered, given, say
from driftloop.local.bench.window import Window, connected, load
from driftloop.local.bench.wire import METHOD

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW: Final = 65_535
MORE_WINDOW: Final = 1 << 30
"""What the server may send beyond the initial window until it is told more."""
LARGEST_FRAME: Final = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
        payload,
    )


def header_block(authority: str) -> bytes:
    """The header fields of every call; none enters the table, so the block never changes."""

    def text(value: bytes) -> bytes:
        return bytes([len(value)]) + value

    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http, of the static table
            b"\x04" + text(METHOD.encode()),  # :path
            b"\x01" + text(authority.encode()),  # :authority
            b"\x0f\x10" + text(b"application/grpc"),  # content-type
            b"\x00" + text(b"te") + text(b"trailers"),
        )
    )


class GrpcWindow(Window):
    """Calls, each on a stream of its own."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        messages = [b"\x00" + len(body).to_bytes(4, "big") + body for body in job.read()]
        if max(map(len, messages)) > LARGEST_FRAME:
            raise InvalidInput(f"body: is larger than a frame; accepted: {LARGEST_FRAME - 5} bytes")
        self._messages = cycle(messages)
        self._block = header_block(job.address)
        self._stream = -1
        self._calls: dict[int, tuple[int, float]] = {}
        self._with_message: set[int] = set()
        self._held: deque[tuple[int, bytes]] = deque()
        self._may_send = INITIAL_WINDOW
        self._received = 0
        self._left = b""

    def greet(self) -> bytes:
        """Our settings (streams without a bound), and room for many answers."""
        ours = (4).to_bytes(2, "big") + (2**31 - 1).to_bytes(4, "big")
        room = MORE_WINDOW.to_bytes(4, "big")
        return PREFACE + frame(SETTINGS, 0, 0, ours) + frame(WINDOW_UPDATE, 0, 0, room)

    def request(self, slot: int) -> bytes:
        """The next call; held back while the server has no room for it."""
        self._stream += 2
        message = next(self._messages)
        made = frame(HEADERS, END_HEADERS, self._stream, self._block)
        made += frame(DATA, END_STREAM, self._stream, message)
        self._calls[self._stream] = (slot, time.perf_counter())
        if self._held or len(message) > self._may_send:
            self._held.append((len(message), made))
            return b""
        self._may_send -= len(message)
        return made

    def data_received(self, data: bytes) -> None:
        """Frames of the server."""
        data = self._left + data if self._left else data
        at, out, size = 0, [], len(data)
        while size - at >= 9:
            stop = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if stop > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            if kind == DATA:
                self._with_message.add(stream)
                self._received += stop - at - 9
            elif kind in (HEADERS, RESET):
                if kind == RESET or flags & END_STREAM:
                    out.append(self._closed(stream))
            else:
                out.append(self._control(kind, flags, stream, data[at + 9 : stop]))
            at = stop
        self._left = data[at:]
        if self._received > MORE_WINDOW // 2:
            out.append(frame(WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        if said := b"".join(out):
            self.transport.write(said)

    def _closed(self, stream: int) -> bytes:
        """The end of a call: one that failed has trailers and no message."""
        slot, sent = self._calls.pop(stream)
        good = stream in self._with_message
        self._with_message.discard(stream)
        return self.ended(slot, sent, "" if good else "a call was refused")

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if kind == SETTINGS and not flags & ACK:
            self.ready.set()
            return frame(SETTINGS, ACK, 0, b"")
        if kind == PING and not flags & ACK:
            return frame(PING, ACK, 0, payload)
        if kind == GOAWAY:
            self.problem = f"the server said goodbye: {payload[8:].decode(errors='replace')}"
        if kind == WINDOW_UPDATE and not stream:
            self._may_send += int.from_bytes(payload, "big")
            return self._released()
        return b""

    def _released(self) -> bytes:
        out = []
        while self._held and self._held[0][0] <= self._may_send:
            size, made = self._held.popleft()
            self._may_send -= size
            out.append(made)
        return b"".join(out)


def require() -> None:
    """Raise `InvalidInput` where the usual client of gRPC, with which answers are compared, and
    its server, which is the ceiling, are not installed.
    """
    if find_spec("grpc") is None:
        raise InvalidInput(
            "workload: grpc needs the package grpcio; install it: pip install grpcio"
        )


async def run(job: Job) -> Told:
    """The job over one connection."""
    if job.ask:
        return await _ask(job)
    return await load(await connected(lambda: GrpcWindow(job), f"http://{job.address}"), job)


async def _ask(job: Job) -> Told:
    """By the usual client: it tells what went wrong, and that the server speaks gRPC."""
    try:
        require()
    except InvalidInput as error:
        return Told(error=str(error))
    import grpc

    async with grpc.aio.insecure_channel(job.address) as channel:
        call = channel.unary_unary(METHOD)
        try:
            asked = [await call(body, timeout=DRAIN_SECONDS) for body in job.read()[: job.ask]]
        except grpc.aio.AioRpcError as error:
            return Told(error=f"{error.code().name}: {error.details()}")
    return answered(asked)


def main() -> None:
    """Do the job on standard input."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    say(asyncio.run(run(given())))


if __name__ == "__main__":
    main()
