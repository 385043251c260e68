"""Requests that want an answer, over core NATS with a queue group."""

import logging
from collections.abc import Awaitable, Callable

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from driftloop.bus.connection import Connection
from driftloop.contracts.errors import DriftloopError, InvalidInput, Overloaded, Reject, Retry, UnknownModel

log = logging.getLogger(__name__)

ERROR = "dl-error"
_KINDS: dict[str, type[DriftloopError]] = {
    c.__name__: c for c in (InvalidInput, UnknownModel, Overloaded, Reject, Retry)
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
    """Answer requests on `subject`, shared with the replicas of this service; errors travel as a header."""

    async def on_message(message: Msg) -> None:
        if not message.reply:
            return
        request = Request(subject=message.subject, payload=message.data, headers=message.headers or {})
        try:
            reply = await handler(request)
        except DriftloopError as error:
            reply = _error(error)
        except Exception as error:
            log.exception("request %s failed", message.subject)
            reply = _error(DriftloopError(f"{message.subject}: internal error ({type(error).__name__})"))
        await connection.nc.publish(message.reply, reply.payload, headers=dict(reply.headers) or None)

    await connection.nc.subscribe(subject, queue=connection.service, cb=on_message)


async def ask(
    connection: Connection, subject: str, payload: bytes, *, headers: dict[str, str] | None = None, timeout: float = 5.0
) -> Reply:
    """Send a request; raises the error the other side raised, or `Retry` when nobody answers in time."""
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


def _error(error: DriftloopError) -> Reply:
    kind = next((c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS), "")
    return Reply(payload=str(error).encode(), headers={ERROR: kind or "DriftloopError"})
