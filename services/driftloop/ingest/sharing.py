"""Natural batching: what comes in while a publish is under way leaves together as the next one.

No timer: a lone request leaves at once, and the busier the door, the larger the batches.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pyarrow as pa

from driftloop.contracts.errors import Overloaded
from driftloop.ingest.domain.merge import fits, merged

Publish = Callable[[str, pa.RecordBatch], Awaitable[str]]
"""Publishes a batch on a subject and returns the batch's id."""


class _Waiting(NamedTuple):
    batch: pa.RecordBatch
    published: asyncio.Future[str]


class Shared:
    """Batches that wait, a queue each subject, at most `queue_rows` rows in all."""

    def __init__(self, publish: Publish, most_rows: int, most_bytes: int, queue_rows: int) -> None:
        self._publish = publish
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue_rows = queue_rows
        self._rows = 0
        self._queues: dict[str, deque[_Waiting]] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    async def publish(self, subject: str, batch: pa.RecordBatch) -> str:
        """Wait until the log has `batch`; returns the id of the batch it went with."""
        if self._rows + batch.num_rows > self._queue_rows:
            raise Overloaded(
                f"{self._rows} rows wait to be published; accepted: {self._queue_rows}, try again"
            )
        self._rows += batch.num_rows
        waiting = _Waiting(batch, asyncio.get_running_loop().create_future())
        if subject in self._queues:
            self._queues[subject].append(waiting)
        else:
            self._queues[subject] = deque([waiting])
            pump = asyncio.create_task(self._pump(subject))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        return await waiting.published

    async def _pump(self, subject: str) -> None:
        queue = self._queues[subject]
        while queue:
            group = self._next(queue)
            try:
                batch = await self._publish(subject, merged([w.batch for w in group]))
            except Exception as error:  # each of those who wait is told, whatever it was
                for waiting in group:
                    if not waiting.published.done():
                        waiting.published.set_exception(error)
            else:
                for waiting in group:
                    if not waiting.published.done():
                        waiting.published.set_result(batch)
            self._rows -= sum(waiting.batch.num_rows for waiting in group)
        del self._queues[subject]

    def _next(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """The next waiting batches, as many as may go together."""
        group = [queue.popleft()]
        rows, size = group[0].batch.num_rows, group[0].batch.nbytes
        names = set(group[0].batch.schema.names)
        while queue:
            batch = queue[0].batch
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows > self._most_rows or size > self._most_bytes or not fits(names, batch):
                break
            names.update(batch.schema.names)
            group.append(queue.popleft())
        return group
