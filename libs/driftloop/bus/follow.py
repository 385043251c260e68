"""Following a log: every message of some subjects from a sequence on, in order, each once.

For services whose state is a fold over the log. Nothing is acknowledged: after a crash the state's
owner knows from its own last output where to go on. A consumer that is lost is made again at the
next sequence, so a restart of the broker goes unnoticed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import NotFoundError

from driftloop.bus.connection import Connection
from driftloop.bus.messages import Delivered
from driftloop.bus.pull import Pull

log = logging.getLogger(__name__)

INACTIVE_SECONDS = 30.0


class Follow:
    """An ordered reader of `stream` from `start` (a sequence, 1 is the first)."""

    def __init__(
        self, connection: Connection, stream: str, subjects: tuple[str, ...], start: int
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self.stream = stream
        self.next_seq = max(1, start)
        self.behind = 0
        """Messages after the last one that was read, as of then."""
        self._consumer = ""
        self._delivered = 0
        self._pull: Pull | None = None

    async def read(
        self,
        most: int = 64,
        timeout: float = 0.5,  # noqa: ASYNC109  # running out of it is an answer, not an error
    ) -> list[Delivered]:
        """The next messages in order, at most `most`; none after `timeout` seconds without one."""
        try:
            if self._pull is None or self._pull.lost:
                await self._open()
            assert self._pull is not None
            group = await self._pull.next(most, timeout)
        except (NatsError, OSError) as error:
            log.warning("follow %s: %s", self.stream, error)
            await self._drop()
            await asyncio.sleep(0.5)
            return []
        made: list[Delivered] = []
        for message in group:
            if message.consumer_seq != self._delivered + 1:
                await self._drop()
                break
            self._delivered += 1
            made.append(message.delivered())
            self.next_seq = made[-1].seq + 1
        if group:
            self.behind = group[-1].pending
        elif await self._gone():
            await self._drop()
        elif self._pull is not None and not self._pull.silent():
            self.behind = 0
        return made

    async def groups(self, stopping: asyncio.Event) -> AsyncIterator[list[Delivered]]:
        """Groups of messages until `stopping` is set."""
        while not stopping.is_set():
            group = await self.read()
            if group:
                yield group
        await self.close()

    async def close(self) -> None:
        """Leave the log."""
        consumer = self._consumer
        await self._drop()
        with contextlib.suppress(NatsError, OSError):
            if consumer:
                await self._connection.js.delete_consumer(self.stream, consumer)

    async def _open(self) -> None:
        await self._drop()
        config = api.ConsumerConfig(
            name=f"follow-{self._connection.service}-{self._connection.nc.new_inbox()[-12:]}",
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self.next_seq,
            filter_subjects=list(self._subjects),
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=INACTIVE_SECONDS,
            mem_storage=True,
            num_replicas=1,
            max_deliver=1,
        )
        info = await self._connection.js.add_consumer(self.stream, config)
        self._consumer = info.name
        self._pull = Pull(self._connection, self.stream, info.name, 256)
        await self._pull.open()

    async def _drop(self) -> None:
        pull, self._pull, self._consumer, self._delivered = self._pull, None, "", 0
        if pull is not None:
            with contextlib.suppress(NatsError):
                await pull.close()

    async def _gone(self) -> bool:
        if not self._consumer or self._pull is None or not self._pull.silent():
            return False
        try:
            await self._connection.js.consumer_info(self.stream, self._consumer)
        except NotFoundError:
            return True
        except (NatsError, OSError) as error:  # the broker is away: a later look finds out
            log.warning("follow %s: %s", self.stream, error)
        return False
