"""The line between worker 0 of a service and another worker: each side asks, the other answers."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from driftloop.runtime.metrics import Family

MOST_BYTES: Final = 32 << 20
"""Of one message; a longer one ends the line."""


class State(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why a worker, or the whole service, cannot do its work ("" when it can), and its metrics.

    `note` is what is wrong though it can.
    """

    problem: str
    families: list[Family]
    note: str = ""


class Question(msgspec.Struct, frozen=True, tag=True):
    """Asks the other side for its state."""


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(State | Question).decode


class Line:
    """One end of a socket pair. At most one question is under way in each direction."""

    def __init__(self, end: socket.socket, answer: Callable[[], Awaitable[State]]) -> None:
        self.last: State | None = None
        """The newest state the other side has told."""
        self.opened = asyncio.Event()
        """Set by `run` as soon as the line can be used."""
        self._end = end
        self._answer = answer
        self._writer: asyncio.StreamWriter | None = None
        self._asked: asyncio.Future[State] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Read until the other side is gone; answer its questions."""
        reader, self._writer = await asyncio.open_connection(sock=self._end)
        self.opened.set()
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                if size > MOST_BYTES:
                    raise ConnectionError(f"a message has {size} bytes; accepted: {MOST_BYTES}")
                self._take(_DECODE(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return
        finally:
            self._writer.close()
            for task in self._answering:
                task.cancel()
            if self._asked is not None and not self._asked.done():
                self._asked.cancel()

    async def ask(self, seconds: float) -> State | None:
        """The other side's state, or None if it does not answer within so many seconds.

        A question that was not answered stays asked: the next caller waits for its answer.
        """
        if self._writer is None or self._writer.is_closing():
            return None
        if self._asked is None or self._asked.done():
            self._asked = asyncio.get_running_loop().create_future()
            self._send(Question())
        told = self._asked
        await asyncio.wait([told], timeout=seconds)
        return told.result() if told.done() and not told.cancelled() else None

    def tell(self, state: State) -> None:
        """Send a state unasked, which says that this side is there."""
        self._send(state)

    def _take(self, message: State | Question) -> None:
        if isinstance(message, Question):
            task = asyncio.create_task(self._reply())
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        self.last = message
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(message)

    async def _reply(self) -> None:
        self._send(await self._answer())

    def _send(self, message: State | Question) -> None:
        if self._writer is not None and not self._writer.is_closing():
            data = _ENCODE(message)
            with contextlib.suppress(OSError):  # the other side is gone, which `run` notices
                self._writer.write(len(data).to_bytes(4, "big") + data)


class Rounds:
    """Questions to all the others; callers who come while one is under way share the next.

    So what a caller gets was asked after its call, and a crowd of callers asks no more often.
    """

    def __init__(self, ask: Callable[[], Awaitable[State | None]]) -> None:
        self._ask = ask
        self._now: asyncio.Task[State | None] | None = None
        self._next: asyncio.Task[State | None] | None = None

    async def next(self) -> State | None:
        """The answer to a question that is asked after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._now))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[State | None] | None) -> State | None:
        if before is not None:
            await asyncio.wait([before])
        self._now, self._next = self._next, None
        return await self._ask()
