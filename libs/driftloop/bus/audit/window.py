"""From when on a reading of the streams is complete: what was asked for, and what is still kept."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from driftloop.bus.bus import Bus

LIMITED: Final = ("ROWS", "LABELS", "SCORED")
"""Streams of which a window looks at the newest part; OUTCOMES and DEAD are read as a whole."""
KEPT: Final = (*LIMITED, "OUTCOMES")
"""Streams that lose their oldest messages to age or size. From DEAD letters are taken by hand."""


SKEW_SECONDS: Final = 3_600.0
"""How much the clocks of the servers may differ: so much earlier answers are looked for. Which of
them belong to the window is told by the rows they were made from.
"""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Where to begin in each stream: everything stored from `since` on (seconds since 1970).

    `since` is 0 where the streams are there from their beginning, and all of them is wanted.
    """

    since: float = 0.0
    first: dict[str, int] = {}

    @property
    def whole(self) -> bool:
        """Whether it is all there ever was."""
        return not self.since

    @property
    def text(self) -> str:
        """The beginning as a UTC time; empty for the whole."""
        return datetime.fromtimestamp(self.since, UTC).isoformat() if self.since else ""

    def start(self, stream: str) -> int:
        """The first sequence to look at."""
        return max(1, self.first.get(stream, 1))


async def window(bus: Bus, since: float = 0.0) -> Window:
    """The window from `since` on, or from where on all streams are complete, if that is later.

    What is made of a row is stored after it, so from any moment on the streams agree.
    """
    for stream in KEPT:
        kept = await bus.log.first_seq(stream)
        if kept > 1:
            oldest = await bus.log.at_or_after(stream, ">", kept)
            since = max(since, oldest.time if oldest is not None else 0.0)
    first = {stream: await bus.log.first_seq(stream) for stream in ("OUTCOMES", "DEAD")}
    if since:
        first |= {stream: await first_at(bus, stream, since) for stream in LIMITED}
        first["SCORED"] = await first_at(bus, "SCORED", since - SKEW_SECONDS)
    return Window(since=since, first=first)


async def first_at(bus: Bus, stream: str, since: float) -> int:
    """The first sequence stored at `since` or later, by bisection."""
    low, high = await bus.log.first_seq(stream), await bus.log.last_seq(stream) + 1
    while low < high:
        middle = (low + high) // 2
        message = await bus.log.at_or_after(stream, ">", middle)
        if message is None or message.time >= since:
            high = middle
        else:
            low = message.seq + 1
    return max(1, low)
