"""Answers requests at a high rate: no task a request, and the answers of one turn in one write."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

from driftloop.bus.connection import Connection
from driftloop.bus.requests import error_line
from driftloop.bus.wire import Heard
from driftloop.contracts.errors import DriftloopError, Reject

log = logging.getLogger(__name__)

Hears = Callable[[list[Heard]], None]
"""Takes requests that came together: subject, where the answer goes, header block and payload of
each. Called in the event loop, never awaited; what one of them raises is the answer to all."""


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

        await self._connection.hear(subject, direct, self._connection.service)

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
        lines, self._ready = self._ready, []
        if await self._connection.write(lines):
            return
        self.lost += len(lines)
        log.warning("%d answers were not sent: not connected to NATS", len(lines))


def _error(to: bytes, error: Exception) -> bytes:
    if not isinstance(error, DriftloopError):
        error = DriftloopError(f"internal error ({type(error).__name__})")
    return error_line(to, error)


@lru_cache(maxsize=64)
def _head(name: str, value: str) -> bytes:
    return b"NATS/1.0\r\n%b: %b\r\n\r\n" % (name.encode(), value.encode())
