"""An HTTP/2 peer that says exactly the bytes it is told to say, and a core to answer it."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import numpy as np

from driftloop.inference.grpc_v2.h2.calls import CoreCalls
from driftloop.inference.grpc_v2.h2.connection import Connection
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
from driftloop.inference.grpc_v2.h2.limits import Limits
from driftloop.inference.grpc_v2.h2.pool import Pool
from driftloop.inference.grpc_v2.schema import CLASSES, SERVICE
from driftloop.inference.v2.messages import InferRequest, InferResponse, Tensor
from driftloop.runtime import metrics

DEADLINE: Final = 10.0
ENDS: Final = Flag.END_STREAM | Flag.END_HEADERS


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
        self.decoder = Decoder()

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def sent(self) -> None:
        """What was to be sent has left, or never will."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE):
                await self._writer.drain()

    async def next(self, *kinds: int) -> Frame:
        async with asyncio.timeout(DEADLINE):
            while True:
                high, low, kind, flags, stream = HEAD.unpack(await self._reader.readexactly(9))
                payload = await self._reader.readexactly(high << 8 | low)
                if not kinds or kind in kinds:
                    return Frame(kind, flags, stream, payload)

    async def fields(self) -> dict[str, str]:
        return dict(self.decoder.decode((await self.next(Kind.HEADERS)).payload)[0])

    async def answer(self) -> Any:
        """The answer of one call, in whatever frames it comes; its last fields if it failed."""
        first = await self.fields()
        if "grpc-status" in first:
            return first
        data = bytearray()
        while (got := await self.next(Kind.DATA, Kind.HEADERS)).kind == Kind.DATA:
            data += got.payload
        last = dict(self.decoder.decode(got.payload)[0])
        assert (first[":status"], last["grpc-status"]) == ("200", "0")
        assert int.from_bytes(data[1:5], "big") == len(data) - 5
        return CLASSES["ModelInferResponse"].FromString(bytes(data[5:]))

    async def goodbyes(self) -> list[int]:
        """The last streams that the server names before it closes."""
        found = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while True:
                found.append(struct.unpack(">I", (await self.next(Kind.GOAWAY)).payload[:4])[0])
        return found

    async def closed(self) -> Code:
        """The code of the GOAWAY, after which the server closes."""
        code = Code(struct.unpack(">I", (await self.next(Kind.GOAWAY)).payload[4:8])[0])
        with contextlib.suppress(ConnectionResetError):  # what was not read is thrown away
            async with asyncio.timeout(DEADLINE):
                assert await self._reader.read() == b""
        return code


@contextlib.asynccontextmanager
async def connected(address: tuple[str, int], **said: int) -> AsyncIterator[Peer]:
    """A connection whose settings are `said` first."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        made = Peer(reader, writer)
        made.send(PREFACE, settings({Setting[name]: value for name, value in said.items()}))
        yield made
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def served(core: Any, limits: Limits) -> AsyncIterator[tuple[tuple[str, int], Pool]]:
    """Connections of one server, without what starts and stops it; and its address."""
    pool = Pool(CoreCalls(core, limits.message_bytes), limits)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(pool), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname(), pool
    finally:
        server.close()
        await pool.stop(0)


def block(method: str = "ModelInfer", **more: str) -> bytes:
    said = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{SERVICE}/{method}",
        "content-type": "application/grpc",
        **{
            (name if name[0] == ":" else name.replace("_", "-")): value
            for name, value in more.items()
        },
    }
    return b"".join(literal(name, value) for name, value in said.items())


def message(size: int = 2, id: str = "") -> bytes:
    request = CLASSES["ModelInferRequest"](model_name="m", id=id)
    request.inputs.add(name="x", datatype="FP32", shape=[size])
    request.raw_input_contents.append(np.arange(size, dtype=np.float32).tobytes())
    raw: bytes = request.SerializeToString()
    return b"\0" + number(len(raw)) + raw


def call(stream: int, size: int = 2, id: str = "", **fields: str) -> bytes:
    """A whole call, in frames of at most 60,000 bytes."""
    data, made = message(size, id), frame(Kind.HEADERS, Flag.END_HEADERS, stream, block(**fields))
    while len(data) > 60_000:
        made, data = made + frame(Kind.DATA, 0, stream, data[:60_000]), data[60_000:]
    return made + frame(Kind.DATA, Flag.END_STREAM, stream, data)


def refused(reason: str) -> float:
    """Calls the server has refused for this reason."""
    return metrics.values().get(f"driftloop_grpc_calls_refused_total{{reason={reason}}}", 0.0)


def cut(reason: str) -> float:
    """Connections it has ended for this reason."""
    return metrics.values().get(f"driftloop_grpc_connections_cut_total{{reason={reason}}}", 0.0)


def numbers(answer: Any) -> list[float]:
    return list(np.frombuffer(answer.raw_output_contents[0], np.float32).tolist())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110  # of any kind
            await asyncio.sleep(0.001)
