"""Requests that want an answer, over core NATS with a queue group."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from driftloop.bus.connection import Connection
from driftloop.bus.door import Queue
from driftloop.bus.wire import Heard, block_of, read_headers
from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    InvalidInput,
    InvalidName,
    NotLoaded,
    Outdated,
    Overloaded,
    Reject,
    Retry,
    UnknownModel,
)

log = logging.getLogger(__name__)

ERROR = "dl-error"
AT_ONCE = 64
MOST_ERROR = 65_536
"""Bytes of an error's text."""
_KINDS: dict[str, type[DriftloopError]] = {
    c.__name__: c
    for c in (
        DeadlineExceeded,
        InvalidInput,
        InvalidName,
        NotLoaded,
        Outdated,
        Overloaded,
        Reject,
        Retry,
        UnknownModel,
    )
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as its handler sees it."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: bytes and headers."""

    payload: bytes
    headers: dict[str, str] = {}


RequestHandler = Callable[[Request], Awaitable[Reply]]


async def serve(
    connection: Connection,
    subject: str,
    handler: RequestHandler,
    refused: Callable[[str], None] | None = None,
) -> None:
    """Answer requests on `subject`, shared with the replicas; errors travel as a header.

    Up to `AT_ONCE` requests are answered at a time, half of them about one subject; more wait, and
    beyond a bound they are refused with `Overloaded`. `refused` hears the subjects of these.
    """
    door = _Door(connection, handler, refused)
    await connection.hear(subject, door.heard, connection.service)
    await connection.nc.flush()  # who says that he is ready can be asked


class _Door:
    """Takes requests from the line, answers some at a time, and refuses what is too much."""

    def __init__(
        self,
        connection: Connection,
        handler: RequestHandler,
        refused: Callable[[str], None] | None,
    ) -> None:
        self._connection = connection
        self._handler = handler
        self._refused = refused
        self._queue = Queue()
        self._busy: dict[bytes, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, requests: list[Heard]) -> None:
        """Take in requests; one without a place for its answer is left alone."""
        now = asyncio.get_running_loop().time()
        for request in requests:
            if request[1]:
                self._queue.put(request, now)
        self._fill()

    def _fill(self) -> None:
        """Begin with as many as may be, and refuse what is too much."""
        while sum(self._busy.values()) < AT_ONCE:
            self._refuse()
            request = self._queue.take(self._busy, AT_ONCE // 2)
            if request is None:
                break
            subject = request[0]
            self._busy[subject] = self._busy.get(subject, 0) + 1
            self._keep(asyncio.create_task(self._answer(request)))
        self._refuse()

    def _refuse(self) -> None:
        lines: list[bytes] = []
        for subject, to, _, _ in self._queue.excess(asyncio.get_running_loop().time()):
            about = subject.decode()
            text = f"{about}: {self._queue.bytes} bytes of requests wait"
            lines.append(
                error_line(to, Overloaded(f"{text}; accepted: fewer at a time, try again"))
            )
            if self._refused is not None:
                self._refused(about)
        if lines:
            self._keep(asyncio.create_task(self._write(lines)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Heard) -> None:
        subject, to, block, payload = request
        try:
            headers = read_headers(block) if block else {}
            asked = Request(subject=subject.decode(), payload=payload, headers=headers)
            await self._write([await self._line(to, asked)])
        finally:
            self._busy[subject] -= 1
            if not self._busy[subject]:
                del self._busy[subject]
        self._fill()  # not when this was cancelled: then all of it ends

    async def _line(self, to: bytes, asked: Request) -> bytes:
        """The answer to a request, as it goes over the line."""
        try:
            reply = await self._handler(asked)
            size, most = len(reply.payload), self._connection.nc.max_payload
            if size > most:
                raise Reject(f"answer: has {size} bytes; accepted: {most}, ask for less")
        except DriftloopError as error:
            return error_line(to, error)
        except Exception as error:
            log.exception("request %s failed", asked.subject)
            what = f"{asked.subject}: internal error ({type(error).__name__})"
            return error_line(to, DriftloopError(what))
        if not reply.headers:
            return b"PUB %b %d\r\n%b\r\n" % (to, size, reply.payload)
        head = block_of(reply.headers)
        sizes = len(head), len(head) + size
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, *sizes, head, reply.payload)

    async def _write(self, lines: list[bytes]) -> None:
        if not await self._connection.write(lines):
            log.warning("%d answers were not sent: not connected to NATS", len(lines))


async def ask(
    connection: Connection,
    subject: str,
    payload: bytes,
    *,
    headers: dict[str, str] | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109  # passed on to the client, which has its own
) -> Reply:
    """Send a request; raises the error the other side raised, or `Retry` without an answer."""
    try:
        message = await connection.nc.request(subject, payload, timeout=timeout, headers=headers)
    except NoRespondersError as error:
        raise Retry(f"{subject}: no service answers this request; is it running?") from error
    except NatsError as error:
        raise Retry(f"{subject}: no answer within {timeout:g} s") from error
    got = message.headers or {}
    if ERROR in got:
        raise _KINDS.get(got[ERROR], DriftloopError)(message.data.decode())
    return Reply(payload=message.data, headers=got)


def error_kind(error: DriftloopError) -> str:
    """The name under which an error travels: its own, or that of the nearest base known here."""
    return next((c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS), "DriftloopError")


def error_line(to: bytes, error: DriftloopError) -> bytes:
    """An error as it goes over the line: its text, its kind in a header."""
    text = str(error).encode("utf-8", "replace")[:MOST_ERROR]
    head = block_of({ERROR: error_kind(error)})
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, len(head), len(head) + len(text), head, text)
