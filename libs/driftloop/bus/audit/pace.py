"""Work that takes a share of the time, so that what else a process does goes on."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

WORK_SECONDS: Final = 0.02
"""Work between two rests."""


class Pace:
    """Rests so long after each bit of work that work takes `share` of the time (0 to 1)."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share is {share}; accepted is above 0, up to 1")
        self._ratio = 1.0 / share - 1.0
        self._clock = clock
        self._began = clock()

    async def rest(self) -> None:
        """Rest, if there was work enough since the last time."""
        worked = self._clock() - self._began
        if self._ratio and worked >= WORK_SECONDS:
            await asyncio.sleep(worked * self._ratio)
            self._began = self._clock()


FULL: Final = Pace(1.0)
"""Without any rest."""
