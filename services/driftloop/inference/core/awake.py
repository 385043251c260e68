"""Busy polling: after an answer the event loop keeps turning instead of going to sleep.

A processor that has slept forgets: caches, predictions of branches, its clock rate. The same run of
a small model takes ten times as long after a pause of 5 ms, and four times as long as after 5 ms
awake. Who must answer a lone request at once pays for it with a core.
"""

import asyncio
from time import perf_counter


class Awake:
    """Keeps the running event loop awake for so many seconds after the last call of `keep`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0
        self.turning = False
        """Whether the loop is kept awake."""

    def keep(self) -> None:
        """Stay awake from now on."""
        self._until = perf_counter() + self._seconds
        if not self.turning:
            self.turning = True
            self._turn()

    def _turn(self) -> None:
        self.turning = perf_counter() < self._until
        if self.turning:
            # A task that is ready makes the loop ask for events without waiting for one.
            asyncio.get_running_loop().call_soon(self._turn)
