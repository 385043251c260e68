"""Publishing into streams: in windows, acknowledged, and again with the same id until it is."""

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence

from msgspec import structs
from nats.errors import ConnectionClosedError
from nats.js.errors import NotFoundError

from driftloop.bus.connection import Connection
from driftloop.bus.messages import Outgoing
from driftloop.bus.signed import EXPECTED, sign
from driftloop.bus.stored import STREAM_FULL, Ack
from driftloop.bus.wire import block_of
from driftloop.contracts.errors import Overloaded, Reject, Retry
from driftloop.contracts.headers import MSG_ID

log = logging.getLogger(__name__)

ACK_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
HEADER_ROOM = 16 << 10
"""Headers take less, but for a reason of a dead letter."""


async def publish_all(
    connection: Connection, messages: Sequence[Outgoing], patience: float = PATIENCE_SECONDS
) -> list[Ack]:
    """Publish a window of messages and wait for all acknowledgements, which come back in order.

    A publish that is not acknowledged is repeated with the same id, so the stream keeps one. Raises
    `Overloaded` when a stream refuses new messages, and `Retry` when the broker stays away for
    longer than `patience` seconds: then they may or may not be in the log.
    """
    messages = _signed(connection, messages)
    _check_sizes(connection, messages)
    done: dict[int, Ack] = {}
    now = asyncio.get_running_loop().time
    deadline = now() + patience
    for attempt in itertools.count(1):
        left = [at for at in range(len(messages)) if at not in done]
        if left and connection.nc.is_connected:
            seconds = min(ACK_SECONDS, max(deadline - now(), 0.1))
            said = await connection.stored.publish([messages[at] for at in left], seconds)
            done.update(_acknowledged(messages, {left[at]: ack for at, ack in said.items()}))
        missing = len(messages) - len(done)
        if not missing:
            break
        if connection.nc.is_closed:
            raise ConnectionClosedError
        if now() > deadline:
            raise Retry(f"{missing} of {len(messages)} messages were not acknowledged", delay=2.0)
        log.warning("publish: %d of %d not acknowledged, trying again", missing, len(messages))
        await asyncio.sleep(min(0.25 * attempt, 1.0))
    return [done[at] for at in range(len(messages))]


def _signed(connection: Connection, messages: Sequence[Outgoing]) -> Sequence[Outgoing]:
    """Control events carry their owner's signature."""
    mine = connection.identity
    if mine is None or not any(m.subject.startswith("events.") for m in messages):
        return messages
    return [
        structs.replace(m, headers=sign(mine, m.subject, m.headers, m.payload))
        if m.subject.startswith("events.")
        else m
        for m in messages
    ]


def _check_sizes(connection: Connection, messages: Sequence[Outgoing]) -> None:
    most = connection.nc.max_payload
    for message in messages:
        if len(message.payload) > most - HEADER_ROOM:
            size = len(message.payload) + len(block_of(message.headers))
            if size > most:
                raise Reject(
                    f"{message.subject}: {size} bytes are too large for one message; "
                    f"accepted: at most {most}"
                )


def _acknowledged(messages: Sequence[Outgoing], said: Mapping[int, Ack]) -> dict[int, Ack]:
    full: Overloaded | None = None
    acks: dict[int, Ack] = {}
    for at, ack in said.items():
        if ack.error is None:
            acks[at] = ack
        elif ack.error.err_code == STREAM_FULL:
            full = Overloaded(f"stream of {messages[at].subject} is full: {ack.error.description}")
        else:
            log.warning("publish: %s refused: %s", messages[at].subject, ack.error.description)
    if full is not None:
        raise full
    return acks


async def publish_next(connection: Connection, message: Outgoing, last_seq: int) -> int:
    """Publish if `last_seq` is still the last sequence of the subject, and return the new one.

    For single writers that keep state: a second owner of the same state cannot write behind our
    back.
    Tries until the broker answers; raises `Conflict` when somebody did write.
    """
    expected = {**message.headers, EXPECTED: str(last_seq)}
    (message,) = _signed(connection, [structs.replace(message, headers=expected)])
    for attempt in itertools.count():
        if connection.nc.is_closed:
            raise ConnectionClosedError
        said = await connection.stored.publish([message], ACK_SECONDS)
        ack = said.get(0)
        if ack is not None and ack.error is None:
            return ack.seq
        if ack is not None and ack.error is not None:
            if ack.error.err_code in WRONG_LAST_SEQUENCE:
                ours = await _ours(connection, message)
                if ours:
                    return ours
                raise Conflict(f"{message.subject}: somebody else wrote after sequence {last_seq}")
            why = ack.error.description
        else:
            why = "not acknowledged"
        log.warning("publish: %s: %s; trying again", message.subject, why)
        await asyncio.sleep(min(0.25 * (attempt + 1), 2.0))
    raise AssertionError("unreachable")


async def _ours(connection: Connection, message: Outgoing) -> int:
    """The sequence of this message if it is the last of its subject already; else 0."""
    stream = await connection.js.find_stream_name_by_subject(message.subject)
    try:
        last = await connection.js.get_last_msg(stream, message.subject)
    except NotFoundError:  # somebody has purged the stream
        return 0
    same = (last.headers or {}).get(MSG_ID) == message.headers[MSG_ID]
    return int(last.seq or 0) if same else 0


WRONG_LAST_SEQUENCE = (10071, 10164)


class Conflict(Retry):
    """A write that was conditional on the last sequence came second."""
