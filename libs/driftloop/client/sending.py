"""Sends batches with a bounded window in flight, each until the log has it."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import msgspec

from driftloop.contracts.errors import (
    DriftloopError,
    InvalidInput,
    InvalidName,
    Reject,
    Retry,
    UnknownModel,
)

FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 2.0
LONGEST_DEADLINE: Final = 540.0
"""The broker knows a batch again for 10 minutes; a retry after that would be stored twice."""

B = TypeVar("B")
R = TypeVar("R")


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the log has: `duplicate` of the `rows` it had already. `refused` rows it has not."""

    rows: int = 0
    batches: int = 0
    duplicate: int = 0
    seconds: float = 0.0
    refused: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one batch: the log has it, or it was refused, and nothing of it is there."""

    batch: str
    """Its id: sent again under it within 10 minutes, it is stored once."""
    first: int
    """Index of its first row in the data."""
    rows: int
    """Rows in it."""
    accepted: int = 0
    """Rows of it that the log has."""
    duplicate: int = 0
    """Rows of it that the log had already."""
    error: DriftloopError | None = None
    """Why it was refused; none if the log has it."""

    @property
    def reason(self) -> str:
        """Why it was refused, in words; empty if the log has it."""
        return "" if self.error is None else str(self.error)


Progress = Callable[[Sent], None]
"""Called after each batch with what has been sent so far."""
OnReport = Callable[[Report], None]
"""Called with what became of each batch."""


class NotSent(DriftloopError):
    """A batch was not taken within the deadline; `sent` is what was taken before."""

    def __init__(self, reason: str, sent: Sent | None = None) -> None:
        super().__init__(reason)
        self.sent = sent or Sent()


def refuses(error: DriftloopError) -> bool:
    """Whether an error is about one batch alone: others of the same data may be taken."""
    return isinstance(error, Reject) and not isinstance(error, UnknownModel | InvalidName)


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


SendOne = Callable[[int, B], Awaitable[Report]]
"""Sends a batch by its number. An error it raises ends all; a report with an error does not."""


class Window:
    """At most `size` batches in flight or with an unread report; the source waits meanwhile."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise InvalidInput(f"window: {size}; accepted: a whole number above 0")
        self._free = asyncio.Semaphore(size)
        self._began = time.monotonic()
        self._sent = Sent()

    async def send(
        self,
        batches: AsyncIterator[B],
        send_one: SendOne[B],
        on_progress: Progress | None = None,
        on_report: OnReport | None = None,
    ) -> Sent:
        """Send all of `batches`; the first error is raised, and the rest given up.

        With `on_report`, a batch that is refused is no error.
        """
        async with aclosing(self.reports(batches, send_one)) as reports:
            async for report in reports:
                if on_report is not None:
                    on_report(report)
                elif report.error is not None:
                    raise report.error
                if on_progress is not None:
                    on_progress(self._now())
        return self._now()

    async def reports(
        self, batches: AsyncIterator[B], send_one: SendOne[B]
    ) -> AsyncGenerator[Report, None]:
        """Send all of `batches`; what became of each, as soon as that is known.

        Raises the first error that is no report; the rest is given up then, and at a `aclose`.
        """
        done: asyncio.Queue[Report | None] = asyncio.Queue()
        feeding = asyncio.create_task(self._feed(batches, send_one, done))
        feeding.add_done_callback(lambda _: done.put_nowait(None))
        try:
            while (report := await done.get()) is not None:
                self._count(report)
                yield report
                self._free.release()
            await feeding
        except BaseExceptionGroup as errors:
            raise self._first(errors) from None
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(
        self,
        batches: AsyncIterator[B],
        send_one: SendOne[B],
        done: asyncio.Queue[Report | None],
    ) -> None:
        async def one(number: int, batch: B) -> None:
            done.put_nowait(await send_one(number, batch))

        number = 0
        async with asyncio.TaskGroup() as group:
            async for batch in batches:
                await self._free.acquire()
                group.create_task(one(number, batch))
                number += 1

    def _count(self, report: Report) -> None:
        refused = report.error is not None
        self._sent = Sent(
            rows=self._sent.rows + report.accepted,
            batches=self._sent.batches + (not refused),
            duplicate=self._sent.duplicate + report.duplicate,
            refused=self._sent.refused + (report.rows if refused else 0),
        )

    def _now(self) -> Sent:
        return msgspec.structs.replace(self._sent, seconds=time.monotonic() - self._began)

    def _first(self, errors: BaseExceptionGroup[BaseException]) -> BaseException:
        first = errors.exceptions[0]
        if isinstance(first, NotSent):
            first.sent = self._now()
        return first
