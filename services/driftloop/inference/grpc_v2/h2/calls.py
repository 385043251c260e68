"""gRPC over HTTP/2: the fields and messages of a call, answered by the protocol's core."""

import asyncio
import re
import time
import zlib
from functools import partial
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2.answers import WINDOW, ask, stream_message
from driftloop.inference.grpc_v2.asked import Answer, Core
from driftloop.inference.grpc_v2.codec import to_bytes, to_request
from driftloop.inference.grpc_v2.faults import (
    Status,
    TooLarge,
    note,
    status_of,
    text_of,
    trailers_of,
)
from driftloop.inference.grpc_v2.h2.connection import Connection
from driftloop.inference.grpc_v2.h2.hpack import literal
from driftloop.inference.grpc_v2.h2.streams import Head, Slot, Stream
from driftloop.inference.grpc_v2.methods import INFER, STREAM, Methods
from driftloop.inference.grpc_v2.schema import SERVICE
from driftloop.inference.v2.messages import InferResponse
from driftloop.runtime import metrics

PREFIX_BYTES: Final = 5
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_ENCODINGS: Final = ("identity", "gzip", "deflate")
_EXCESS: Final = metrics.counter(
    "grpc_excess", "gRPC calls refused because too many bytes of requests were unread"
)


class CoreCalls:
    """Answers calls by one core. Messages are bounded; answers go out uncompressed."""

    def __init__(self, core: Core, message_bytes: int) -> None:
        self._core = core
        self._infer_soon = core.infer_soon
        self._methods = Methods(core)
        self._most = message_bytes
        self._known = {f"/{SERVICE}/{name}": name for name in (INFER, STREAM, *self._methods.names)}
        self._tasks: set[asyncio.Task[None]] = set()

    def head(self, fields: dict[str, str]) -> Head:
        """What the fields say; a call that cannot be answered has a status."""
        path = fields.get(":path", "")
        method = self._known.get(path)
        encoding = fields.get("grpc-encoding", "identity")
        if fields.get(":method") != "POST" or not fields.get("content-type", "").startswith(
            "application/grpc"
        ):
            text = f"{path[:80]}: is no call of gRPC; accepted: POST with application/grpc"
            return Head(status=Status.INVALID_ARGUMENT, text=text)
        if method is None:
            return Head(status=Status.UNIMPLEMENTED, text=f"{path[:80]}: there is no such method")
        if encoding not in _ENCODINGS:
            text = f"grpc-encoding: {encoding[:40]!r}; accepted: {', '.join(_ENCODINGS)}"
            return Head(status=Status.UNIMPLEMENTED, text=text)
        timeout = 0.0
        if "grpc-timeout" in fields:
            found = _TIMEOUT.fullmatch(fields["grpc-timeout"])
            if found is None:
                text = f"grpc-timeout: {fields['grpc-timeout'][:40]!r}; accepted: as in 250m"
                return Head(status=Status.INVALID_ARGUMENT, text=text)
            timeout = max(1e-9, int(found[1]) * _SECONDS[found[2]])
        return Head(method, timeout, encoding, many=method == STREAM)

    def whole(self, connection: Connection, stream: Stream, data: bytes) -> None:
        """Answer a call with one message."""
        head = stream.head
        if head.status:
            self._refuse_head(connection, stream)
            return
        try:
            size = len(data) - PREFIX_BYTES
            if size < 0 or data[0] or int.from_bytes(data[1:5], "big") != size or size > self._most:
                raw = self._odd_message(head, data)
            else:
                raw = data[PREFIX_BYTES:]
            deadline = time.perf_counter() + head.timeout if head.timeout else 0.0
            if head.method == INFER:
                request = to_request(raw, deadline)
                self._infer_soon(request, partial(self._answered, connection, stream))
            else:
                task = asyncio.create_task(self._answer(connection, stream, raw))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except Exception as error:  # a bug: told as INTERNAL and logged
            self._refuse(connection, stream, error)

    def more(self, connection: Connection, stream: Stream) -> None:
        """Look at the part of a message that is there; answer what is complete of a stream."""
        if stream.head.status:
            self._refuse_head(connection, stream)
        elif not stream.head.many:
            size = int.from_bytes(stream.data[1:PREFIX_BYTES], "big")
            if len(stream.data) >= PREFIX_BYTES and size > self._most:
                self._refuse(connection, stream, self._too_large(size))
        else:
            if not stream.deadline and stream.head.timeout:
                stream.deadline = time.perf_counter() + stream.head.timeout
            try:
                self._advance(connection, stream)
            except Exception as error:  # a bug: told as INTERNAL and logged
                self._refuse(connection, stream, error)

    def excess(self, connection: Connection, stream: Stream) -> None:
        """Refuse the call whose bytes are one too many."""
        _EXCESS.inc()
        self._refuse(connection, stream, self._too_large(len(stream.data)))

    def _answered(self, connection: Connection, stream: Stream, answer: Answer) -> None:
        if isinstance(answer, InferResponse):
            try:
                self._send(connection, stream, to_bytes(answer))
                return
            except Exception as error:  # a bug: told as INTERNAL and logged
                answer = error
        self._refuse(connection, stream, answer)

    async def _answer(self, connection: Connection, stream: Stream, raw: bytes) -> None:
        try:
            answer = await self._methods.answer(stream.head.method, raw)
        except Exception as error:  # a bug: told as INTERNAL and logged
            self._refuse(connection, stream, error)
        else:
            self._send(connection, stream, answer)

    def _send(self, connection: Connection, stream: Stream, answer: bytes) -> None:
        if stream.gone:
            connection.closed(stream)
        else:
            connection.writer.whole(stream, answer)

    def _advance(self, connection: Connection, stream: Stream) -> None:
        """Hand complete messages of a stream to the core, as many as the window lets."""
        while len(stream.order) < WINDOW and not stream.backlog and not stream.gone:
            data = stream.data
            size = int.from_bytes(data[1:PREFIX_BYTES], "big")
            if len(data) >= PREFIX_BYTES and size > self._most:
                raise self._too_large(size)
            if len(data) < PREFIX_BYTES + size or not data:
                break
            raw = bytes(data[: PREFIX_BYTES + size])
            connection.handed_on(stream, len(raw))
            raw = self._odd_message(stream.head, raw) if raw[0] else raw[PREFIX_BYTES:]
            self._begin(connection, stream, raw)
        if stream.ended and not stream.order and not stream.gone and stream.trailers is None:
            if stream.data:
                raise InvalidInput("body: ends within a message; accepted: whole messages")
            connection.writer.end(stream)

    def _begin(self, connection: Connection, stream: Stream, raw: bytes) -> None:
        slot = Slot()
        stream.order.append(slot)

        def done(answer: Answer) -> None:
            slot.answer = answer
            if slot.asked:  # not within the call of `ask`
                self._deliver(connection, stream)
                self.more(connection, stream)

        slot.id = ask(self._core, raw, stream.deadline, done)
        slot.asked = True
        self._deliver(connection, stream)

    def _deliver(self, connection: Connection, stream: Stream) -> None:
        """Send the answers whose turn it is."""
        order = stream.order
        while order and order[0].asked and order[0].answer is not None:
            slot = order.popleft()
            if slot.answer is not None and not stream.gone and stream.trailers is None:
                connection.writer.message(stream, stream_message(slot.id, slot.answer))
        if stream.gone and not order:
            connection.closed(stream)

    def _odd_message(self, head: Head, data: bytes) -> bytes:
        """A message that is compressed, too large, or not one message; raises what is wrong."""
        size = int.from_bytes(data[1:PREFIX_BYTES], "big")
        if len(data) >= PREFIX_BYTES and size > self._most:
            raise self._too_large(size)
        if len(data) != PREFIX_BYTES + size:
            raise InvalidInput(f"body: its {len(data)} bytes are not one message; accepted: one")
        if data[0] == 0:
            return data[PREFIX_BYTES:]
        if data[0] != 1 or head.encoding == "identity":
            raise InvalidInput("body: its compression is not named; accepted: grpc-encoding gzip")
        try:
            inflater = zlib.decompressobj(wbits=47)  # gzip or zlib, as its first bytes say
            made = inflater.decompress(data[PREFIX_BYTES:], self._most + 1)
        except zlib.error as error:
            raise InvalidInput(f"body: is not {head.encoding}: {error}") from error
        if len(made) > self._most:
            raise self._too_large(len(made))
        if not inflater.eof:
            raise InvalidInput(f"body: its {head.encoding} ends too early")
        return made

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(f"body: {size} bytes are too many; accepted: at most {self._most}")

    def _refuse_head(self, connection: Connection, stream: Stream) -> None:
        head = stream.head
        self._end(connection, stream, head.status, head.text)

    def _refuse(self, connection: Connection, stream: Stream, error: BaseException) -> None:
        note(stream.head.method, error)
        extra = trailers_of(error)
        self._end(connection, stream, status_of(error), text_of(error), extra)

    def _end(
        self,
        connection: Connection,
        stream: Stream,
        status: int,
        text: str,
        extra: tuple[tuple[str, str], ...] = (),
    ) -> None:
        if stream.gone:
            connection.closed(stream)
            return
        fields = literal("grpc-status", str(int(status))) + literal("grpc-message", _percent(text))
        connection.writer.refuse(stream, fields + b"".join(literal(*one) for one in extra))


def _percent(text: str) -> str:
    """Text as `grpc-message` holds it: printable ASCII, all else by percent signs."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in text.encode()
    )
