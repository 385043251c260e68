"""Requests that want an answer, over core NATS with a queue group."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from driftloop.bus.connection import Connection
from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    InvalidInput,
    InvalidName,
    NotLoaded,
    Overloaded,
    Reject,
    Retry,
    UnknownModel,
)

log = logging.getLogger(__name__)

ERROR = "dl-error"
AT_ONCE = 64
_KINDS: dict[str, type[DriftloopError]] = {
    c.__name__: c
    for c in (
        DeadlineExceeded,
        InvalidInput,
        InvalidName,
        NotLoaded,
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
    headers: dict[str, str]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: bytes and headers."""

    payload: bytes
    headers: dict[str, str] = {}


RequestHandler = Callable[[Request], Awaitable[Reply]]


async def serve(connection: Connection, subject: str, handler: RequestHandler) -> None:
    """Answer requests on `subject`, shared with the replicas; errors travel as a header.

    Up to `AT_ONCE` requests are answered at a time; more wait in the client's queue.
    """
    free = asyncio.Semaphore(AT_ONCE)
    running: set[asyncio.Task[None]] = set()

    async def answer(message: Msg) -> None:
        try:
            await _answer(connection, handler, message)
        finally:
            free.release()

    async def on_message(message: Msg) -> None:
        if message.reply:
            await free.acquire()
            task = asyncio.create_task(answer(message))
            running.add(task)
            task.add_done_callback(running.discard)

    await connection.nc.subscribe(subject, queue=connection.service, cb=on_message)


async def _answer(connection: Connection, handler: RequestHandler, message: Msg) -> None:
    request = Request(subject=message.subject, payload=message.data, headers=message.headers or {})
    try:
        reply = await handler(request)
        size = len(reply.payload)
        if size > connection.nc.max_payload:
            raise Reject(
                f"answer: has {size} bytes; accepted: {connection.nc.max_payload}, ask for less"
            )
    except DriftloopError as error:
        reply = _error(error)
    except Exception as error:
        log.exception("request %s failed", message.subject)
        what = f"{message.subject}: internal error ({type(error).__name__})"
        reply = _error(DriftloopError(what))
    try:
        await connection.nc.publish(
            message.reply, reply.payload, headers=dict(reply.headers) or None
        )
    except NatsError as error:
        log.warning("request %s: answer not sent: %s", message.subject, error)


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


def _error(error: DriftloopError) -> Reply:
    return Reply(payload=str(error).encode(), headers={ERROR: error_kind(error)})
