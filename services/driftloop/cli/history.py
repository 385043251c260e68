"""Reads control events back from the log."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from driftloop.contracts.facts import Fact, fact
from driftloop.contracts.names import check_model_name

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus
    from driftloop.bus.messages import Delivered

STREAM = "EVENTS"
MOST = 100_000
"""Events held in memory at once; of a longer history the newest."""

Wanted = Callable[[Fact], bool]


def subject(model: str | None) -> str:
    """The subject of all events, or of one model's."""
    return f"events.{check_model_name(model)}.>" if model else "events.>"


def to_fact(message: "Delivered") -> Fact:
    """The event in a message with its place in the log."""
    return fact(message.seq, message.headers, message.event())


async def past(
    bus: "Bus", model: str | None, wanted: Wanted = lambda _: True, most: int = MOST
) -> list[Fact]:
    """The newest `most` wanted events so far, in the order of the log."""
    found: deque[Fact] = deque(maxlen=most)
    last = await bus.log.last(STREAM, subject(model))
    if last is not None:
        async for message in bus.log.range(STREAM, subject(model), 1, last.seq):
            if wanted(told := to_fact(message)):
                found.append(told)
    return list(found)


async def coming(bus: "Bus", model: str | None, start: int, wanted: Wanted) -> AsyncIterator[Fact]:
    """Wanted events from sequence `start` on, as they come."""
    follow = bus.follow(STREAM, (subject(model),), start)
    async for group in follow.groups(bus.stopping):
        for message in group:
            if wanted(told := to_fact(message)):
                yield told
