"""Makes room in streams: what all who read them have handled goes before they are full.

A full stream refuses new messages, so nothing is lost that somebody has not handled; whoever
publishes waits, and so does what comes before. This is the only place that removes messages.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from nats.errors import Error as NatsError
from nats.js import api

from driftloop.bus.bus import Bus
from driftloop.bus.newest import newest
from driftloop.bus.rights import PARTS, TRIMMED
from driftloop.contracts import codec, subjects
from driftloop.contracts.errors import Reject, Retry
from driftloop.contracts.stats import JoinStats

log = logging.getLogger(__name__)

ABOVE: Final = 0.5
"""Share of a stream's room from which on its oldest messages go."""
DOWN_TO: Final = 0.4
LOOK_SECONDS: Final = 0.5
STEP_BYTES: Final = 8 << 20
"""So much goes at once: nobody can publish to a stream while messages are removed from it, some 40
ms for each 100 MB."""
REST: Final = 4.0
"""Times as long as a step took is the pause before the next."""
HURRY: Final = 0.75
"""Share of a stream's room from which on there are no pauses."""


async def keep_room(bus: Bus) -> None:
    """Make room in all streams that may be trimmed, until the service stops."""
    while not bus.stopping.is_set():
        try:
            for stream in TRIMMED:
                await make_room(bus, stream)
        except (NatsError, OSError, Retry) as error:
            log.warning("no room is made: %s", error or type(error).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(bus.stopping.wait(), LOOK_SECONDS)


async def make_room(bus: Bus, stream: str) -> int:
    """Remove the oldest messages if the stream is too full; how many sequences it begins later."""
    js = bus.connection.js
    info = await js.stream_info(stream)
    state, most = info.state, info.config.max_bytes or 0
    if most <= 0 or state.bytes <= ABOVE * most:
        return 0
    # Up to the last sequence of before: a message that comes meanwhile is nobody's yet.
    end = await handled(bus, stream, state.last_seq) + 1
    surplus = state.messages * (1 - DOWN_TO * most / state.bytes)
    end = min(end, state.first_seq + int(surplus))
    if end <= state.first_seq:
        return 0
    step = max(1, state.messages * STEP_BYTES // state.bytes)
    await _remove(bus, stream, range(state.first_seq, end, step), end, state.bytes > HURRY * most)
    return int(end - state.first_seq)


async def _remove(bus: Bus, stream: str, steps: range, end: int, hurry: bool) -> None:
    """Remove what comes before `end`, little by little."""
    now = asyncio.get_running_loop().time
    for at in steps:
        if bus.stopping.is_set():
            return
        began = now()
        await bus.connection.js.purge_stream(stream, seq=min(at + steps.step, end))
        if not hurry and at + steps.step < end:
            await asyncio.sleep(REST * (now() - began))


async def handled(bus: Bus, stream: str, last: int) -> int:
    """The sequence up to which everybody has handled a stream that ends at `last`.

    Everybody is: the durable consumers of all services, also of those that have never run; who
    follows the stream now; and feedback, by what it said last about each registered model.
    """
    ends = dict.fromkeys(_durables(stream), 0)
    for consumer in await _consumers(bus, stream):
        ends[consumer.name] = _reached(consumer, last)
    return min(last, *ends.values(), await _joined(bus, stream))


def _durables(stream: str) -> list[str]:
    return [name for part in PARTS.values() for where, name in part.durables if where == stream]


async def _consumers(bus: Bus, stream: str) -> list[api.ConsumerInfo]:
    found: list[api.ConsumerInfo] = []
    while page := await bus.connection.js.consumers_info(stream, offset=len(found)):
        found += page
    return found


def _reached(consumer: api.ConsumerInfo, last: int) -> int:
    """How far a consumer is: what it acknowledges, or was sent if it acknowledges nothing."""
    if not consumer.num_pending and not consumer.num_ack_pending:
        return last
    acknowledges = consumer.config.ack_policy != api.AckPolicy.NONE
    at = consumer.ack_floor if acknowledges else consumer.delivered
    return int(at.stream_seq or 0) if at is not None else 0


async def _joined(bus: Bus, stream: str) -> int:
    """How far feedback has read, which acknowledges nothing: the least of all models.

    It says nothing of a model that it has never heard of: then what it reads of that one stays.
    """
    ends: dict[str, int] = {}
    for message in await newest(bus.connection, "STATS", f"stats.{JoinStats.kind}.*"):
        try:
            said = codec.decode_stat(message.payload)
        except Reject:
            continue
        if isinstance(said, JoinStats):
            ends[said.about] = {
                "SCORED": said.scored_seq,
                "LABELS": said.labels_seq,
                "ROWS": said.rows_seq,
            }[stream]
    known = await bus.specs.keys()
    for model in known:
        if model not in ends and await bus.log.messages(stream, _READ[stream](model)):
            return 0
    return min((ends.get(model, _FAR) for model in known), default=_FAR)


_READ: Final[dict[str, Callable[[str], str]]] = {
    "SCORED": subjects.scored,
    "LABELS": subjects.labels,
    "ROWS": lambda model: subjects.rows(model, "quarantined", "*"),
}
"""What feedback reads of a model."""
_FAR: Final = 1 << 63
