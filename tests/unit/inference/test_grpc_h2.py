import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from driftloop.inference.grpc_v2.h2.connection import FRAME_BYTES
from driftloop.inference.grpc_v2.h2.frames import (
    PREFACE,
    Code,
    Flag,
    Kind,
    Setting,
    frame,
    number,
    settings,
)
from driftloop.inference.grpc_v2.h2.hpack import literal
from driftloop.inference.grpc_v2.h2.intake import BLOCK_BYTES
from driftloop.inference.grpc_v2.h2.limits import Limits
from driftloop.inference.grpc_v2.h2.pool import Pool
from driftloop.inference.grpc_v2.schema import CLASSES
from tests.support.http2 import (
    DEADLINE,
    ENDS,
    Doubling,
    Peer,
    block,
    call,
    connected,
    cut,
    message,
    numbers,
    refused,
    served,
    until,
)

LIMITS = Limits(message_bytes=100_000, calls=4, unread_bytes=250_000, connections=3)


@pytest.fixture
def core() -> Doubling:
    return Doubling()


@pytest.fixture
async def server(core: Doubling) -> AsyncIterator[tuple[tuple[str, int], Pool]]:
    async with served(core, LIMITS) as made:
        yield made


@pytest.fixture
def address(server: tuple[tuple[str, int], Pool]) -> tuple[str, int]:
    return server[0]


@pytest.fixture
def pool(server: tuple[tuple[str, int], Pool]) -> Pool:
    return server[1]


@pytest.fixture
async def peer(address: tuple[str, int]) -> AsyncIterator[Peer]:
    async with connected(address) as made:
        yield made


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


async def test_a_stream_goes_on_where_its_answers_waited_for_room(
    address: tuple[str, int],
) -> None:
    async with connected(address, INITIAL_WINDOW_SIZE=10) as peer:
        peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block("ModelStreamInfer")))
        peer.send(frame(Kind.DATA, Flag.END_STREAM, 1, message(50) * 3))
        size = len((await peer.next(Kind.DATA)).payload)
        peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 10_000}))
        while not (got := await peer.next(Kind.DATA, Kind.HEADERS)).flags & Flag.END_STREAM:
            size += len(got.payload)
        assert size > 3 * 4 * 50


async def test_many_messages_in_one_frame_are_answered(address: tuple[str, int]) -> None:
    async with connected(address) as peer:
        peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block("ModelStreamInfer")))
        peer.send(frame(Kind.DATA, Flag.END_STREAM, 1, message() * 1_000))
        count = 0
        while not (got := await peer.next(Kind.DATA, Kind.HEADERS)).flags & Flag.END_STREAM:
            count += got.kind == Kind.DATA
        assert count == 1_000


async def test_a_peer_without_a_header_table_gets_fields_without_one(
    address: tuple[str, int],
) -> None:
    async with connected(address, HEADER_TABLE_SIZE=0) as peer:
        for stream in (1, 3):
            peer.send(call(stream))
            assert numbers(await peer.answer()) == [0.0, 2.0]
        assert peer.decoder._table == []
        assert peer.decoder._limit == 0


async def test_a_ping_is_answered(peer: Peer) -> None:
    peer.send(frame(Kind.PING, 0, 0, b"12345678"))
    assert (await peer.next(Kind.PING)) == (Kind.PING, Flag.END_STREAM, 0, b"12345678")


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"method": "Other"}, "12", "no such method"),
        ({"accept": "x" * (2**14 - 200)}, "8", "too long"),
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
    assert ("grpc-accept-encoding" in got) == ("grpc_encoding" in fields)
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (":method", "GET", "405"),
        ("content-type", "text/plain", "415"),
        ("content-type", "application/grpc-web", "415"),
        ("content-type", "application/grpc+json", "415"),
    ],
)
async def test_what_is_no_call_of_grpc_gets_a_status_of_http(
    peer: Peer, name: str, value: str, status: str
) -> None:
    peer.send(frame(Kind.HEADERS, ENDS, 1, block(**{name: value})))
    assert await peer.fields() == {":status": status}


@pytest.mark.parametrize("value", ["application/grpc+proto", "application/grpc; charset=utf-8"])
async def test_other_names_of_the_same_media_type_are_accepted(peer: Peer, value: str) -> None:
    peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block(**{"content-type": value})))
    peer.send(frame(Kind.DATA, Flag.END_STREAM, 1, message()))
    assert numbers(await peer.answer()) == [0.0, 2.0]


@pytest.mark.parametrize(
    "fields",
    [
        literal("X-Upper", "1"),
        literal("connection", "close"),
        literal("te", "gzip"),
        literal(":status", "200"),
        literal(":path", "/"),
        literal("a b", ""),
        literal("a", "1\n2"),
    ],
)
async def test_malformed_fields_end_their_stream_alone(peer: Peer, fields: bytes) -> None:
    peer.send(frame(Kind.HEADERS, ENDS, 1, block() + fields))
    assert (await peer.next(Kind.RST_STREAM))[2:] == (1, number(Code.PROTOCOL_ERROR))
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_a_request_may_end_with_fields_but_not_with_pseudo_fields(peer: Peer) -> None:
    for stream, last in ((1, literal("x", "y")), (3, block())):
        peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, stream, block()))
        peer.send(frame(Kind.DATA, 0, stream, message()))
        peer.send(frame(Kind.HEADERS, ENDS, stream, last))
    assert numbers(await peer.answer()) == [0.0, 2.0]
    assert (await peer.next(Kind.RST_STREAM))[2:] == (3, number(Code.PROTOCOL_ERROR))


@pytest.mark.parametrize(
    "said",
    [
        frame(12, 255, 5, b"of another kind"),
        frame(Kind.PRIORITY, 0, 7, number(3) + b"\7"),
        frame(Kind.GOAWAY, 0, 0, bytes(8)),
        frame(Kind.SETTINGS, Flag.ACK, 0),
        settings({Setting.ENABLE_PUSH: 0}) + frame(Kind.SETTINGS, 0, 0, b"\x11\x11" + bytes(4)),
        frame(Kind.PING, Flag.ACK, 0, bytes(8)),
    ],
)
async def test_what_does_not_matter_is_passed_over(peer: Peer, said: bytes) -> None:
    peer.send(said, call(1))
    assert numbers(await peer.answer()) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("by", "code"), [(0, Code.PROTOCOL_ERROR), (2**31 - 1, Code.FLOW_CONTROL_ERROR)]
)
async def test_a_window_of_a_stream_that_cannot_be_ends_the_stream(
    peer: Peer, by: int, code: Code
) -> None:
    peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block()))
    peer.send(frame(Kind.WINDOW_UPDATE, 0, 1, number(by)))
    assert (await peer.next(Kind.RST_STREAM))[2:] == (1, number(code))
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_padding_counts_for_the_window_of_a_stream(peer: Peer) -> None:
    peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 1, block("ModelStreamInfer")))
    padded = b"\xff" + message(id="x" * 100) + bytes(255)
    for _ in range(LIMITS.message_bytes // 2 // len(padded) + 2):
        peer.send(frame(Kind.DATA, Flag.PADDED, 1, padded))
    widened = await peer.next(Kind.WINDOW_UPDATE)
    while widened.stream == 0:
        widened = await peer.next(Kind.WINDOW_UPDATE)
    assert int.from_bytes(widened.payload, "big") % len(padded) == 0


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
    before = refused("unread")
    part = b"\0" + number(LIMITS.message_bytes) + bytes(FRAME_BYTES - 100)
    for stream in (1, 3, 5, 7):
        peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, stream, block()))
        peer.send(frame(Kind.DATA, 0, stream, part))
    assert (await peer.answer())["grpc-status"] == "8"
    assert refused("unread") == before + 1


async def test_connections_over_the_bound_are_closed_and_counted(
    address: tuple[str, int], pool: Pool
) -> None:
    before = cut("connections")
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(address)) for _ in range(3)]
        await until(lambda: len(pool.open) == 3)
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        peers[2].send(call(1))
        assert numbers(await peers[2].answer()) == [0.0, 2.0]
    assert cut("connections") == before + 1


async def test_a_connection_that_leaves_answers_what_it_has(
    core: Doubling, pool: Pool, peer: Peer
) -> None:
    core.held = True
    peer.send(call(1))
    await until(lambda: len(core.waiting) == 1)
    connection = next(iter(pool.open))
    connection.leave()
    assert (await peer.next(Kind.GOAWAY)).payload == number(2**31 - 1) + number(Code.NO_ERROR)
    ping = await peer.next(Kind.PING)
    peer.send(call(3), frame(Kind.PING, Flag.ACK, 0, ping.payload))  # sent before it was read
    assert (await peer.next(Kind.GOAWAY)).payload == number(3) + number(Code.NO_ERROR)
    peer.send(call(5))
    assert (await peer.next(Kind.RST_STREAM))[2:] == (5, number(Code.REFUSED_STREAM))
    assert len(core.waiting) == 2
    for answer in core.waiting:
        answer()
    assert numbers(await peer.answer()) == [0.0, 2.0]
    assert numbers(await peer.answer()) == [0.0, 2.0]
    await until(lambda: not pool.open)


async def test_answers_for_a_peer_that_has_gone_are_dropped(
    core: Doubling, pool: Pool, address: tuple[str, int]
) -> None:
    core.held = True
    async with connected(address) as peer:
        peer.send(call(1))
        await until(lambda: len(core.waiting) == 1)
    await until(lambda: not pool.open)
    core.waiting[0]()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(Kind.DATA, 0, 9, b"x"), Code.PROTOCOL_ERROR),
        (frame(Kind.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frame(Kind.HEADERS, ENDS, 0, block()), Code.PROTOCOL_ERROR),
        (frame(Kind.RST_STREAM, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(Kind.RST_STREAM, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(Kind.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
        (frame(Kind.WINDOW_UPDATE, 0, 1, number(1)), Code.PROTOCOL_ERROR),
        (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
        (frame(Kind.PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
        (frame(Kind.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frame(Kind.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frame(Kind.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
        (frame(Kind.PRIORITY, 0, 1, number(1) + b"\0"), Code.PROTOCOL_ERROR),
        (frame(Kind.PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
        (frame(Kind.HEADERS, Flag.PRIORITY | ENDS, 1, b"abc"), Code.FRAME_SIZE_ERROR),
        (frame(Kind.SETTINGS, Flag.ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
        (frame(Kind.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
        (settings({Setting.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR),
        (settings({Setting.MAX_FRAME_SIZE: 1}), Code.PROTOCOL_ERROR),
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


async def test_data_of_a_request_that_has_ended_is_a_fault(core: Doubling, peer: Peer) -> None:
    core.held = True
    peer.send(call(1), frame(Kind.DATA, 0, 1, b"x"))
    assert await peer.closed() is Code.STREAM_CLOSED


async def test_settings_come_first(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(PREFACE + frame(Kind.PING, 0, 0, bytes(8)))
    async with asyncio.timeout(DEADLINE):
        assert b"does not hold settings" in await reader.read()
    writer.close()
