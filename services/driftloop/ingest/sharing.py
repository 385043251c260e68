"""Natural batching: what comes in while a publish is under way leaves together as the next one.

No timer: a lone request leaves at once, and the busier the door, the larger the batches.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from driftloop.contracts.errors import Overloaded

T = TypeVar("T")

MOST_NAMES = 256
"""Columns of a shared batch: requests that name ever new ones must not multiply each other."""


class Brought(NamedTuple, Generic[T]):
    """What one request brought: `rows` rows in `size` bytes, with fields of these names; `trace` is
    the trace context of the request.
    """

    content: T
    rows: int
    size: int
    names: frozenset[str] = frozenset()
    trace: str = ""


Publish = Callable[[str, list[Brought[T]]], Awaitable[str]]
"""Publishes what several requests brought for a model as one batch; returns the batch's id."""


class _Waiting(NamedTuple, Generic[T]):
    brought: Brought[T]
    published: asyncio.Future[str]


class Shared(Generic[T]):
    """What waits to be published, a queue each model, at most `queue_rows` rows in all."""

    def __init__(
        self, publish: Publish[T], most_rows: int, most_bytes: int, queue_rows: int
    ) -> None:
        self._publish = publish
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue_rows = queue_rows
        self._rows = 0
        self._queues: dict[str, deque[_Waiting[T]]] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    async def publish(self, model: str, brought: Brought[T]) -> str:
        """Wait until the log has it; returns the id of the batch it went with."""
        if self._rows + brought.rows > self._queue_rows:
            raise Overloaded(
                f"{self._rows} rows wait to be published;"
                f" accepted: at most {self._queue_rows}, try again"
            )
        self._rows += brought.rows
        waiting = _Waiting(brought, asyncio.get_running_loop().create_future())
        if model in self._queues:
            self._queues[model].append(waiting)
        else:
            self._queues[model] = deque([waiting])
            pump = asyncio.create_task(self._pump(model))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        return await waiting.published

    async def _pump(self, model: str) -> None:
        queue = self._queues[model]
        while queue:
            group = self._next(queue)
            try:
                batch = await self._publish(model, [w.brought for w in group])
            except Exception as error:  # each of those who wait is told, whatever it was
                for waiting in group:
                    if not waiting.published.done():
                        waiting.published.set_exception(error)
            else:
                for waiting in group:
                    if not waiting.published.done():
                        waiting.published.set_result(batch)
            self._rows -= sum(waiting.brought.rows for waiting in group)
        del self._queues[model]

    def _next(self, queue: deque[_Waiting[T]]) -> list[_Waiting[T]]:
        """The next that wait, as many as may go together."""
        group = [queue.popleft()]
        _, rows, size, names, _ = group[0].brought
        while queue:
            brought = queue[0].brought
            rows, size, names = rows + brought.rows, size + brought.size, names | brought.names
            if rows > self._most_rows or size > self._most_bytes or len(names) > MOST_NAMES:
                break
            group.append(queue.popleft())
        return group
