"""One reader of a stream for all models that are watched here, whatever their number.

NATS has room for a thousand consumers of a stream by default. So a model has one of its own only
while it is read from its champion's promotion up to the present, a few models at a time; from there
on the reader of all hands it its messages. Without a model to watch nothing is read.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.contracts.errors import Retry

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Models that are read up to the present at a time."""
IDLE_SECONDS: Final = 0.5

Handle = Callable[[Delivered], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Reader:
    """One model's place in the stream; `failed` has the error that ended it."""

    subject: str
    next_seq: int
    handle: Handle
    over: asyncio.Event
    failed: list[BaseException] = field(default_factory=list)

    async def take(self, message: Delivered) -> None:
        """Handle a message, unless it was handled before."""
        if message.seq >= self.next_seq and not self.over.is_set():
            await self.handle(message)
            self.next_seq = message.seq + 1


class Feed:
    """The messages of one stream under `subjects`, for the readers that want those of a model."""

    def __init__(self, bus: Bus, stream: str, subjects: str) -> None:
        self._bus = bus
        self._stream = stream
        self._subjects = subjects
        self._readers: dict[str, Reader] = {}
        self._used = asyncio.Event()
        self._users = 0
        self._begun = asyncio.Event()
        self._still = asyncio.Lock()
        """Held while messages are handed over: who holds it knows that nothing moves."""
        self._catching_up = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Hand over what comes, while somebody wants it, until the service stops."""
        while not self._bus.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._used.wait(), IDLE_SECONDS)
            if self._used.is_set():
                await self._run()

    async def _run(self) -> None:
        try:
            start = await self._bus.log.last_seq(self._stream) + 1
        except Retry as error:
            log.warning("%s: %s", self._stream, error)
            await asyncio.sleep(error.delay)
            return
        follow = self._bus.follow(self._stream, (self._subjects,), start)
        self._begun.set()
        while self._users and not self._bus.stopping.is_set():
            group = await follow.read()
            async with self._still:
                for message in group:
                    await self._hand(message)
        self._begun.clear()
        if not self._users:
            self._used.clear()
        await follow.close()

    async def read(self, subject: str, start: int, handle: Handle, over: asyncio.Event) -> None:
        """Every message of a model from `start` on, in order, each once, until `over` is set.

        Raises what `handle` raises.
        """
        reader = Reader(subject, start, handle, over)
        self._users += 1
        self._used.set()
        try:
            await self._begun.wait()
            async with self._catching_up:
                await self._catch_up(reader)
            async with self._still:
                await self._catch_up(reader)
                self._readers[subject] = reader
            await over.wait()
        finally:
            self._users -= 1
            if self._readers.get(subject) is reader:
                del self._readers[subject]
        if reader.failed:
            raise reader.failed[0]

    async def _hand(self, message: Delivered) -> None:
        reader = self._readers.get(message.subject)
        if reader is None:
            return
        try:
            await reader.take(message)
        except Exception as error:  # of this model alone; the others go on
            reader.failed.append(error)
            reader.over.set()

    async def _catch_up(self, reader: Reader) -> None:
        """Up to the last message there is now."""
        last = await self._bus.log.last(self._stream, reader.subject)
        if last is None or last.seq < reader.next_seq:
            return
        follow = self._bus.follow(self._stream, (reader.subject,), reader.next_seq)
        try:
            while reader.next_seq <= last.seq and not reader.over.is_set():
                group = await follow.read()
                for message in group:
                    await reader.take(message)
                if not group and not await self._more(reader):
                    return
        finally:
            await follow.close()

    async def _more(self, reader: Reader) -> bool:
        """Whether there is something to read: what was last may have been too old to be kept."""
        at = await self._bus.log.at_or_after(self._stream, reader.subject, reader.next_seq)
        return at is not None
