"""Precedence between the works of a service: the live lane goes before the backlog."""

import asyncio
import contextlib
from typing import Final

QUIET_SECONDS: Final = 1.0
"""So long after its last message the first work is taken for idle."""
WAIT_SECONDS: Final = 0.05
"""How long the first work is waited for: what others send is handled too, if more slowly."""


class Precedence:
    """Who goes first: the first of some works, while it has messages in hand."""

    def __init__(self) -> None:
        self._in_hand = 0
        self._free = asyncio.Event()
        self._free.set()
        self._last = -QUIET_SECONDS

    def begun(self, task: asyncio.Task[None]) -> None:
        """The first work begins with a group."""
        self._in_hand += 1
        self._free.clear()
        task.add_done_callback(self._done)

    def _done(self, _: asyncio.Task[None]) -> None:
        self._in_hand -= 1
        self._last = asyncio.get_running_loop().time()
        if not self._in_hand:
            self._free.set()

    async def turn(self) -> None:
        """Wait until the first work has nothing in hand, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.wait()

    async def rest(self, task: asyncio.Task[None]) -> None:
        """After another work has begun with a group: while the first one is in use, wait until it
        is done with, and as long again, so that the machine is free half of the time.
        """
        began = asyncio.get_running_loop().time()
        if self._in_hand or began - self._last < QUIET_SECONDS:
            await asyncio.wait([task])
            await asyncio.sleep(asyncio.get_running_loop().time() - began)
