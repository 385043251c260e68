"""Ownership: each partition of a service's state has one active owner, other replicas stand by.

An owner holds a lease (`bus.lease`); one that is gone is free. Leases keep owners out of each
other's way. That a stale one does no harm hangs on no clock: what it says is conditional on the
last sequence of the subject (`publish.publish_next`), and a `Conflict` ends its term.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, NamedTuple
from zlib import crc32

from driftloop.bus.connection import Connection
from driftloop.bus.lease import BUCKET, LEASE_SECONDS, RENEW_SECONDS, Lease
from driftloop.bus.retry import transient
from driftloop.contracts.errors import Retry
from driftloop.contracts.names import new_id

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 1.0
"""How long a partition whose term ended with an error is left to others."""


def partition_of(model: str, partitions: int) -> int:
    """The partition a model lies in: the same in every process."""
    return crc32(model.encode()) % partitions


@dataclass(slots=True, eq=False)
class Term:
    """One time of owning `partition`, one of `partitions`; `id` is of this term alone.

    `over` is set when it ends. Loops have to look at it: a cancellation alone gets lost when it
    meets the end of an `asyncio.wait_for` (Python 3.11).
    """

    partition: int
    partitions: int
    id: str = field(default_factory=new_id)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False
    """Set by who owns, once the state is rebuilt."""

    def has(self, model: str) -> bool:
        """Whether the model is this owner's."""
        return partition_of(model, self.partitions) == self.partition


Own = Callable[[Term], Coroutine[Any, Any, None]]
"""Runs for a term: until it is over, and cancelled if need be. Raises `Retry` to stand down."""


class Seen(NamedTuple):
    """Who is there and what is taken: `live` has the partitions each replica is set up for."""

    live: Sequence[int]
    taken: frozenset[tuple[int, int]]
    """Pairs of partitions in all, and a partition that has an owner."""


def share(partitions: int, seen: Seen) -> int:
    """Partitions a replica may own; none while others are set up for more than it is."""
    if max(seen.live, default=0) > partitions:
        return 0
    return ceil(partitions / max(1, seen.live.count(partitions)))


def free(partitions: int, seen: Seen) -> list[int]:
    """Partitions without an owner; none while one of another division of the models has one."""
    if any(count != partitions for count, _ in seen.taken):
        return []
    return [at for at in range(partitions) if (partitions, at) not in seen.taken]


@dataclass(slots=True, eq=False)
class _Held:
    """A partition that is owned here."""

    term: Term
    lease: Lease
    task: asyncio.Task[None]

    def end(self) -> None:
        """Tell the task to end, once: a second time would break off how it ends."""
        if not self.term.over.is_set():
            self.term.over.set()
            self.task.cancel()


class Ownership:
    """A replica's part in the partitions of its service."""

    def __init__(self, connection: Connection, partitions: int, stopping: asyncio.Event) -> None:
        self._connection = connection
        self._partitions = partitions
        self._stopping = stopping
        self._id = new_id()
        self._live = self._lease(f"live.{partitions}.{self._id}", self._id)
        self._held: dict[int, _Held] = {}
        self._pauses: dict[int, float] = {}
        self._renewed = 0.0
        self._looked = False

    def problem(self) -> str:
        """Not ready until it is known what others own, and what is owned here is rebuilt."""
        if not self._looked:
            return "asking who owns what"
        waiting = [str(at) for at, held in sorted(self._held.items()) if not held.term.ready]
        return f"rebuilding the state of partition {', '.join(waiting)}" if waiting else ""

    async def run(self, own: Own) -> None:
        """Own a fair share of the partitions until the service stops; `own` runs for each term.

        Raises what `own` raises, unless it is a `Retry`.
        """
        try:
            while not self._stopping.is_set():
                try:
                    await self._turn(own)
                except (Retry, TimeoutError, OSError) as error:
                    log.warning("ownership: %s", error or type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), LOOK_SECONDS)
        finally:
            await self._leave()

    async def _turn(self, own: Own) -> None:
        """Renew, see what has ended, and look whether there is more or less to own."""
        if time.monotonic() - self._renewed >= RENEW_SECONDS:
            self._renewed = time.monotonic()
            leases = [held.lease for held in self._held.values() if held.lease.held]
            await asyncio.gather(*(lease.keep() for lease in (self._live, *leases)))
        for held in list(self._held.values()):
            await self._settle(held)
        seen = await self._look()
        mine = [held for held in self._held.values() if not held.term.over.is_set()]
        wanted = share(self._partitions, seen) - len(mine)
        if wanted < 0:
            mine[-1].end()
        elif wanted > 0:
            await self._take(free(self._partitions, seen), wanted, own)
        self._looked = True

    async def _look(self) -> Seen:
        prefix = f"$KV.{BUCKET}.{self._connection.service}."
        with transient(BUCKET):
            async with asyncio.timeout(RENEW_SECONDS):
                info = await self._connection.js.stream_info(f"KV_{BUCKET}", f"{prefix}>")
        keys = [subject.removeprefix(prefix).split(".") for subject in info.state.subjects or ()]
        return Seen(
            [int(count) for kind, count, _ in keys if kind == "live"],
            frozenset((int(count), int(at)) for kind, count, at in keys if kind == "lease"),
        )

    async def _take(self, found: list[int], wanted: int, own: Own) -> None:
        now, first = time.monotonic(), crc32(self._id.encode())
        found = [at for at in found if at not in self._held and self._pauses.get(at, 0.0) <= now]
        found.sort(key=lambda at: (at + first) % self._partitions)  # each begins elsewhere
        terms = [Term(at, self._partitions) for at in found[:wanted]]
        leases = [self._lease(f"lease.{self._partitions}.{t.partition}", t.id) for t in terms]
        await asyncio.gather(*(lease.keep() for lease in leases))
        for term, lease in zip(terms, leases, strict=True):
            if lease.held:
                log.info("owns partition %d of %d", term.partition, term.partitions)
                task = asyncio.create_task(own(term), name=f"partition {term.partition}")
                self._held[term.partition] = _Held(term, lease, task)

    async def _settle(self, held: _Held) -> None:
        """End a term whose lease is gone; let go of one that has ended, for whatever reason."""
        at = held.term.partition
        if not held.task.done():
            if not held.lease.held and not held.term.over.is_set():
                log.warning("partition %d: the lease is gone, standing down", at)
                held.end()
            return
        del self._held[at]
        await held.lease.give_back()
        error = None if held.task.cancelled() else held.task.exception()
        if error is not None:
            if not _may_pass(error):
                raise error
            log.warning("partition %d: standing down: %s", at, _text(error))
            self._pauses[at] = time.monotonic() + PAUSE_SECONDS

    async def _leave(self) -> None:
        """End all terms, which may finish what they have in hand; then make free what was held."""
        tasks = [held.task for held in self._held.values()]
        for held in self._held.values():
            held.term.over.set()
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=LEASE_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            leases = [self._live, *(held.lease for held in self._held.values())]
            await asyncio.gather(*(lease.give_back() for lease in leases))

    def _lease(self, key: str, token: str) -> Lease:
        return Lease(self._connection, f"{self._connection.service}.{key}", token)


def _may_pass(error: BaseException) -> bool:
    """Whether this is a `Retry`, or a group of nothing else: the state is rebuilt and goes on."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_may_pass, error.exceptions))
    return isinstance(error, Retry)


def _text(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_text, error.exceptions))
    return str(error)
