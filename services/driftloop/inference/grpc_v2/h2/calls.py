"""gRPC over HTTP/2: the messages of calls, answered by the protocol's core."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from driftloop.contracts.errors import DeadlineExceeded, InvalidInput, Overloaded
from driftloop.inference.core.meters import METERS
from driftloop.inference.grpc_v2.answers import WINDOW, ask, stream_message
from driftloop.inference.grpc_v2.asked import Answer, Core
from driftloop.inference.grpc_v2.codec import to_bytes, to_request
from driftloop.inference.grpc_v2.faults import TooLarge, note, status_of, text_of, trailers_of
from driftloop.inference.grpc_v2.gate import Gate
from driftloop.inference.grpc_v2.h2 import heads
from driftloop.inference.grpc_v2.h2.heads import ENCODINGS, Head
from driftloop.inference.grpc_v2.h2.hpack import Fields, literal
from driftloop.inference.grpc_v2.h2.limits import REFUSED
from driftloop.inference.grpc_v2.h2.messages import (
    PREFIX_BYTES,
    check_size,
    check_whole,
    inflated,
    size_of,
)
from driftloop.inference.grpc_v2.h2.streams import Slot, Stream
from driftloop.inference.grpc_v2.methods import INFER, STREAM, Methods
from driftloop.inference.grpc_v2.schema import SERVICE
from driftloop.inference.grpc_v2.usual import Usual
from driftloop.inference.v2.messages import InferRequest, InferResponse
from driftloop.runtime.access import Access

INFLATE_HERE: Final = 1_024
"""Bytes of the largest message inflated in the event loop; a larger one goes to a thread."""
INFLATING: Final = 2
"""Messages inflated at a time, which bounds the bytes that come of them."""


class CoreCalls:
    """Answers calls by one core. Messages are bounded; answers go out uncompressed.

    `usual` takes the most frequent requests a shorter way. `access` says who may call.
    """

    def __init__(
        self,
        core: Core,
        message_bytes: int,
        usual: Usual | None = None,
        access: Access | None = None,
    ) -> None:
        self._gate = Gate(access)
        self._infer_soon = core.infer_soon
        self._usual = usual
        self._methods = Methods(core, access)
        self._most = message_bytes
        names = (INFER, STREAM, *self._methods.names)
        self._read_head = heads.reader({f"/{SERVICE}/{name}": name for name in names}, STREAM)
        self._tasks: set[asyncio.Task[None]] = set()
        self._inflating = asyncio.Semaphore(INFLATING)

    def head(self, fields: Fields) -> Head:
        """What the fields say; a call that cannot be answered has a status."""
        return self._read_head(fields)

    def whole(self, stream: Stream, data: bytes) -> None:
        """Answer a call with one message."""
        try:
            if stream.head.status:
                self._refuse_head(stream)
                return
            size = len(data) - PREFIX_BYTES
            if size < 0 or data[0] or int.from_bytes(data[1:5], "big") != size or size > self._most:
                check_whole(data, self._most, stream.head.encoding)
                self._plain(stream, data, partial(self._take, stream))
            elif self._usual is None or not self._usual.take(stream, data):
                self._take(stream, data[PREFIX_BYTES:])
        except Exception as error:  # a bug: told as INTERNAL and logged
            self.refuse(stream, error)

    def more(self, stream: Stream) -> None:
        """Look at the part of a message that is there; answer what is complete of a stream."""
        if stream.gone:
            return
        try:
            if stream.head.status:
                self._refuse_head(stream)
            elif stream.order is None:
                check_size(size_of(stream.data), self._most)
            else:
                self._gate.admit(stream)
                self._advance(stream)
        except Exception as error:  # a bug: told as INTERNAL and logged
            self.refuse(stream, error)

    def excess(self, stream: Stream) -> None:
        """Refuse the call whose bytes are one too many."""
        size = len(stream.data)
        if size > stream.intake.first_window:
            check = TooLarge(f"body: {size} bytes are too many; accepted: at most {self._most}")
            self.refuse(stream, check)
            return
        REFUSED.labels("unread").inc()
        self.refuse(stream, Overloaded("server: too many bytes of requests wait; try again later"))

    def late(self, stream: Stream) -> None:
        """Tell that the deadline has passed, whatever else was to be said."""
        REFUSED.labels("deadline").inc()
        stream.intake.writer.forget(stream)
        text = f"{stream.head.method}: the deadline of {stream.head.timeout:g} s has passed"
        self.refuse(stream, DeadlineExceeded(text))

    def slow(self, stream: Stream) -> None:
        """Tell that the rest of the request has not come."""
        REFUSED.labels("slow").inc()
        self.refuse(stream, DeadlineExceeded("body: is not whole after all this time"))

    def refuse(self, stream: Stream, error: BaseException) -> None:
        """End a call with an error."""
        note(stream.head.method, error)
        if stream.head.method == INFER and isinstance(error, Exception):
            METERS.refused(type(error))
        extra = trailers_of(error)
        self._end(stream, status_of(error), text_of(error), extra)

    def _take(self, stream: Stream, raw: bytes) -> None:
        """Hand a whole message to the core."""
        if stream.gone:
            return
        if stream.head.method == INFER:
            self._gate.admit(stream)
            request = to_request(raw, stream.deadline)
            self._gate.enter(stream, request, len(raw))
            if self._usual is not None:
                self._usual.learn(request, raw)
            stream.held += 1
            try:
                self._infer_soon(request, partial(self._answered, stream))
            except BaseException:
                stream.held -= 1
                raise
        else:
            self._soon(self._answer(stream, raw))

    def _answered(self, stream: Stream, answer: Answer) -> None:
        if not stream.held:
            return  # told already
        stream.held -= 1
        if stream.gone:
            stream.intake.closed(stream)
        elif isinstance(answer, InferResponse):
            try:
                stream.intake.writer.whole(stream, to_bytes(answer))
            except Exception as error:  # a bug: told as INTERNAL and logged
                self.refuse(stream, error)
        else:
            self.refuse(stream, answer)

    async def _answer(self, stream: Stream, raw: bytes) -> None:
        """Answer one of the other methods."""
        stream.held += 1
        answer: bytes | Exception
        try:
            head = stream.head
            answer = await self._methods.answer(head.method, raw, head.authorization)
        except Exception as error:  # a bug: told as INTERNAL and logged
            answer = error
        stream.held -= 1
        if isinstance(answer, Exception):
            self.refuse(stream, answer)
        elif stream.gone:
            stream.intake.closed(stream)
        else:
            try:
                stream.intake.writer.whole(stream, answer)
            except TooLarge as error:
                self.refuse(stream, error)

    def _advance(self, stream: Stream) -> None:
        """Hand complete messages of a stream to the core, as many as the window lets."""
        order = stream.order
        while order is not None and len(order) < WINDOW and not stream.backlog and not stream.gone:
            data = stream.data
            size = size_of(data)
            check_size(size, self._most)
            if len(data) < PREFIX_BYTES + size:
                break
            raw = stream.intake.handed_on(stream, PREFIX_BYTES + size)
            check_whole(raw, self._most, stream.head.encoding)
            slot = Slot()
            order.append(slot)
            self._plain(stream, raw, partial(self._ask, stream, slot))
        if stream.gone or stream.backlog or order or stream.trailers is not None:
            return
        if stream.ended:
            if stream.data:
                raise InvalidInput("body: ends within a message; accepted: whole messages")
            stream.intake.writer.end(stream)

    def _ask(self, stream: Stream, slot: Slot, raw: bytes) -> None:
        def done(answer: Answer) -> None:
            if slot.answer is not None:
                return  # told already
            slot.answer = answer
            stream.held -= 1
            if slot.asked:  # not within the call of `ask`
                self._deliver(stream)
                self.more(stream)

        stream.held += 1

        def infer(request: InferRequest, done: Callable[[Answer], None]) -> None:
            self._gate.enter(stream, request, len(raw))
            self._infer_soon(request, done)

        slot.id = ask(infer, raw, stream.deadline, done)
        slot.asked = True
        self._deliver(stream)

    def _deliver(self, stream: Stream) -> None:
        """Send the answers whose turn it is."""
        if stream.gone:
            stream.intake.closed(stream)
            return
        order = stream.order
        try:
            while order and order[0].asked and order[0].answer is not None:
                slot = order.popleft()
                if slot.answer is not None and stream.trailers is None:
                    stream.intake.writer.message(stream, stream_message(slot.id, slot.answer))
        except TooLarge as error:
            self.refuse(stream, error)

    def _plain(self, stream: Stream, data: bytes, then: Callable[[bytes], None]) -> None:
        """Hand on what a message holds, now or when it is inflated."""
        if not data[0]:
            then(data[PREFIX_BYTES:])
        elif len(data) <= INFLATE_HERE:
            then(inflated(data, self._most, stream.head.encoding))
        else:
            stream.intake.hold(len(data))
            stream.held += 1
            self._soon(self._inflate(stream, data, then))
            if stream.intake.overfull:
                self.excess(stream)

    async def _inflate(self, stream: Stream, data: bytes, then: Callable[[bytes], None]) -> None:
        intake, encoding = stream.intake, stream.head.encoding
        try:
            async with self._inflating:
                if not stream.gone:
                    raw = await asyncio.to_thread(inflated, data, self._most, encoding)
                    then(raw)
                    if stream.order is not None:
                        self.more(stream)
        except Exception as error:  # a bug: told as INTERNAL and logged
            self.refuse(stream, error)
        finally:
            intake.hold(-len(data))
            stream.held -= 1
            if stream.gone:
                intake.closed(stream)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse_head(self, stream: Stream) -> None:
        head = stream.head
        REFUSED.labels(head.reason).inc()
        if head.http != 200:
            stream.intake.writer.deny(stream, head.http)
            return
        extra = (("grpc-accept-encoding", ",".join(ENCODINGS)),)
        self._end(stream, head.status, head.text, extra if head.reason == "encoding" else ())

    def _end(
        self, stream: Stream, status: int, text: str, extra: tuple[tuple[str, str], ...] = ()
    ) -> None:
        if stream.gone:
            stream.intake.closed(stream)
            return
        fields = literal("grpc-status", str(int(status))) + literal("grpc-message", _percent(text))
        stream.intake.writer.refuse(stream, fields + b"".join(literal(*one) for one in extra))


def _percent(text: str) -> str:
    """Text as `grpc-message` holds it: printable ASCII, all else by percent signs."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in text.encode()
    )
