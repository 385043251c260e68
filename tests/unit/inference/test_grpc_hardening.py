"""Peers that mean harm, or are broken: each bound of the gRPC server, and what runs into it."""

import asyncio
import contextlib
import threading
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from driftloop.inference.grpc_v2.h2 import calls, heads, messages
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
from driftloop.inference.grpc_v2.h2.hpack import kept
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

LIMITS = Limits(
    message_bytes=300_000,
    calls=50,
    all_calls=60,
    unread_bytes=500_000,
    all_unread_bytes=700_000,
    unsent_bytes=100_000,
    all_unsent_bytes=150_000,
    allowance=400,
    allowance_a_second=1,
    sweep_seconds=0.01,
    tick_seconds=0.005,
)
SOON = 0.05
CANCEL = number(Code.CANCEL)
Address = tuple[str, int]


@pytest.fixture
def core() -> Doubling:
    return Doubling()


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> Limits:
    """Those of above, with what a test asks for."""
    return replace(LIMITS, **getattr(request, "param", {}))


@pytest.fixture
async def server(core: Doubling, limits: Limits) -> AsyncIterator[tuple[Address, Pool]]:
    async with served(core, limits) as made:
        yield made
    pool = made[1]
    assert (pool.unread, pool.unsent, pool.streams, pool._timed) == (0, 0, 0, {})


@pytest.fixture
def address(server: tuple[Address, Pool]) -> Address:
    return server[0]


@pytest.fixture
def pool(server: tuple[Address, Pool]) -> Pool:
    return server[1]


@pytest.fixture
async def peer(address: Address) -> AsyncIterator[Peer]:
    async with connected(address) as made:
        yield made


@pytest.fixture
async def other(address: Address) -> AsyncIterator[Peer]:
    """A peer that means well, on a connection of its own."""
    async with connected(address) as made:
        yield made


def within(**times: float) -> pytest.MarkDecorator:
    """Limits with these times."""
    return pytest.mark.parametrize("limits", [times], indirect=True, ids=[next(iter(times))])


def opened(stream: int, method: str = "ModelInfer", **fields: str) -> bytes:
    return frame(Kind.HEADERS, Flag.END_HEADERS, stream, block(method, **fields))


FLOODS = {
    "resets": lambda at: call(at) + frame(Kind.RST_STREAM, 0, at, CANCEL),
    "resets of calls begun": lambda at: opened(at) + frame(Kind.RST_STREAM, 0, at, CANCEL),
    "resets asked for": lambda at: opened(at) + frame(Kind.WINDOW_UPDATE, 0, at, number(0)),
    "pings": lambda at: frame(Kind.PING, 0, 0, bytes(8)),
    "settings": lambda at: settings({}),
    "priorities": lambda at: frame(Kind.PRIORITY, 0, at, bytes(5)),
    "window updates": lambda at: frame(Kind.WINDOW_UPDATE, 0, 0, number(1)),
    "unknown frames": lambda at: frame(77, 0, 0),
    "goodbyes": lambda at: frame(Kind.GOAWAY, 0, 0, bytes(8)),
    "empty data": lambda at: (opened(1) if at == 1 else b"") + frame(Kind.DATA, 0, 1),
    "continuations": lambda at: (
        frame(Kind.HEADERS, 0, 1) if at == 1 else frame(Kind.CONTINUATION, 0, 1)
    ),
}


@pytest.mark.parametrize("flood", list(FLOODS))
async def test_a_flood_ends_the_connection_and_hurts_no_other(
    core: Doubling, address: Address, other: Peer, flood: str
) -> None:
    core.held = True
    before = cut("enhance_your_calm")
    async with connected(address) as peer:
        peer.send(*[FLOODS[flood](at) for at in range(1, 4 * LIMITS.allowance, 2)])
        assert await peer.closed() is Code.ENHANCE_YOUR_CALM
    assert cut("enhance_your_calm") == before + 1
    assert len(core.waiting) <= LIMITS.calls  # what was reset is held until the core is done
    core.held = False
    other.send(call(1))
    assert numbers(await other.answer()) == [0.0, 2.0]
    for answer in core.waiting:
        answer()


async def test_settings_cost_by_what_they_hold(peer: Peer) -> None:
    many = [frame(Kind.SETTINGS, 0, 0, (b"\0\4" + number(1)) * 100) for _ in range(5)]
    peer.send(*many)
    assert await peer.closed() is Code.ENHANCE_YOUR_CALM


async def test_calls_answered_earn_what_pings_and_resets_cost(core: Doubling, peer: Peer) -> None:
    for at in range(1, 2 * LIMITS.allowance, 4):
        peer.send(frame(Kind.PING, 0, 0, bytes(8)), call(at))
        peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, at + 2, block()))
        peer.send(frame(Kind.RST_STREAM, 0, at + 2, CANCEL))
        assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_a_header_block_without_an_end_is_cut(peer: Peer) -> None:
    peer.send(frame(Kind.HEADERS, 0, 1, bytes(BLOCK_BYTES)), frame(Kind.CONTINUATION, 0, 1, b"x"))
    assert await peer.closed() is Code.ENHANCE_YOUR_CALM


async def test_a_small_block_that_stands_for_a_long_list_of_fields_is_refused(peer: Peer) -> None:
    long = kept("x-bomb", "y" * 3_900)
    peer.send(frame(Kind.HEADERS, ENDS, 1, block() + long + b"\xbe" * 200))
    assert (await peer.answer())["grpc-status"] == "8"
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_a_table_may_be_emptied_and_filled_again(peer: Peer) -> None:
    peer.send(frame(Kind.HEADERS, ENDS, 1, b"\x20" + block() + kept("a", "b")))
    assert (await peer.answer())["grpc-status"] == "3"
    fields = b"\x20\x3f\xe1\x1f" + block() + kept("a", "b") + b"\xbe"
    peer.send(frame(Kind.HEADERS, Flag.END_HEADERS, 3, fields))
    peer.send(frame(Kind.DATA, Flag.END_STREAM, 3, message()))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_calls_of_all_connections_together_are_bounded(
    core: Doubling, peer: Peer, other: Peer, pool: Pool
) -> None:
    core.held = True
    peer.send(*[call(2 * at + 1) for at in range(50)])
    await until(lambda: pool.streams == 50)
    before = refused("calls")
    other.send(*[call(2 * at + 1) for at in range(11)])
    assert (await other.next(Kind.RST_STREAM))[2:] == (21, number(Code.REFUSED_STREAM))
    assert refused("calls") == before + 1
    for answer in core.waiting:
        answer()


async def test_unread_bytes_of_all_connections_together_are_bounded(
    peer: Peer, other: Peer, pool: Pool
) -> None:
    part = opened(1) + frame(Kind.DATA, 0, 1, b"\0" + number(300_000) + bytes(60_000))
    more = [frame(Kind.DATA, 0, 1, bytes(60_000))] * 3
    for one in (peer, other):
        for _ in range(1):
            one.send(part, *more)
    await until(lambda: pool.unread > 400_000)
    before = refused("unread")
    other.send(
        opened(3),
        frame(Kind.DATA, 0, 3, b"\0" + number(300_000) + bytes(60_000)),
        *[frame(Kind.DATA, 0, 3, bytes(60_000))] * 3,
    )
    assert (await other.answer())["grpc-status"] == "8"
    assert refused("unread") == before + 1
    assert pool.unread <= 700_000


async def test_answers_nobody_takes_are_bounded_and_refused(address: Address, pool: Pool) -> None:
    before = refused("unsent")
    async with connected(address, INITIAL_WINDOW_SIZE=0) as peer:
        peer.send(*[call(2 * at + 1, 8_000) for at in range(3)])
        for _ in range(3):
            await peer.fields()
        peer.send(call(7, 8_000))
        assert (await peer.fields())[":status"] == "200"
        assert (await peer.fields())["grpc-status"] == "8"
        assert refused("unsent") == before + 1
        assert pool.unsent <= LIMITS.unsent_bytes
        peer.send(settings({Setting.INITIAL_WINDOW_SIZE: 100_000}))
        peer.send(frame(Kind.WINDOW_UPDATE, 0, 0, number(100_000)))
        ends = [await peer.next(Kind.HEADERS) for _ in range(3)]
        assert [end.stream for end in ends] == [1, 3, 5]
        assert pool.unsent == 0


@within(write_seconds=SOON)
async def test_an_answer_whose_window_stays_shut_is_given_up(address: Address, pool: Pool) -> None:
    before = refused("answer_not_taken")
    async with connected(address, INITIAL_WINDOW_SIZE=10) as peer:
        peer.send(call(1, 1_000), call(3, 0))
        assert (await peer.next(Kind.RST_STREAM))[2:] == (1, CANCEL)
        assert (refused("answer_not_taken"), pool.unsent) == (before + 2, 0)


@within(write_seconds=SOON)
async def test_a_peer_that_reads_nothing_at_all_is_cut_off(address: Address, pool: Pool) -> None:
    before = cut("answers_not_read")
    reader, writer = await asyncio.open_connection(*address, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket it is a transport
    wide = settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1})
    wide += frame(Kind.WINDOW_UPDATE, 0, 0, number(2**31 - 1 - 65_535))
    writer.write(PREFACE + wide)
    for at in range(200):
        writer.write(call(2 * at + 1, 50_000))
    await until(lambda: cut("answers_not_read") == before + 1)
    assert pool.unsent <= LIMITS.unsent_bytes
    await until(lambda: not pool.open)
    writer.transport.abort()
    del reader


@within(read_seconds=SOON)
@pytest.mark.parametrize(
    "said",
    [
        frame(Kind.PING, 0, 0, bytes(8))[:-1],
        frame(Kind.PING, 0, 0, bytes(8))[:5],
        frame(Kind.HEADERS, 0, 1, b""),
    ],
    ids=["frame", "frame's head", "header block"],
)
async def test_what_is_begun_and_not_ended_is_cut_off(peer: Peer, said: bytes) -> None:
    before = cut("slow")
    peer.send(said)
    await until(lambda: cut("slow") == before + 1)


@within(read_seconds=SOON)
async def test_a_request_whose_rest_does_not_come_is_given_up(peer: Peer) -> None:
    before = refused("slow")
    peer.send(opened(1), frame(Kind.DATA, 0, 1, message()[:-1]))
    assert (await peer.answer())["grpc-status"] == "4"
    assert refused("slow") == before + 1
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


@within(greet_seconds=SOON)
@pytest.mark.parametrize("said", [b"", PREFACE[:10], PREFACE])
async def test_who_does_not_greet_is_cut_off(address: Address, said: bytes) -> None:
    before = cut("no_greeting")
    _, writer = await asyncio.open_connection(*address)
    writer.write(said)
    await until(lambda: cut("no_greeting") == before + 1)
    writer.close()


@within(idle_seconds=SOON, ping_seconds=SOON)
async def test_a_silent_peer_is_asked_and_cut_off_if_it_does_not_answer(peer: Peer) -> None:
    before = cut("dead")
    for _ in range(3):
        ping = await peer.next(Kind.PING)
        peer.send(frame(Kind.PING, Flag.ACK, 0, ping.payload))
    assert cut("dead") == before
    await until(lambda: cut("dead") == before + 1)


async def test_a_deadline_is_kept_where_the_core_does_not_answer(
    core: Doubling, peer: Peer, pool: Pool
) -> None:
    core.held = True
    before = refused("deadline")
    peer.send(opened(1, grpc_timeout="20m"), frame(Kind.DATA, Flag.END_STREAM, 1, message()))
    told = await peer.answer()
    assert (told["grpc-status"], told["grpc-message"]) == (
        "4",
        "ModelInfer: the deadline of 0.02 s has passed",
    )
    assert refused("deadline") == before + 1
    assert pool.streams == 1  # the core is at it still
    core.waiting[0]()
    assert pool.streams == 0
    core.held = False
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]


async def test_a_deadline_counts_while_the_request_is_sent(peer: Peer) -> None:
    peer.send(opened(1, grpc_timeout="10m"), frame(Kind.DATA, 0, 1, message()[:-1]))
    assert (await peer.answer())["grpc-status"] == "4"


async def test_a_deadline_ends_a_stream_whose_answers_nobody_takes(
    address: Address, pool: Pool
) -> None:
    async with connected(address, INITIAL_WINDOW_SIZE=10) as peer:
        peer.send(opened(1, "ModelStreamInfer", grpc_timeout="50m"))
        peer.send(frame(Kind.DATA, 0, 1, message(100)))
        assert (await peer.fields())[":status"] == "200"
        assert (await peer.fields())["grpc-status"] == "4"
        assert (pool.unsent, pool.streams) == (0, 0)


async def test_a_deadline_is_read_anew_for_each_call(core: Doubling, peer: Peer) -> None:
    core.held = True
    fields = [{"grpc_timeout": "1H"}, {}, {"grpc_timeout": "15m"}, {"grpc_timeout": "1x"}]
    for at, said in enumerate(fields):
        peer.send(opened(2 * at + 1, **said), frame(Kind.DATA, 1, 2 * at + 1, message()))
    ends = [await peer.next(Kind.HEADERS) for _ in range(2)]
    assert [end.stream for end in ends] == [7, 5]
    for answer in core.waiting:
        answer()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_a_call_that_was_cancelled_forgets_its_answer(
    core: Doubling, peer: Peer, pool: Pool, method: str
) -> None:
    core.held = True
    peer.send(opened(1, method), frame(Kind.DATA, Flag.END_STREAM, 1, message()))
    await until(lambda: len(core.waiting) == 1)
    peer.send(frame(Kind.RST_STREAM, 0, 1, CANCEL))
    core.held = False
    peer.send(call(3))
    assert numbers(await peer.answer()) == [0.0, 2.0]
    assert pool.streams == 1
    core.waiting[0]()
    core.waiting[0]()  # even if it tells twice
    assert pool.streams == 0
    peer.send(frame(Kind.PING, 0, 0, bytes(8)))
    assert (await peer.next()).kind == Kind.PING


async def test_a_core_that_answers_twice_is_heard_once(core: Doubling, peer: Peer) -> None:
    core.held = True
    for stream, method in ((1, "ModelInfer"), (3, "ModelStreamInfer")):
        peer.send(opened(stream, method), frame(Kind.DATA, 0, stream, message()))
        peer.send(frame(Kind.DATA, Flag.END_STREAM, stream))
    await until(lambda: len(core.waiting) == 2)
    for answer in core.waiting:
        answer()
        answer()
    ends = [await peer.next(Kind.HEADERS) for _ in range(4)]
    assert [(one.stream, one.flags & Flag.END_STREAM) for one in ends] == [
        *((1, 0), (1, 1)),
        *((3, 0), (3, 1)),
    ]


def packed(data: bytes, wbits: int = 31) -> bytes:
    """A message as gzip, or as gRPC's deflate (which is zlib)."""
    deflater = zlib.compressobj(wbits=wbits)
    made = deflater.compress(data) + deflater.flush()
    return b"\1" + number(len(made)) + made


def random_message(size: int) -> bytes:
    """One that stays as large when it is compressed."""
    request = CLASSES["ModelInferRequest"](model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[size])
    state, values = 1, bytearray()
    while len(values) < 4 * size:
        state = state * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        values += state.to_bytes(4, "little")[:3] + b"\x3f"
    request.raw_input_contents.append(bytes(values))
    return bytes(request.SerializeToString())


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
@pytest.mark.parametrize("size", [2, 3_000], ids=["here", "in a thread"])
@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_compressed_messages_are_read(
    peer: Peer, pool: Pool, encoding: str, wbits: int, size: int, method: str
) -> None:
    raw = packed(random_message(size), wbits)
    assert (len(raw) > calls.INFLATE_HERE) == (size > 2)
    peer.send(opened(1, method, grpc_encoding=encoding))
    peer.send(frame(Kind.DATA, Flag.END_STREAM, 1, raw))
    await peer.fields()
    assert len((await peer.next(Kind.DATA)).payload) > 4 * size
    assert dict(peer.decoder.decode((await peer.next(Kind.HEADERS)).payload)[0]) == {
        "grpc-status": "0"
    }
    assert pool.streams == 0


@pytest.mark.parametrize(
    ("raw", "status", "says"),
    [
        (packed(bytes(300_001)), "8", "300001 bytes are too many"),
        (packed(random_message(2_000))[:-9], "3", "not one message"),
        (b"\1" + number(3) + b"abc", "3", "is not gzip"),
        (b"\1" + number(12) + packed(b"x")[5:17], "3", "ends too early"),
        (b"\1" + number(len(packed(b"x")) - 4) + packed(b"x")[5:] + b"y", "3", "behind its gzip"),
        (b"\2" + packed(b"x")[1:], "3", "compression is not named"),
    ],
)
async def test_compressed_messages_that_are_none_are_refused(
    peer: Peer, raw: bytes, status: str, says: str
) -> None:
    peer.send(opened(1, grpc_encoding="gzip"), frame(Kind.DATA, Flag.END_STREAM, 1, raw))
    told = await peer.answer()
    assert (told["grpc-status"], says in told["grpc-message"]) == (status, True)


async def test_messages_that_wait_to_be_inflated_count_as_unread(
    peer: Peer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, inflated = threading.Event(), messages.inflated

    def slowly(*given: Any) -> bytes:
        assert go.wait(DEADLINE)
        return inflated(*given)

    monkeypatch.setattr(calls, "inflated", slowly)
    raw = packed(random_message(50_000))
    before = refused("unread")
    for stream in (1, 3, 5):
        peer.send(opened(stream, grpc_encoding="gzip"))
        for at in range(0, len(raw), 60_000):
            end = Flag.END_STREAM if at + 60_000 >= len(raw) else 0
            peer.send(frame(Kind.DATA, end, stream, raw[at : at + 60_000]))
    assert (await peer.next(Kind.HEADERS))[1:3] == (ENDS, 5)
    assert refused("unread") == before + 1
    go.set()
    await until(lambda: pool.unread == 0)


async def test_a_peer_that_leaves_in_the_middle_leaves_nothing_behind(
    core: Doubling, address: Address, pool: Pool
) -> None:
    core.held = True
    async with connected(address, INITIAL_WINDOW_SIZE=0) as peer:
        peer.send(opened(1), frame(Kind.DATA, 0, 1, bytes(20)))
        peer.send(call(3, grpc_timeout="1H"), opened(5, "ModelStreamInfer"))
        peer.send(frame(Kind.DATA, 0, 5, message() + b"\0\0"))
        await until(lambda: len(core.waiting) == 2 and pool.unread == 22)
        core.waiting[1]()
        await until(lambda: pool.unsent > 0)
    await until(lambda: not pool.open)
    assert (pool.unread, pool.unsent, pool.streams) == (0, 0, 0)
    core.waiting[0]()


async def test_a_stop_ends_idle_connections_at_once_and_busy_ones_after_the_grace(
    core: Doubling, peer: Peer, other: Peer, pool: Pool
) -> None:
    core.held = True
    peer.send(call(1))
    await until(lambda: len(core.waiting) == 1)
    await until(lambda: len(pool.open) == 2)
    stopped = asyncio.create_task(pool.stop(DEADLINE))
    assert await other.goodbyes() == [2**31 - 1, 0]
    assert len(pool.open) == 1
    core.waiting[0]()
    assert numbers(await peer.answer()) == [0.0, 2.0]
    await asyncio.wait_for(stopped, DEADLINE)


async def test_a_bug_ends_its_connection_alone(
    address: Address, other: Peer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level("INFO", logger="driftloop")
    async with connected(address) as peer:
        peer.send(call(1))
        await peer.answer()
        with monkeypatch.context() as patched:
            patched.setattr(heads, "_malformed", partial(dict, 1))
            peer.send(frame(Kind.HEADERS, ENDS, 3, block(x="new")))
            assert await peer.closed() is Code.INTERNAL_ERROR
    assert "a frame could not be read" in caplog.text
    with contextlib.suppress(TimeoutError):
        other.send(call(1))
        assert numbers(await other.answer()) == [0.0, 2.0]
