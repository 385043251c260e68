"""Random frames, random bytes and random ways to say the same, against the gRPC server."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2.h2.frames import PREFACE, Flag, Kind, frame, number
from driftloop.inference.grpc_v2.h2.frames import settings as said
from driftloop.inference.grpc_v2.h2.hpack import kept, literal
from driftloop.inference.grpc_v2.h2.limits import Limits
from driftloop.inference.grpc_v2.h2.pool import Pool
from driftloop.inference.grpc_v2.schema import CLASSES
from driftloop.inference.v2.messages import InferRequest, InferResponse
from tests.support.http2 import (
    DEADLINE,
    ENDS,
    Doubling,
    Peer,
    block,
    call,
    connected,
    message,
    numbers,
    served,
    until,
)

LIMITS = Limits(message_bytes=2_000, calls=5, unread_bytes=3_000, unsent_bytes=2_000, allowance=300)
BOUNDED = how(max_examples=120, derandomize=True, deadline=None, database=None)


class Careful(Doubling):
    """Refuses what it cannot double."""

    def infer_soon(
        self, request: InferRequest, done: Callable[[InferResponse | Exception], None]
    ) -> None:
        try:
            with np.errstate(over="ignore"):
                super().infer_soon(request, done)
        except (IndexError, TypeError, ValueError):
            done(InvalidInput("no"))


BLOCKS = st.sampled_from(
    [
        *[block()] * 3,
        *[block("ModelStreamInfer")] * 3,
        block("Other"),
        block(grpc_timeout="1n"),
        block(grpc_timeout="5S", grpc_encoding="gzip"),
        block("ModelStreamInfer", grpc_timeout="1m"),
        block() + kept("x", "y"),
        b"\x20" + block() + kept("a", "b") + b"\xbe",
        literal("x", "y"),
    ]
)
DATA = st.sampled_from(
    [
        message(),
        message(90),
        message(90)[:50],
        message()[-7:],
        message() * 3,
        b"",
        b"\1" + message(),
    ]
)
NUMBERS = st.sampled_from([1, 7, 10, 100, 5_000, 70_000])
STREAMS = st.integers(0, 4)
"""Which of the streams opened last is meant."""
FLAGS = st.sampled_from([0, 1, 4, 5, 5, 8, 9, 12, 32, 36, 37, 45, 255])
ODD = st.builds(
    frame,
    st.integers(0, 11),
    FLAGS,
    st.sampled_from([0, 1, 2, 3, 2**31 - 1]),
    st.one_of(BLOCKS, DATA, st.binary(max_size=30), st.just(bytes(4)), st.just(bytes(8))),
)
"""Frames that most often break the rules, and end the connection."""
STEPS = st.one_of(
    st.tuples(st.just("open"), BLOCKS, st.booleans()),
    st.tuples(st.just("data"), STREAMS, DATA, st.booleans()),
    st.tuples(st.just("data"), STREAMS, DATA, st.booleans()),
    st.tuples(st.just("end"), STREAMS),
    st.tuples(st.just("reset"), STREAMS),
    st.tuples(st.just("window"), STREAMS, NUMBERS),
    st.tuples(st.just("widen"), NUMBERS),
    st.tuples(st.just("setting"), st.sampled_from([1, 3, 4, 4, 6]), NUMBERS),
    st.tuples(st.just("setting"), st.just(4), st.just(0)),
    st.tuples(st.just("bytes"), st.just(frame(Kind.PING, 0, 0, bytes(8)))),
)
TALKS = st.tuples(st.lists(STEPS, min_size=10, max_size=60), st.lists(ODD, max_size=2))


def talk(steps: list[tuple[Any, ...]]) -> Iterator[bytes]:
    """What the steps say, on streams that were opened before."""
    opened: list[int] = []
    for what, *about in steps:
        if what == "open":
            opened.append(2 * len(opened) + 1)
            flags = Flag.END_HEADERS | (Flag.END_STREAM if about[1] else 0)
            yield frame(Kind.HEADERS, flags, opened[-1], about[0])
        elif what == "widen":
            yield frame(Kind.WINDOW_UPDATE, 0, 0, number(about[0]))
        elif what == "setting":
            yield said({about[0]: about[1]})
        elif what == "bytes":
            yield about[0]
        elif opened:
            stream = opened[-1 - about[0] % len(opened)]
            if what == "data":
                yield frame(Kind.DATA, int(about[2]), stream, about[1])
            elif what == "end":
                yield frame(Kind.HEADERS, ENDS, stream, literal("x", "y"))
            elif what == "reset":
                yield frame(Kind.RST_STREAM, 0, stream, number(8))
            else:
                yield frame(Kind.WINDOW_UPDATE, 0, stream, number(about[1]))


GOOD = call(1, 60) + said({}) + call(3) + frame(Kind.PING, 0, 0, bytes(8)) + call(5)
CHANGES = st.lists(
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 3), st.binary(max_size=12)),
    min_size=1,
    max_size=6,
)


def changed(changes: list[tuple[int, int, bytes]]) -> bytes:
    """A good conversation with bytes put over, put in, taken out or said twice."""
    data = GOOD
    for at, how_, part in changes:
        if how_ == 0:
            data = data[:at] + part + data[at + len(part) :]
        elif how_ == 1:
            data = data[:at] + part + data[at:]
        elif how_ == 2:
            data = data[:at] + data[at + len(part) :]
        else:
            data = data[:at] + data[at // 2 : at] + data[at:]
    return data


class Ring:
    """A server with a well-meaning peer, in an event loop that any test can run in."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.faults: list[Any] = []
        self._stack = contextlib.AsyncExitStack()
        self._stream = -1

    async def start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: self.faults.append(told))
        self.address, self.pool = await self._stack.enter_async_context(served(Careful(), LIMITS))
        self._other: Peer = await self._stack.enter_async_context(connected(self.address))

    async def stop(self) -> None:
        await self._stack.aclose()

    async def good(self) -> None:
        """A good call on another connection is answered."""
        self._stream += 2
        self._other.send(call(self._stream))
        assert numbers(await self._other.answer()) == [0.0, 2.0]

    async def say(self, data: bytes) -> None:
        """Say it, and see that the server lives on."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(PREFACE + said({}) + data)
        await self.good()
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE):
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: len(self.pool.open) == 1)
        assert held(self.pool) == (0, 0, 0, {})
        assert self.faults == []


def held(pool: Pool) -> tuple[Any, ...]:
    return pool.unread, pool.unsent, pool.streams, pool._timed


@pytest.fixture(scope="module", params=[asyncio, uvloop], ids=["asyncio", "uvloop"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    with asyncio.Runner(loop_factory=request.param.new_event_loop) as runner:
        made = Ring(runner)
        runner.run(made.start())
        yield made
        runner.run(made.stop())


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    told = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert told == []


def test_random_frames_never_break_the_server(ring: Ring) -> None:
    @BOUNDED
    @given(TALKS)
    def check(given: tuple[list[tuple[Any, ...]], list[bytes]]) -> None:
        ring.run(ring.say(b"".join([*talk(given[0]), *given[1]])))

    check()


def test_changed_bytes_never_break_the_server(ring: Ring) -> None:
    @BOUNDED
    @given(CHANGES)
    def check(changes: list[tuple[int, int, bytes]]) -> None:
        ring.run(ring.say(changed(changes)))

    check()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces that end at the cuts, which are taken modulo its length."""
    ends = sorted({cut % len(data) for cut in cuts} - {0})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def spoken(stream: int, size: int, cuts: list[int], pad: int) -> tuple[bytes, list[bytes]]:
    """The fields and the data frames of a call, cut and padded."""
    head, *rest = pieces(block(), cuts)
    fields = frame(Kind.HEADERS, 0, stream, head)
    fields += b"".join(frame(Kind.CONTINUATION, 0, stream, part) for part in rest)
    fields += frame(Kind.CONTINUATION, Flag.END_HEADERS, stream)
    frames = [
        frame(Kind.DATA, Flag.PADDED, stream, bytes((pad,)) + part + bytes(pad))
        for part in pieces(message(size), cuts)
    ]
    return fields, [*frames, frame(Kind.HEADERS, ENDS, stream, literal("last", "1"))]


async def understood(
    ring: Ring, window: int, calls: list[tuple[int, list[int], int]], order: list[int]
) -> None:
    async with connected(ring.address, INITIAL_WINDOW_SIZE=window, HEADER_TABLE_SIZE=0) as peer:
        parts = []
        for at, (size, cuts, pad) in enumerate(calls):
            fields, frames = spoken(2 * at + 1, size, cuts, pad)
            peer.send(fields)
            parts.append(frames)
        for pick in [*order, *range(200)]:  # of different calls, mixed
            if frames := parts[pick % len(parts)]:
                peer.send(frames.pop(0))
        answers = await taken(peer, len(calls))
    for at, (size, _, _) in enumerate(calls):
        made = CLASSES["ModelInferResponse"].FromString(bytes(answers[2 * at + 1][5:]))
        assert numbers(made) == [2.0 * value for value in range(size)]


async def taken(peer: Peer, count: int) -> dict[int, bytearray]:
    """The data of so many answers, room being made for every piece that comes."""
    data: dict[int, bytearray] = {}
    while count:
        got = await peer.next(Kind.DATA, Kind.HEADERS)
        if got.kind == Kind.HEADERS:
            fields = dict(peer.decoder.decode(got.payload)[0])
            count -= bool(got.flags & Flag.END_STREAM)
            assert fields.get("grpc-status", "0") == "0", fields
        else:
            data.setdefault(got.stream, bytearray()).extend(got.payload)
            more = number(len(got.payload))
            peer.send(frame(Kind.WINDOW_UPDATE, 0, got.stream, more))
    return data


def test_one_call_is_understood_however_it_is_said(ring: Ring) -> None:
    cuts = st.lists(st.integers(0, 400), max_size=6)
    a_call = st.tuples(st.integers(0, 90), cuts, st.integers(0, 255))

    @BOUNDED
    @given(
        st.integers(40, 400),
        st.lists(a_call, min_size=1, max_size=3),
        st.lists(st.integers(0, 2), max_size=12),
    )
    def check(window: int, calls: list[tuple[int, list[int], int]], order: list[int]) -> None:
        ring.run(understood(ring, window, calls, order))

    check()
