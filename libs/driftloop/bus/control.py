"""Control events through FastStream: one durable consumer a service, in order, one at a time.

A handler is a plain coroutine from event to events, or an async generator where it has something to
say before it is done. What it says is published before the event is acknowledged.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, PullSub
from faststream.nats.message import NatsMessage
from nats.errors import Error as NatsError
from nats.js import api

from driftloop.bus import observed, redeliver, retry
from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered, event_message
from driftloop.bus.publish import publish_all
from driftloop.bus.pull import delivered
from driftloop.bus.signed import forged
from driftloop.bus.work import dead_letter
from driftloop.contracts import subjects
from driftloop.contracts.errors import Reject, Retry
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.headers import Origin

log = logging.getLogger(__name__)

Said = Sequence[AnyEvent]
EventHandler = Callable[[Any, Origin], Awaitable[Said] | AsyncIterator[AnyEvent]]
Handlers = Mapping[type[AnyEvent], EventHandler]

ACK_WAIT = 5.0
"""After a crash an event in hand comes again this late; who works longer says so meanwhile."""


def consumer_config(service: str, handlers: Handlers) -> api.ConsumerConfig:
    """The durable consumer of a service on EVENTS; one event in flight keeps them in order."""
    return api.ConsumerConfig(
        durable_name=service,
        filter_subjects=[f"events.*.{event.kind}" for event in handlers],
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT,
        max_deliver=-1,
        max_ack_pending=1,
    )


async def subscribe(connection: Connection, handlers: Handlers) -> None:
    """Register the table from event to handler; deliveries begin when the broker starts."""
    service = connection.service
    await connection.js.add_consumer("EVENTS", consumer_config(service, handlers))
    await redeliver.serve(connection, service, partial(_hear, connection, handlers))

    async def raw(message: NatsMessage) -> NatsMessage:
        return message

    async def handle(message: NatsMessage) -> None:
        await _handle(connection, handlers, message)

    connection.broker.subscriber(
        "events.>",
        stream=JStream("EVENTS", declare=False),
        durable=service,
        config=consumer_config(service, handlers),
        inbox_prefix=f"{connection.login.inbox}.".encode(),
        pull_sub=PullSub(batch_size=1, timeout=1.0),
        ack_policy=AckPolicy.MANUAL,
        decoder=raw,
    )(handle)


async def _handle(connection: Connection, handlers: Handlers, message: NatsMessage) -> None:
    raw = message.raw_message
    about = delivered(raw.subject, raw.reply, raw.headers or {}, raw.data)
    alive = asyncio.create_task(_keep_alive(message))
    began = time.perf_counter()
    result: observed.Result = "handled"
    try:
        await _hear(connection, handlers, about)
    except Exception as error:
        result = await _failed(connection, about, message, error)
    else:
        await message.ack()
    finally:
        alive.cancel()
    observed.LISTENER.answered(connection.service, result, 1)
    observed.LISTENER.took(connection.service, time.perf_counter() - began)


async def _hear(connection: Connection, handlers: Handlers, about: Delivered) -> None:
    """Handle an event, and publish what is said."""
    event = about.event()
    if forged(connection, event.owner, about.subject, about.headers, about.payload):
        raise Reject(f"signature: not that of {event.owner}; accepted: its own, by its key")
    if about.subject != subjects.event(event.model, event.kind):
        what = f"{event.kind} of {event.model}"
        raise Reject(f"subject: {about.subject} has a {what}; accepted: on its own subject")
    handler = handlers.get(type(event))
    if handler is None:
        return
    (about,), spans = observed.begun(connection.service, [about])
    try:
        await _say(connection, about.origin(), handler(event, about.origin()))
    except Exception as error:
        observed.ended(spans, error)
        raise
    observed.ended(spans)


async def _say(
    connection: Connection, origin: Origin, said: Awaitable[Said] | AsyncIterator[AnyEvent]
) -> None:
    if isinstance(said, AsyncIterator):
        async for event in said:
            await publish_all(
                connection, [event_message(event, source=connection.service, origin=origin)]
            )
    else:
        events = await said
        await publish_all(
            connection,
            [event_message(event, source=connection.service, origin=origin) for event in events],
        )


async def _keep_alive(message: NatsMessage) -> None:
    """Tell the broker that a long job still goes on, so that nobody else is given it."""
    while True:
        await asyncio.sleep(ACK_WAIT / 3)
        with contextlib.suppress(NatsError):
            await message.in_progress()


async def _failed(
    connection: Connection, about: Delivered, message: NatsMessage, error: Exception
) -> observed.Result:
    """Answer for an event that was not handled; what comes of it."""
    service = connection.service
    if isinstance(error, Retry):
        log.info("%s: %s again in %.1f s: %s", service, about.event_id, error.delay, error)
        await message.nack(delay=error.delay)
    elif isinstance(error, Reject) or retry.given_up(about.attempt):
        log.error("%s: dead letter %s: %s", service, about.event_id, error)
        await publish_all(connection, [dead_letter(service, about, f"{error}")])
        await message.reject()
        return "dead"
    else:
        log.exception("%s: bug while handling %s", service, about.event_id, exc_info=error)
        await message.nack(delay=retry.backoff(about.attempt))
    return "again"
