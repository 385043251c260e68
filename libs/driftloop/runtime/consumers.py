"""Metrics of the consumers of a service: what they handle, how long that takes, how far behind."""

import asyncio
import logging
from functools import cache
from typing import Any, Final

from driftloop.bus import observed
from driftloop.bus.bus import Bus
from driftloop.bus.rights import PARTS
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

MESSAGES: Final = metrics.counter(
    "consumer_messages",
    "Messages of streams by what came of them: handled, again (later) or dead (a dead letter)",
    ["consumer", "result"],
)
SECONDS: Final = metrics.histogram(
    "consumer_group_seconds",
    "Time from taking a group of messages to its acknowledgement",
    ["consumer"],
    buckets=metrics.LONG_BUCKETS,
)
LAG: Final = metrics.gauge(
    "consumer_lag_messages",
    "Messages of a stream that a consumer has not handled yet",
    ["stream", "consumer"],
)

LOOK_SECONDS: Final = 5.0


def listen() -> None:
    """Count what the bus handles from now on."""
    observed.LISTENER.answered = _answered
    observed.LISTENER.took = _took


async def watch(bus: Bus) -> None:
    """Look how far behind the consumers are, every `LOOK_SECONDS` until the task is cancelled.

    A reader that follows a stream without acknowledging has the name of its service.
    """
    part = PARTS.get(bus.service)
    durables = part.durables if part is not None else ()
    for _, durable in durables:
        _messages(durable, "dead")  # 0 is told, so that the first one is a rise
    told: set[str] = set()
    while True:
        for stream, durable in durables:
            try:
                LAG.labels(stream, durable).set(await bus.log.lag(stream, durable))
            except Exception as error:  # the broker is away: the last figures stand
                log.debug("lag of %s: %s", durable, error)
        behind = bus.behind()
        told |= behind.keys()
        for stream in told:
            LAG.labels(stream, bus.service).set(behind.get(stream, 0))
        await asyncio.sleep(LOOK_SECONDS)


def _answered(consumer: str, result: observed.Result, count: int) -> None:
    _messages(consumer, result).inc(count)


def _took(consumer: str, seconds: float) -> None:
    _seconds(consumer).observe(seconds)


@cache
def _messages(consumer: str, result: str) -> Any:
    return MESSAGES.labels(consumer, result)


@cache
def _seconds(consumer: str) -> Any:
    return SECONDS.labels(consumer)
