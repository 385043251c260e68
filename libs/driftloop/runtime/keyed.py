"""One background task for each thing that needs one: a shadow's evidence, a champion's monitor."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from typing import Any

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import DriftloopError

log = logging.getLogger(__name__)

FIRST_SECONDS = 1.0
LAST_SECONDS = 60.0

Start = Callable[[], Coroutine[Any, Any, None]]
Wanted = Mapping[Hashable, Start]


class KeyedTasks:
    """Starts a task for each key that is wanted, ends the others, restarts failed ones.

    Before a failing task is started anew there is a pause, longer each time.
    """

    def __init__(self, bus: Bus, nudge: str, look_seconds: float = 1.0) -> None:
        self._bus = bus
        self._nudge = nudge
        self._look = look_seconds
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._ended: set[asyncio.Task[None]] = set()
        self._pauses: dict[Hashable, tuple[float, float]] = {}
        self._nudged = asyncio.Event()

    async def run(self, wanted: Callable[[], Awaitable[Wanted]]) -> None:
        """Keep the tasks that `wanted` asks for; asked when a nudge is heard, and regularly."""
        await self._bus.hear(self._nudge, self._on_nudge)
        while not self._bus.stopping.is_set():
            try:
                self._reconcile(await wanted())
            except DriftloopError as error:
                log.warning("kept as it was: %s", error)
            try:
                await asyncio.wait_for(self._nudged.wait(), self._look)
            except TimeoutError:
                continue
            self._nudged.clear()
        for key in list(self._tasks):
            self._end(key)
        await asyncio.gather(*self._ended, return_exceptions=True)

    async def _on_nudge(self, _: object) -> None:
        self._nudged.set()

    def _reconcile(self, wanted: Wanted) -> None:
        for key in [k for k in self._tasks if k not in wanted]:
            self._end(key)
        self._pauses = {k: pause for k, pause in self._pauses.items() if k in wanted}
        for key, start in wanted.items():
            task = self._tasks.get(key)
            if task is not None and task.done() and not task.cancelled() and task.exception():
                self._failed(key, self._tasks.pop(key))
            if key not in self._tasks and time.monotonic() >= self._pauses.get(key, (0.0, 0.0))[0]:
                self._tasks[key] = asyncio.create_task(start())

    def _end(self, key: Hashable) -> None:
        task = self._tasks.pop(key)
        self._ended.add(task)  # kept until it has really ended
        task.add_done_callback(self._ended.discard)
        task.cancel()

    def _failed(self, key: Hashable, task: asyncio.Task[None]) -> None:
        _, pause = self._pauses.get(key, (0.0, FIRST_SECONDS))
        self._pauses[key] = (time.monotonic() + pause, min(2 * pause, LAST_SECONDS))
        log.error("%s failed, starting anew in %.0f s", key, pause, exc_info=task.exception())
