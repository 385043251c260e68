"""Sends batches with a bounded window in flight, each until the log has it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from driftloop.contracts.errors import DriftloopError, InvalidInput, Retry
from driftloop.contracts.requests import Accepted

FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 2.0
LONGEST_DEADLINE: Final = 540.0
"""The broker knows a batch again for 10 minutes; a retry after that would be stored twice."""

B = TypeVar("B")
R = TypeVar("R")


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the log has: `duplicate` of the `rows` it had already."""

    rows: int = 0
    batches: int = 0
    duplicate: int = 0
    seconds: float = 0.0


Progress = Callable[[Sent], None]
"""Called after each batch with what has been sent so far."""


class NotSent(DriftloopError):
    """A batch was not taken within the deadline; `sent` is what was taken before."""

    def __init__(self, reason: str, sent: Sent | None = None) -> None:
        super().__init__(reason)
        self.sent = sent or Sent()


async def insist(ask: Callable[[], Awaitable[R]], deadline: float) -> R:
    """Ask until there is an answer, ever more slowly; `NotSent` after `deadline` seconds."""
    if not 0 < deadline <= LONGEST_DEADLINE:
        raise InvalidInput(
            f"deadline: {deadline!r}; accepted: above 0, at most {LONGEST_DEADLINE:g} s"
        )
    end, wait = time.monotonic() + deadline, FIRST_WAIT
    while True:
        try:
            return await ask()
        except Retry as error:
            left = end - time.monotonic()
            if left <= 0:
                raise NotSent(f"gave up after {deadline:g} s: {error}") from error
            await asyncio.sleep(min(wait, left))
            wait = min(2 * wait, LONGEST_WAIT)


class Window:
    """At most `size` batches in flight; the source is not read further meanwhile."""

    def __init__(self, size: int, progress: Progress | None) -> None:
        if size < 1:
            raise InvalidInput(f"window: {size}; accepted: a whole number above 0")
        self._free = asyncio.Semaphore(size)
        self._progress = progress
        self._began = time.monotonic()
        self.sent = Sent()

    async def send(
        self, batches: AsyncIterator[B], send_one: Callable[[int, B], Awaitable[Accepted]]
    ) -> Sent:
        """Send all of `batches`; the first error is raised, and the rest given up."""
        number = 0
        try:
            async with asyncio.TaskGroup() as group:
                async for batch in batches:
                    await self._free.acquire()
                    group.create_task(self._one(send_one, number, batch))
                    number += 1
        except BaseExceptionGroup as errors:
            raise self._first(errors) from None
        return self._now()

    async def _one(
        self, send_one: Callable[[int, B], Awaitable[Accepted]], number: int, batch: B
    ) -> None:
        try:
            accepted = await send_one(number, batch)
        finally:
            self._free.release()
        self.sent = Sent(
            rows=self.sent.rows + accepted.accepted,
            batches=self.sent.batches + 1,
            duplicate=self.sent.duplicate + accepted.duplicate,
        )
        if self._progress is not None:
            self._progress(self._now())

    def _now(self) -> Sent:
        return msgspec.structs.replace(self.sent, seconds=time.monotonic() - self._began)

    def _first(self, errors: BaseExceptionGroup[BaseException]) -> BaseException:
        first = errors.exceptions[0]
        if isinstance(first, NotSent):
            first.sent = self._now()
        return first
