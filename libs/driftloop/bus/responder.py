"""Answers requests at a high rate: no task a request, and the answers of one turn in one write."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from nats.aio.msg import Msg

from driftloop.bus.connection import Connection
from driftloop.bus.requests import ERROR, error_kind
from driftloop.bus.wire import Heard
from driftloop.contracts.errors import DriftloopError, Reject

log = logging.getLogger(__name__)

Hears = Callable[[list[Heard]], None]
"""Takes requests that came together: subject, where the answer goes, header block and payload of
each. Called in the event loop, never awaited; what one of them raises is the answer to all."""
MOST_ERROR: Final = 65_536
"""Bytes of an error's text."""
MOST_KEPT: Final = 512
"""Bytes of headers that are kept, read, for the next request with the same."""


class Responder:
    """One subject in a queue group; whoever hears a request answers it now or later."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready: list[bytes] = []
        self._flushing: set[asyncio.Task[None]] = set()
        self.lost = 0
        """Answers that could not be sent, as NATS was away."""

    async def start(self, subject: str, hears: Hears) -> None:
        """Begin to hear requests; one without a place for its answer is left alone."""

        def direct(heard: list[Heard]) -> None:
            asked = [request for request in heard if request[1]]
            try:
                hears(asked)
            except Exception as error:  # or nothing would be read from this line any more
                log.exception("%s: requests could not be heard", subject)
                for request in asked:
                    self.fail(request[1], error)

        async def queued(message: Msg) -> None:  # what comes before `direct` is in its place
            block = _block(message.headers) if message.headers else b""
            direct([(message.subject.encode(), message.reply.encode(), block, message.data)])

        nc, queue = self._connection.nc, self._connection.service
        sub = await nc.subscribe(subject, queue=queue, cb=queued)
        self._connection.wire.direct[b"%d" % sub._id] = direct

    def answer(self, to: bytes, payload: bytes, content_type: str = "") -> None:
        """Send an answer, with its content type in a header if one is given."""
        self.answer_each([to], [payload], content_type)

    def answer_each(
        self, to: Sequence[bytes], payloads: Sequence[bytes], content_type: str = ""
    ) -> None:
        """Send an answer to each, all of the same content type."""
        most = self._connection.nc.max_payload
        if content_type:
            head = _head("content-type", content_type)
            size = len(head)
            lines = [
                b"HPUB %b %d %d\r\n%b%b\r\n" % (at, size, size + len(payload), head, payload)
                for at, payload in zip(to, payloads, strict=True)
            ]
        else:
            lines = [
                b"PUB %b %d\r\n%b\r\n" % (at, len(payload), payload)
                for at, payload in zip(to, payloads, strict=True)
            ]
        if max(map(len, payloads)) > most:
            for at, payload in enumerate(payloads):
                if len(payload) > most:
                    text = f"answer: has {len(payload)} bytes; accepted: {most}, ask for less"
                    lines[at] = _error(to[at], Reject(text))
        self._send(lines)

    def fail(self, to: bytes, error: Exception) -> None:
        """Send an error; its kind travels in a header and is raised again by `requests.ask`."""
        self._send([_error(to, error)])

    def _send(self, lines: list[bytes]) -> None:
        if not self._ready:
            task = asyncio.get_running_loop().create_task(self._flush())
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)
        self._ready += lines

    async def _flush(self) -> None:
        # nats-py has no public way to send several messages at once, and one `publish` for each
        # costs more than all the rest of an answer. `tests/integration/test_responder.py` fails
        # when a release no longer has this.
        lines, self._ready = self._ready, []
        nc = self._connection.nc
        transport = nc._transport
        try:
            if nc.is_connected and transport is not None:
                transport.write(b"".join(lines))
                await transport.drain()  # type: ignore[no-untyped-call]
                return
        except (AttributeError, OSError, RuntimeError) as error:  # it went while this was written
            log.debug("answers: %s", error)
        self.lost += len(lines)
        log.warning("%d answers were not sent: not connected to NATS", len(lines))


def _error(to: bytes, error: Exception) -> bytes:
    if not isinstance(error, DriftloopError):
        error = DriftloopError(f"internal error ({type(error).__name__})")
    text = str(error).encode("utf-8", "replace")[:MOST_ERROR]
    head = _head(ERROR, error_kind(error))
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, len(head), len(head) + len(text), head, text)


@lru_cache(maxsize=64)
def _head(name: str, value: str) -> bytes:
    return b"NATS/1.0\r\n%b: %b\r\n\r\n" % (name.encode(), value.encode())


def _block(headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def headers_of(block: bytes) -> Mapping[str, str]:
    """The headers of a block `NATS/1.0`; a name that comes twice has its last value."""
    return _kept(block) if len(block) <= MOST_KEPT else _read(block)


def _read(block: bytes) -> Mapping[str, str]:
    made: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            made[name] = value.strip()
    return made


_kept = lru_cache(maxsize=1024)(_read)
