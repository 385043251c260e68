"""What the bus tells of the messages that are handled: spans for traces, and what came of them.

`runtime` listens and exports it; without a listener nothing is made.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from driftloop.bus.messages import Delivered
from driftloop.contracts.headers import is_sampled

Value = str | int | float | bool


class Span:
    """What is done to an input, as a trace shows it. This one is not recorded: it only passes on
    the context (`traceparent`) that it was given.
    """

    recorded = False

    def __init__(self, traceparent: str = "") -> None:
        self.traceparent = traceparent

    def end(self, error: BaseException | None = None) -> None:
        """It is over; `error` is why it failed."""


Begin = Callable[[str, Delivered], Span]
"""Begins the span in which a consumer of this name handles a message."""


Result = Literal["handled", "again", "dead"]
"""What came of a message: it was acknowledged, comes again later, or is a dead letter."""
Answered = Callable[[str, Result, int], None]
"""So many messages of a consumer had this result."""
Took = Callable[[str, float], None]
"""A consumer took so many seconds from taking a group of messages to its acknowledgement."""


class Listener:
    """Who hears of messages; one for the process."""

    begin: Begin | None = None
    """Hears of messages of sampled traces."""
    answered: Answered = staticmethod(lambda consumer, result, count: None)
    took: Took = staticmethod(lambda consumer, seconds: None)


LISTENER = Listener()


def begun(consumer: str, messages: list[Delivered]) -> tuple[list[Delivered], Sequence[Span]]:
    """The messages with the contexts of their spans, and these."""
    begin = LISTENER.begin
    if begin is None:
        return messages, ()
    spans: list[Span] = []
    for at, message in enumerate(messages):
        if is_sampled(message.headers.get("traceparent", "")):
            span = begin(consumer, message)
            if span.recorded:
                spans.append(span)
                messages[at] = msgspec.structs.replace(message, trace=span.traceparent)
    return messages, spans


def ended(spans: Sequence[Span], error: BaseException | None = None) -> None:
    """They are over."""
    for span in spans:
        span.end(error)
