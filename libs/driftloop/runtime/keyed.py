"""One background task for each thing that needs one: a shadow's evidence, a champion's monitor."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from typing import Any

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Retry

log = logging.getLogger(__name__)

Wanted = Mapping[Hashable, Callable[[], Coroutine[Any, Any, None]]]


class KeyedTasks:
    """Starts a task for each key that is wanted, ends the others, restarts failed ones."""

    def __init__(self, bus: Bus, nudge: str, look_seconds: float = 1.0) -> None:
        self._bus = bus
        self._nudge = nudge
        self._look = look_seconds
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._nudged = asyncio.Event()

    async def run(self, wanted: Callable[[], Awaitable[Wanted]]) -> None:
        """Keep the tasks that `wanted` asks for; asked when a nudge is heard, and regularly."""
        await self._bus.hear(self._nudge, self._on_nudge)
        while not self._bus.stopping.is_set():
            try:
                self._reconcile(await wanted())
            except Retry as error:
                log.warning("kept as it was: %s", error)
            try:
                await asyncio.wait_for(self._nudged.wait(), self._look)
            except TimeoutError:
                continue
            self._nudged.clear()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _on_nudge(self, _: object) -> None:
        self._nudged.set()

    def _reconcile(self, wanted: Wanted) -> None:
        for key in [k for k in self._tasks if k not in wanted]:
            self._tasks.pop(key).cancel()
        for key, start in wanted.items():
            task = self._tasks.get(key)
            if task is not None and task.done() and not task.cancelled() and task.exception():
                log.error("%s failed, starting anew", key, exc_info=task.exception())
                task = None
            if task is None:
                self._tasks[key] = asyncio.create_task(start())
