"""gRPC: calls whose messages are wrong, and frames that are."""

import asyncio
import contextlib
from functools import cache
from random import Random
from typing import Any, Final

import numpy as np

from driftloop.inference.grpc_v2.h2.frames import PREFACE, Flag, Kind, frame, number, settings
from driftloop.inference.grpc_v2.h2.hpack import literal
from driftloop.inference.grpc_v2.schema import CLASSES, SERVICE
from tests.fuzz import mutate
from tests.fuzz.case import SECONDS, TARGET, Case, Result
from tests.fuzz.doors import bodies
from tests.fuzz.doors.v2 import DATATYPES, MATRIX
from tests.support.http2 import Peer

METHODS: Final = (
    "ModelInfer",
    "ModelInfer",
    "ModelInfer",
    "ModelInfer",
    "ModelMetadata",
    "ModelReady",
    "ServerReady",
    "ServerMetadata",
    "ModelStreamInfer",
    "RepositoryIndex",
    "Other",
)
BUGS: Final = {"2": "UNKNOWN", "13": "INTERNAL", "15": "DATA_LOSS"}
"""What no fault of a caller is answered with (gRPC, "Status codes and their use")."""
RIGHT: Final = 0.08


def message(random: Random) -> bytes:
    """A question in protobuf, its tensors changed one by one or all of it byte by byte."""
    request = CLASSES["ModelInferRequest"](
        model_name=bodies.model(random).encode("utf-8", "replace").decode(),
        model_version=random.choice(("", "", "", "1", "7", "abc")),
        id=mutate.text(random).encode("utf-8", "replace").decode() if random.random() < 0.1 else "",
    )
    for _ in range(random.choice((1, 1, 1, 2, 0))):
        tensor = request.inputs.add(name="X", datatype="FP32", shape=[3, 6])
        data = MATRIX.tobytes()
        if random.random() > RIGHT:
            tensor.name = random.choice(("X", "X", "X", "hour", "Y", ""))
            tensor.datatype = random.choice(("FP32", "FP32", random.choice(DATATYPES)))
            small = [n for n in mutate.NUMBERS if isinstance(n, int) and -(2**63) <= n < 2**63]
            if random.random() < 0.3:
                del tensor.shape[:]
                tensor.shape.extend(random.choices(small, k=random.randrange(4)))
            if random.random() < 0.5:
                data = mutate.raw(random, data)
        if random.random() < 0.7:
            request.raw_input_contents.append(data)
        else:
            odd = [*MATRIX.ravel().tolist(), *random.choices((np.nan, np.inf, -1.0), k=2)]
            tensor.contents.fp32_contents.extend(odd[: random.choice((18, 18, 20, 0))])
    made = bytes(request.SerializeToString())
    return mutate.raw(random, made, (number(2**31 - 1),)) if random.random() < 0.5 else made


def block(method: str, **more: str) -> bytes:
    """The header block of a call."""
    said = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{SERVICE}/{method}",
        "content-type": "application/grpc",
        **more,
    }
    return b"".join(literal(name, value) for name, value in said.items())


class GrpcCalls:
    """Whole calls in right frames, one a connection; each has to end with a status."""

    name = "grpc-calls"
    share = 0.08
    at_once = 4

    def make(self, random: Random) -> Case:
        """A call."""
        told = message(random)
        more = {}
        if random.random() < 0.1:
            more["grpc-timeout"] = random.choice(
                ("1n", "5S", "x", "-1S", "99999999H", "999999999m")
            )
        if random.random() < 0.05:
            more["grpc-encoding"] = random.choice(("gzip", "x", "identity"))
        if random.random() < 0.05:
            more["content-type"] = random.choice(("application/grpc+proto", "text/plain", ""))
        return Case(
            how=random.choice(METHODS),
            headers=tuple(more.items()),
            target=random.choice(("\0", "\0", "\0", "\0", "\0", "\1", "\2")),
            body=told,
        )

    async def send(self, scene: Any, case: Case) -> Result:
        """Call, and judge the status."""
        data = case.target.encode() + number(len(case.body)) + case.body
        sent = [
            PREFACE,
            settings({}),
            frame(Kind.HEADERS, Flag.END_HEADERS, 1, block(case.how, **dict(case.headers))),
        ]
        while len(data) > 16_000:
            sent, data = [*sent, frame(Kind.DATA, 0, 1, data[:16_000])], data[16_000:]
        sent.append(frame(Kind.DATA, Flag.END_STREAM, 1, data))
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", scene.grpc_port)
            try:
                peer = Peer(reader, writer)
                peer.send(*sent)
                return await _status(peer)
            finally:
                writer.close()


async def _status(peer: Peer) -> Result:
    """The status of the one call of a connection."""
    try:
        while True:
            got = await peer.next(Kind.HEADERS, Kind.RST_STREAM, Kind.GOAWAY)
            if got.kind != Kind.HEADERS:
                return Result("closed")
            fields = dict(peer.decoder.decode(got.payload)[0])
            status = fields.get("grpc-status", "")
            if fields.get(":status", "200") not in ("200", "415"):
                return Result("refused", f"status {fields}")
            if status in BUGS:
                return Result("refused", f"{BUGS[status]}: {fields.get('grpc-message', '')[:300]}")
            if status:
                return Result({"0": "taken", "14": "busy", "4": "late"}.get(status, "refused"))  # type: ignore[arg-type]
            if got.flags & Flag.END_STREAM:
                return Result("refused")
    except (asyncio.IncompleteReadError, OSError):
        return Result("closed", "the connection was closed in the middle of a call")


@cache
def _talks() -> tuple[bytes, ...]:
    """Good talks: a short one, one with a large message in several frames, and a ping between."""
    from random import Random as Chance

    made: list[bytes] = []
    for seed in range(6):
        random = Chance(seed)
        parts = [PREFACE, settings({})]
        for stream in (1, 3, 5):
            method = random.choice(METHODS)
            data = message(random)
            parts += [
                frame(Kind.HEADERS, Flag.END_HEADERS, stream, block(method)),
                frame(Kind.PING, 0, 0, bytes(8)),
                frame(Kind.DATA, Flag.END_STREAM, stream, b"\0" + number(len(data)) + data),
                frame(Kind.WINDOW_UPDATE, 0, 0, number(1_000)),
            ]
        made.append(b"".join(parts))
    return tuple(made)


class GrpcFrames:
    """Talks whose bytes are wrong; the server has to end each."""

    name = "grpc-frames"
    share = 0.05
    at_once = 4

    def make(self, random: Random) -> Case:
        """A talk with changes after its preface, most of the time; a frame more sometimes."""
        talk = random.choice(_talks())
        if random.random() < 0.3:
            at = len(PREFACE) + 9
            strange = frame(
                random.randrange(12),
                random.randrange(256),
                random.choice((0, 1, 2, 3, 7, 2**31 - 1)),
                random.randbytes(random.choice((0, 1, 4, 5, 6, 8, 100))),
            )
            talk = talk[:at] + strange + talk[at:]
        start = 0 if random.random() < 0.1 else len(PREFACE)
        body = talk[:start] + mutate.raw(random, talk[start:], _talks(), 3)
        return Case(how="talk", target=TARGET, body=body)

    async def send(self, scene: Any, case: Case) -> Result:
        """Say it all, hang up, and read until the server has hung up as well."""
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", scene.grpc_port)
            try:
                with contextlib.suppress(OSError):  # the server hangs up as soon as it may
                    writer.write(case.body)
                    await writer.drain()
                    writer.write_eof()
                    while await reader.read(65_536):
                        continue
                return Result("closed")
            finally:
                writer.close()
