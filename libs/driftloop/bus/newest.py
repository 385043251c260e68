"""The newest message of each subject of a stream, as they are now.

How many there are is what the server says when it makes the consumer, before it delivers any.
nats-py's watchers ask afterwards, and may take a bucket for empty whose messages are on their way.
"""

import contextlib
from typing import Final

from nats.errors import Error as NatsError
from nats.js import api

from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered
from driftloop.bus.pull import Pull
from driftloop.contracts.errors import Retry

AT_ONCE: Final = 256
SILENT_SECONDS: Final = 1.0
INACTIVE_SECONDS: Final = 30.0


async def newest(
    connection: Connection, stream: str, subjects: str, *, headers_only: bool = False
) -> list[Delivered]:
    """The newest message of each subject under `subjects`, oldest first.

    Raises `Retry` when the broker falls silent.
    """
    config = api.ConsumerConfig(
        name=f"newest-{connection.service}-{connection.nc.new_inbox()[-12:]}",
        deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
        filter_subject=subjects,
        ack_policy=api.AckPolicy.NONE,
        inactive_threshold=INACTIVE_SECONDS,
        headers_only=headers_only,
        mem_storage=True,
        num_replicas=1,
        max_deliver=1,
    )
    info = await connection.js.add_consumer(stream, config)
    pull = Pull(connection, stream, info.name, AT_ONCE)
    found: list[Delivered] = []
    try:
        await pull.open()
        while len(found) < (info.num_pending or 0):
            group = await pull.next(AT_ONCE, SILENT_SECONDS)
            if not group:  # gone before it was delivered, as something newer was written; or away
                if pull.lost or pull.silent():
                    raise Retry(f"{stream}: nothing came for {SILENT_SECONDS:g} s")
                if not (await connection.js.consumer_info(stream, info.name)).num_pending:
                    break
            found += [message.delivered() for message in group]
    finally:
        await pull.close()
        with contextlib.suppress(NatsError, OSError):
            await connection.js.delete_consumer(stream, info.name)
    return found
