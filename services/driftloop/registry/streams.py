"""How full the streams are, for the metrics: looked up now and then."""

import asyncio
import contextlib
import logging
from typing import Final

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Retry
from driftloop.contracts.subjects import STREAMS
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

BYTES: Final = metrics.gauge("stream_bytes", "Bytes that a stream holds", ["stream"])
ROOM: Final = metrics.gauge("stream_room_bytes", "Bytes that a stream has room for", ["stream"])
MESSAGES: Final = metrics.gauge("stream_messages", "Messages that a stream holds", ["stream"])
LOOK_SECONDS: Final = 10.0


async def watch(bus: Bus) -> None:
    """Look at all streams every `LOOK_SECONDS` until the service stops."""
    while not bus.stopping.is_set():
        for stream in STREAMS:
            try:
                filled = await bus.log.filled(stream.name)
            except Retry as error:  # the broker is away: the last figures stand
                log.debug("%s: %s", stream.name, error)
            else:
                BYTES.labels(stream.name).set(filled.bytes)
                ROOM.labels(stream.name).set(filled.room)
                MESSAGES.labels(stream.name).set(filled.messages)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(bus.stopping.wait(), LOOK_SECONDS)
