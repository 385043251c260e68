"""Answers requests at a high rate: no task a request, and the answers of one turn in one write."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from driftloop.bus.connection import Connection
from driftloop.bus.requests import ERROR, error_kind
from driftloop.contracts.errors import DriftloopError, Reject

log = logging.getLogger(__name__)

Headers = Mapping[str, str] | None
Heard = Callable[[str, bytes, Headers, str], None]
"""Subject, payload, headers, and where the answer goes; called in the event loop, never awaited."""
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

    async def start(self, subject: str, heard: Heard) -> None:
        """Begin to hear requests; one without a place for its answer is left alone."""

        def hear(subject: str, data: bytes, headers: Headers, reply: str) -> None:
            if reply:
                try:
                    heard(subject, data, headers, reply)
                except Exception as error:  # or nothing would be read from this line any more
                    log.exception("%s: a request could not be heard", subject)
                    self.fail(reply, error)

        def direct(subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
            hear(subject.decode(), data, headers_of(headers) if headers else None, reply.decode())

        async def queued(message: Msg) -> None:  # what comes before `direct` is in its place
            hear(message.subject, message.data, message.headers, message.reply)

        nc, queue = self._connection.nc, self._connection.service
        sub = await nc.subscribe(subject, queue=queue, cb=queued)
        self._connection.wire.direct[b"%d" % sub._id] = direct

    def answer(self, to: str, payload: bytes, content_type: str = "") -> None:
        """Send an answer, with its content type in a header if one is given."""
        most = self._connection.nc.max_payload
        if len(payload) > most:
            text = f"answer: has {len(payload)} bytes; accepted: {most}, ask for less"
            self.fail(to, Reject(text))
        elif content_type:
            self._send(_with_header(to, "content-type", content_type, payload))
        else:
            self._send(b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(payload), payload))

    def fail(self, to: str, error: Exception) -> None:
        """Send an error; its kind travels in a header and is raised again by `requests.ask`."""
        if not isinstance(error, DriftloopError):
            error = DriftloopError(f"internal error ({type(error).__name__})")
        text = str(error).encode("utf-8", "replace")[:MOST_ERROR]
        self._send(_with_header(to, ERROR, error_kind(error), text))

    def _send(self, line: bytes) -> None:
        if not self._ready:
            task = asyncio.get_running_loop().create_task(self._flush())
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)
        self._ready.append(line)

    async def _flush(self) -> None:
        # nats-py has no public way to send several messages at once, and one `publish` for each
        # costs more than all the rest of an answer. `tests/integration/test_responder.py` fails
        # when a release no longer has these two.
        lines, self._ready = self._ready, []
        nc = self._connection.nc
        try:
            if nc.is_connected:
                await nc._send_command(b"".join(lines))
                await nc._flush_pending()
                return
        except (NatsError, OSError) as error:
            log.debug("answers: %s", error)
        self.lost += len(lines)
        log.warning("%d answers were not sent: not connected to NATS", len(lines))


def _with_header(to: str, name: str, value: str, payload: bytes) -> bytes:
    head = b"NATS/1.0\r\n%b: %b\r\n\r\n" % (name.encode(), value.encode())
    sizes = len(head), len(head) + len(payload)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to.encode(), *sizes, head, payload)


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
