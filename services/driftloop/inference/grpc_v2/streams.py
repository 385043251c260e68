"""`ModelStreamInfer` on grpc.aio: many requests over one call, answered in their order."""

import asyncio
from typing import Any, NamedTuple

import grpc.aio

from driftloop.inference.grpc_v2.answers import WINDOW, ask, stream_message
from driftloop.inference.grpc_v2.asked import Answer, Core


class _Asked(NamedTuple):
    """A request under way: its id, and its answer or error to come."""

    id: str
    answer: asyncio.Future[Answer]


class Streams:
    """Answers streams over one core; an error goes to the caller as a message, not as the end."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def answer(self, context: Any, deadline: float) -> None:
        """Answer one stream until the caller has sent all."""
        asked: asyncio.Queue[_Asked | None] = asyncio.Queue(WINDOW)
        async with asyncio.TaskGroup() as group:
            group.create_task(_write(asked, context))
            while (raw := await context.read()) is not grpc.aio.EOF:
                await asked.put(self._begin(raw, deadline))
            await asked.put(None)

    def _begin(self, raw: bytes, deadline: float) -> _Asked:
        """Hand one request to the core."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not future.done():  # the caller may have gone
                future.set_result(answer)

        return _Asked(ask(self._core, raw, deadline, done), future)


async def _write(asked: asyncio.Queue[_Asked | None], context: Any) -> None:
    """Send answers in the order of the requests, until there are no more."""
    while (one := await asked.get()) is not None:
        await context.write(stream_message(one.id, await one.answer))
