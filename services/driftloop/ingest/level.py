"""How full the streams are that ingest writes to, and when it refuses more.

In ROWS lie rows as they were received, and the same rows again once they are checked. Filled with
the former it would have no room for the latter, and nothing could ever go. So each message that is
not checked yet is counted for what will be made of it, too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Overloaded
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

FULL: Final = metrics.gauge(
    "ingest_stream_full_ratio", "Share of a stream's room that is taken, or spoken for", ["stream"]
)

MOST: Final = 0.95
"""Share of its room up to which a stream takes more; what is under way meanwhile fits in the rest.
"""
GROWTH: Final = 3.0
"""Bytes that are made of a byte received, at most: checked rows are as large, refused ones, which
are kept as JSON with a reason, up to three times."""
ANSWER_SECONDS: Final = 0.5
STEP: Final = 0.01
"""What ingest itself has written is looked at anew after this share of the room."""

What = Literal["rows", "labels"]
STREAMS: Final[dict[What, str]] = {"rows": "ROWS", "labels": "LABELS"}


class Level:
    """How full one stream is; `unchecked` tells how many messages of it will be written once more
    when they are checked, or None if nobody knows.
    """

    def __init__(
        self, bus: Bus, what: What, unchecked: Callable[[], Awaitable[int | None]] | None = None
    ) -> None:
        self._bus = bus
        self._what = what
        self._stream = STREAMS[what]
        self._unchecked = unchecked
        self._room = 0
        self._taken = 0.0
        self._written = 0
        self._looking = asyncio.Lock()

    def problem(self) -> str:
        """Why there is no room for more; empty when there is."""
        if not self._room or self._taken <= MOST * self._room:
            return ""
        taken, room = self._taken / 2**20, self._room / 2**20
        return f"{self._what}: {taken:.1f} of {room:.1f} MiB of {self._stream} are taken or due"

    def check(self) -> None:
        """Raise `Overloaded` when there is no room for more."""
        if problem := self.problem():
            wait = "accepted: when those who read it have handled more, try again"
            raise Overloaded(f"{problem}; {wait}", delay=2.0)

    async def wrote(self, size: int) -> None:
        """So many bytes were written; look again if that was much."""
        self._written += size
        self._taken += size * (1 + GROWTH if self._unchecked else 1)  # until the next look
        if self._written > STEP * self._room and not self._looking.locked():
            await self.look()

    async def look(self) -> None:
        """See how full it is. Without an answer the last figures stand, and what is written since
        is added.
        """
        async with self._looking:
            self._written = 0
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    unchecked = await self._unchecked() if self._unchecked else 0
                    filled = await self._bus.log.filled(self._stream)
            except Exception as error:  # the broker, or who leads the stream, is away
                log.warning("level of %s: %s", self._stream, str(error) or "no answer in time")
                return
            if unchecked is None:
                return
            each = filled.bytes / max(1, filled.messages)
            self._room = max(0, filled.room)
            self._taken = filled.bytes + GROWTH * each * min(unchecked, filled.messages)
            FULL.labels(self._stream).set(self._taken / self._room if self._room > 0 else 0.0)
