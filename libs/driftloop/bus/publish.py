"""Publishing into streams: in windows, acknowledged, and again with the same id until it is."""

import asyncio
import itertools
import logging
from collections.abc import Collection, Mapping, Sequence

from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError
from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import APIError

from driftloop.bus.connection import Connection
from driftloop.bus.messages import Outgoing
from driftloop.contracts.errors import Overloaded, Reject, Retry
from driftloop.contracts.headers import MSG_ID

log = logging.getLogger(__name__)

ACK_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
STREAM_FULL = 10077


async def publish_all(connection: Connection, messages: Sequence[Outgoing]) -> list[api.PubAck]:
    """Publish a window of messages and wait for all acknowledgements, which come back in order.

    A publish that is not acknowledged is repeated with the same id, so the stream keeps one. Raises
    `Overloaded` when a stream refuses new messages, and `Retry` when the broker stays away.
    """
    done: dict[int, api.PubAck] = {}
    patience = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    for attempt in itertools.count(1):
        left = [at for at in range(len(messages)) if at not in done]
        if left and connection.nc.is_connected:
            done.update(await _window(connection, messages, left))
        missing = len(messages) - len(done)
        if not missing:
            break
        if asyncio.get_running_loop().time() > patience:
            raise Retry(f"{missing} of {len(messages)} messages were not acknowledged", delay=2.0)
        log.warning("publish: %d of %d not acknowledged, trying again", missing, len(messages))
        await asyncio.sleep(min(0.25 * attempt, 1.0))
    return [done[at] for at in range(len(messages))]


async def _window(
    connection: Connection, messages: Sequence[Outgoing], left: list[int]
) -> dict[int, api.PubAck]:
    """Publish the messages at `left`; the acknowledgements that came within `ACK_SECONDS`."""
    waiting: dict[int, asyncio.Future[api.PubAck]] = {}
    drops = connection.drops
    try:
        for at in left:
            message = messages[at]
            waiting[at] = await connection.js.publish_async(
                message.subject,
                message.payload,
                headers=dict(message.headers),
                wait_stall=ACK_SECONDS,
            )
    except ConnectionClosedError:
        raise
    except MaxPayloadError as error:
        most = connection.nc.max_payload
        raise Reject(
            f"{message.subject}: {len(message.payload)} bytes are too large for one message; "
            f"accepted: at most {most}"
        ) from error
    except (OutboundBufferLimitError, NatsError) as error:
        log.warning("publish: %s", error)
    await _answered(connection, waiting.values(), drops)
    return _acknowledged(messages, waiting)


async def _answered(
    connection: Connection, futures: Collection[asyncio.Future[api.PubAck]], drops: int
) -> None:
    """Wait for all, `ACK_SECONDS` at most, and no longer than the line holds."""
    pending = set(futures)
    deadline = asyncio.get_running_loop().time() + ACK_SECONDS
    while pending and connection.drops == drops:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return
        _, pending = await asyncio.wait(pending, timeout=min(left, 0.25))


def _acknowledged(
    messages: Sequence[Outgoing], waiting: Mapping[int, asyncio.Future[api.PubAck]]
) -> dict[int, api.PubAck]:
    acks: dict[int, api.PubAck] = {}
    full: Overloaded | None = None
    for at, future in waiting.items():
        if not future.done():
            future.cancel()  # gives its place in the client's window back
            continue
        error = future.exception()
        if error is None:
            acks[at] = future.result()
        elif isinstance(error, APIError) and error.err_code == STREAM_FULL:
            full = Overloaded(f"stream of {messages[at].subject} is full: {error.description}")
        else:
            log.warning("publish: %s refused: %s", messages[at].subject, error)
    if full is not None:
        raise full
    return acks


async def publish_next(connection: Connection, message: Outgoing, last_seq: int) -> int:
    """Publish if `last_seq` is still the last sequence of the subject, and return the new one.

    For single writers that keep state: a second owner of the same state cannot write behind our
    back.
    Tries until the broker answers; raises `Conflict` when somebody did write.
    """
    headers = {
        **message.headers,
        str(api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): str(last_seq),
    }
    for attempt in itertools.count():
        try:
            ack = await connection.js.publish(
                message.subject, message.payload, timeout=ACK_SECONDS, headers=headers
            )
        except APIError as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                ours = await _ours(connection, message)
                if ours:
                    return ours
                raise Conflict(
                    f"{message.subject}: somebody else wrote after sequence {last_seq}"
                ) from error
            log.warning("publish: %s refused, trying again: %s", message.subject, error)
        except ConnectionClosedError:
            raise
        except NatsError as error:
            log.warning("publish: %s not acknowledged, trying again: %s", message.subject, error)
        else:
            return ack.seq
        await asyncio.sleep(min(0.25 * (attempt + 1), 2.0))
    raise AssertionError("unreachable")


async def _ours(connection: Connection, message: Outgoing) -> int:
    """The sequence of this message if it is the last of its subject already; else 0."""
    stream = await connection.js.find_stream_name_by_subject(message.subject)
    last = await connection.js.get_last_msg(stream, message.subject)
    same = (last.headers or {}).get(MSG_ID) == message.headers[MSG_ID]
    return int(last.seq or 0) if same else 0


WRONG_LAST_SEQUENCE = (10071, 10164)


class Conflict(Retry):
    """A write that was conditional on the last sequence came second."""
