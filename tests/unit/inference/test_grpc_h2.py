import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from driftloop.inference.grpc_v2.h2.calls import CoreCalls
from driftloop.inference.grpc_v2.h2.connection import BLOCK_BYTES, FRAME_BYTES, Connection
from driftloop.inference.grpc_v2.h2.frames import (
    HEAD,
    PREFACE,
    Code,
    Flag,
    Kind,
    Setting,
    frame,
    number,
    settings,
)
from driftloop.inference.grpc_v2.h2.hpack import Decoder, literal
from driftloop.inference.grpc_v2.h2.streams import Limits
from driftloop.inference.grpc_v2.schema import CLASSES, SERVICE
from driftloop.inference.v2.messages import InferRequest, InferResponse, Tensor
from driftloop.runtime import metrics

DEADLINE = 10.0
LIMITS = Limits(message_bytes=100_000, calls=4, unread_bytes=250_000, connections=3)
ENDS = Flag.END_STREAM | Flag.END_HEADERS


class Doubling:
    """A core with one model: twice what comes; answers are held in `waiting` where asked for."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[Callable[[], None]] = []

    def infer_soon(
        self, request: InferRequest, done: Callable[[InferResponse | Exception], None]
    ) -> None:
        values = 2 * np.frombuffer(request.inputs[0].data, np.float32)
        tensor = Tensor("y", "FP32", (len(values),), values)
        answer = InferResponse(
            model_name="m", model_version="1", id=request.id, outputs=[tensor], parameters={}
        )
        if self.held:
            self.waiting.append(lambda: done(answer))
        else:
            done(answer)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Peer:
    """A client that says exactly the bytes it is told to say."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def next(self, *kinds: int) -> Frame:
        async with asyncio.timeout(DEADLINE):
            while True:
                high, low, kind, flags, stream = HEAD.unpack(await self._reader.readexactly(9))
                payload = await self._reader.readexactly(high << 8 | low)
                if not kinds or kind in kinds:
                    return Frame(kind, flags, stream, payload)

    async def fields(self) -> dict[str, str]:
        return self._decoder.decode((await self.next(Kind.HEADERS)).payload)[0]

    async def answer(self) -> Any:
        """The answer of one call, in whatever frames it comes; its last fields if it failed."""
        first = await self.fields()
        if "grpc-status" in first:
            return first
        data = bytearray()
        while (got := await self.next(Kind.DATA, Kind.HEADERS)).kind == Kind.DATA:
            data += got.payload
        last = self._decoder.decode(got.payload)[0]
        assert (first[":status"], last["grpc-status"]) == ("200", "0")
        assert int.from_bytes(data[1:5], "big") == len(data) - 5
        return CLASSES["ModelInferResponse"].FromString(bytes(data[5:]))

    async def closed(self) -> Code:
        """The code of the GOAWAY, after which the server closes."""
        code = Code(struct.unpack(">I", (await self.next(Kind.GOAWAY)).payload[4:8])[0])
        with contextlib.suppress(ConnectionResetError):  # what was not read is thrown away
            async with asyncio.timeout(DEADLINE):
                assert await self._reader.read() == b""
        return code


@pytest.fixture
def core() -> Doubling:
    return Doubling()


@pytest.fixture
def connections() -> set[Connection]:
    return set()


@pytest.fixture
async def address(core: Any, connections: set[Connection]) -> AsyncIterator[tuple[str, int]]:
    calls = CoreCalls(core, LIMITS.message_bytes)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(calls, LIMITS, connections), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()
    server.close()
    for connection in list(connections):
        connection.abort()


@contextlib.asynccontextmanager
async def connected(address: tuple[str, int], **said: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        made = Peer(reader, writer)
        made.send(PREFACE, settings({Setting[name]: value for name, value in said.items()}))
        yield made
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def peer(address: tuple[str, int]) -> AsyncIterator[Peer]:
    async with connected(address) as made:
        yield made


def block(method: str = "ModelInfer", **more: str) -> bytes:
    said = {
        ":method": "POST",
        ":path": f"/{SERVICE}/{method}",
        "content-type": "application/grpc",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return b"".join(literal(name, value) for name, value in said.items())


def message(size: int = 2, id: str = "") -> bytes:
    request = CLASSES["ModelInferRequest"](model_name="m", id=id)
    request.inputs.add(name="x", datatype="FP32", shape=[size])
    request.raw_input_contents.append(np.arange(size, dtype=np.float32).tobytes())
    raw: bytes = request.SerializeToString()
    return b"\0" + number(len(raw)) + raw


def call(stream: int, size: int = 2, id: str = "") -> bytes:
    return frame(Kind.HEADERS, Flag.END_HEADERS, stream, block()) + frame(
        Kind.DATA, Flag.END_STREAM, stream, message(size, id)
    )


def numbers(answer: Any) -> list[float]:
    return list(np.frombuffer(answer.raw_output_contents[0], np.float32).tolist())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110  # of any kind
            await asyncio.sleep(0.001)


async def test_calls_are_answered_by_fields_that_get_shorter(peer: Peer) -> None:
    for stream in (1, 3, 5):
        peer.send(call(stream))
        assert numbers(await peer.answer()) == [0.0, 2.0]
    peer.send(call(7))
    assert [(await peer.next()).payload for _ in range(3)][0::2] == [b"\x88\xbf", b"\xbe"]


async def test_frames_may_come_byte_by_byte(peer: Peer) -> None:
    for byte in call(1, 5):
        peer.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert numbers(await peer.answer()) == [0.0, 2.0, 4.0, 6.0, 8.0]


async def test_padding_priority_and_continued_fields_are_read(peer: Peer) -> None:
    fields, body = block(), message()
    peer.send(
        frame(Kind.HEADERS, Flag.PADDED | Flag.PRIORITY, 1, b"\3" + bytes(5) + fields[:9] + b"...")
    )
    peer.send(frame(Kind.CONTINUATION, 0, 1, fields[9:20]))
    peer.send(frame(Kind.CONTINUATION, Flag.END_HEADERS, 1, fields[20:]))
    peer.send(frame(Kind.DATA, Flag.PADDED, 1, b"\2" + body[:3] + b".."))
    peer.send(frame(Kind.DATA, 0, 1, body[3:]), frame(Kind.DATA, Flag.END_STREAM, 1, b""))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_an_answer_keeps_to_the_windows_and_goes_on_when_they_grow(
    address: tuple[str, int],
) -> None:
    async with connected(address, INITIAL_WINDOW_SIZE=10) as peer:
        peer.send(call(1, 1_000))
        await peer.fields()
        first = await peer.next(Kind.DATA)
        assert len(first.payload) == 10
        peer.send(frame(Kind.WINDOW_UPDATE, 0, 1, number(7)))
        second = await peer.next(Kind.DATA)
        assert len(second.payload) == 7
        peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 100_000}))
        data = first.payload + second.payload
        while (got := await peer.next(Kind.DATA, Kind.HEADERS)).kind == Kind.DATA:
            data += got.payload
        made = CLASSES["ModelInferResponse"].FromString(data[5:])
        assert numbers(made) == [2.0 * value for value in range(1_000)]


async def test_the_window_of_the_connection_bounds_all_answers_together(peer: Peer) -> None:
    peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}))
    peer.send(*[call(stream, 8_000) for stream in (1, 3, 5)])
    sent = {1: 0, 3: 0, 5: 0}
    ended = widened = 0
    while ended < 3:
        got = await peer.next(Kind.DATA, Kind.HEADERS)
        ended += bool(got.flags & Flag.END_STREAM)
        if got.kind == Kind.DATA:
            assert len(got.payload) <= 16_384
            sent[got.stream] += len(got.payload)
            if sum(sent.values()) == 65_535:
                widened = 100_000
                peer.send(frame(Kind.WINDOW_UPDATE, 0, 0, number(widened)))
            assert sum(sent.values()) <= 65_535 + widened
    assert sent[1] == sent[3] == sent[5] > 32_000


async def test_a_peer_without_a_header_table_gets_fields_without_one(
    address: tuple[str, int],
) -> None:
    async with connected(address, HEADER_TABLE_SIZE=0) as peer:
        for stream in (1, 3):
            peer.send(call(stream))
            assert numbers(await peer.answer()) == [0.0, 2.0]
        assert peer._decoder._table == []
        assert peer._decoder._limit == 0


async def test_a_ping_is_answered(peer: Peer) -> None:
    peer.send(frame(Kind.PING, 0, 0, b"12345678"))
    assert (await peer.next(Kind.PING)) == (Kind.PING, Flag.END_STREAM, 0, b"12345678")


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"method": "Other"}, "12", "no such method"),
        ({"content_type": "text/plain"}, "3", "no call of gRPC"),
        ({"grpc_encoding": "br"}, "12", "accepted: identity, gzip, deflate"),
        ({"grpc_timeout": "1h"}, "3", "grpc-timeout: '1h'"),
    ],
)
async def test_a_call_by_wrong_fields_is_refused(
    peer: Peer, fields: dict[str, str], status: str, says: str
) -> None:
    peer.send(frame(Kind.HEADERS, ENDS, 1, block(**fields)))
    got = await peer.answer()
    assert got["grpc-status"] == status
    assert says in got["grpc-message"]
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not one message"),
        (b"\0\0\0\0\5abc", "not one message"),
        (message() * 2, "not one message"),
        (b"\1" + message()[1:], "compression is not named"),
        (b"\0\0\0\0\2\xff\xff", "protobuf inference.ModelInferRequest"),
    ],
)
async def test_a_body_that_is_not_one_message_is_refused(
    peer: Peer, body: bytes, says: str
) -> None:
    peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block()))
    peer.send(frame(Kind.DATA, Flag.END_STREAM, 1, body))
    got = await peer.answer()
    assert (got["grpc-status"], says in got["grpc-message"]) == ("3", True)


async def test_a_message_too_large_is_refused_before_it_has_come(peer: Peer) -> None:
    peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block()))
    peer.send(frame(Kind.DATA, 0, 1, b"\0" + number(LIMITS.message_bytes + 1) + bytes(10)))
    assert (await peer.answer())["grpc-status"] == "8"
    assert (await peer.next(Kind.RST_STREAM)).payload == number(Code.NO_ERROR)
    peer.send(frame(Kind.DATA, Flag.END_STREAM, 1, bytes(100)), call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_calls_over_the_bound_are_refused_even_if_earlier_ones_were_reset(
    core: Doubling, peer: Peer
) -> None:
    core.held = True
    for stream in (1, 3, 5, 7):
        peer.send(call(stream), frame(Kind.RST_STREAM, 0, stream, number(Code.CANCEL)))
    peer.send(call(9))
    assert (await peer.next(Kind.RST_STREAM))[2:] == (9, number(Code.REFUSED_STREAM))
    for answer in core.waiting:
        answer()
    core.held = False
    peer.send(call(11))
    assert (await peer.next(Kind.HEADERS)).stream == 11


async def test_unread_bytes_over_the_bound_are_refused_and_counted(peer: Peer) -> None:
    before = metrics.values()["driftloop_grpc_excess_total"]
    part = b"\0" + number(LIMITS.message_bytes) + bytes(FRAME_BYTES - 100)
    for stream in (1, 3, 5, 7):
        peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, stream, block()))
        peer.send(frame(Kind.DATA, 0, stream, part))
    assert (await peer.answer())["grpc-status"] == "8"
    assert metrics.values()["driftloop_grpc_excess_total"] == before + 1


async def test_connections_over_the_bound_are_closed_and_counted(
    address: tuple[str, int], connections: set[Connection]
) -> None:
    before = metrics.values()["driftloop_grpc_connections_excess_total"]
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(address)) for _ in range(3)]
        await until(lambda: len(connections) == 3)
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        peers[2].send(call(1))
        assert numbers(await peers[2].answer()) == [0.0, 2.0]
    assert metrics.values()["driftloop_grpc_connections_excess_total"] == before + 1


async def test_a_connection_that_leaves_answers_what_it_has(
    core: Doubling, connections: set[Connection], peer: Peer
) -> None:
    core.held = True
    peer.send(call(1))
    await until(lambda: len(core.waiting) == 1)
    connection = next(iter(connections))
    connection.leave()
    assert (await peer.next(Kind.GOAWAY)).payload == number(1) + number(Code.NO_ERROR)
    peer.send(call(3))
    assert (await peer.next(Kind.RST_STREAM))[2:] == (3, number(Code.REFUSED_STREAM))
    core.waiting[0]()
    assert numbers(await peer.answer()) == [0.0, 2.0]
    await until(lambda: not connections)


async def test_answers_for_a_peer_that_has_gone_are_dropped(
    core: Doubling, connections: set[Connection], address: tuple[str, int]
) -> None:
    core.held = True
    async with connected(address) as peer:
        peer.send(call(1))
        await until(lambda: len(core.waiting) == 1)
    await until(lambda: not connections)
    core.waiting[0]()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(Kind.DATA, 0, 9, b"x"), Code.STREAM_CLOSED),
        (frame(Kind.HEADERS, Flag.END_HEADERS, 2, block()), Code.PROTOCOL_ERROR),
        (frame(Kind.HEADERS, Flag.END_HEADERS, 1, b"\xff"), Code.COMPRESSION_ERROR),
        (frame(Kind.HEADERS, 0, 1, b"") + frame(Kind.PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
        (frame(Kind.CONTINUATION, 0, 1, b""), Code.PROTOCOL_ERROR),
        (frame(Kind.HEADERS, Flag.PADDED | ENDS, 1, b"\5abc"), Code.PROTOCOL_ERROR),
        (frame(Kind.PUSH_PROMISE, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(Kind.WINDOW_UPDATE, 0, 0, number(0)), Code.PROTOCOL_ERROR),
        (frame(Kind.WINDOW_UPDATE, 0, 0, number(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
        (frame(Kind.SETTINGS, 0, 0, b"abc"), Code.FRAME_SIZE_ERROR),
        (settings({Setting.INITIAL_WINDOW_SIZE: 2**31}), Code.FLOW_CONTROL_ERROR),
        (frame(Kind.PING, 0, 0, bytes(FRAME_BYTES + 1)), Code.FRAME_SIZE_ERROR),
        (
            frame(Kind.HEADERS, 0, 1, b"") + frame(9, 0, 1, bytes(BLOCK_BYTES + 1)),
            Code.ENHANCE_YOUR_CALM,
        ),
        (
            frame(Kind.HEADERS, Flag.END_HEADERS, 1, bytes(BLOCK_BYTES + 1)),
            Code.ENHANCE_YOUR_CALM,
        ),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_told_how(
    peer: Peer, said: bytes, code: Code
) -> None:
    peer.send(said)
    assert await peer.closed() is code


async def test_who_speaks_no_http_2_is_shown_out(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        assert b"this is no HTTP/2" in await reader.read()
    writer.close()


@pytest.mark.parametrize("seed", range(40))
async def test_changed_bytes_end_in_an_answer_or_a_close_but_never_in_a_crash(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    chance = random.Random(seed)
    said = bytearray(call(1) + settings({}) + call(3) + frame(Kind.PING, 0, 0, bytes(8)) + call(5))
    for _ in range(chance.randint(1, 4)):
        said[chance.randrange(len(said))] = chance.randrange(256)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(PREFACE + settings({}) + said)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(DEADLINE):
            await reader.read()
    writer.close()
    assert "Fatal error" not in caplog.text
    assert "Exception in" not in caplog.text
