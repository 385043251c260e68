"""Leases on the real broker: one owner a partition, and a free one is taken."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from nats.errors import Error as NatsError

from driftloop.bus.bus import Bus
from driftloop.bus.lease import Lease
from driftloop.bus.ownership import Ownership, Term
from driftloop.bus.provision import Layout
from driftloop.bus.publish import Conflict
from driftloop.local.nats import NatsServer
from tests.support.flows import eventually


class Replica:
    """Owns what it is given, and does nothing with it."""

    def __init__(self, bus: Bus, partitions: int) -> None:
        self.bus = bus
        self.terms: list[Term] = []
        self.now: dict[int, Term] = {}
        self.fail = asyncio.Event()
        self.ownership: Ownership = bus.ownership(partitions)

    async def own(self, term: Term) -> None:
        self.terms.append(term)
        self.now[term.partition] = term
        term.ready = True
        try:
            await self.fail.wait()
            self.fail.clear()
            raise Conflict("somebody else wrote")
        finally:
            del self.now[term.partition]


@contextlib.asynccontextmanager
async def replica(url: str, partitions: int = 1) -> AsyncIterator[Replica]:
    """A replica of the service `worker` until the block ends, or `stop` is called."""
    bus = await Bus.open(url, "worker", layout=Layout())
    made = Replica(bus, partitions)
    running = asyncio.create_task(made.ownership.run(made.own))
    try:
        yield made
    finally:
        bus.stopping.set()
        made.fail.set()
        await running
        await bus.close()


async def owned(expected: list[list[int]], *replicas: Replica) -> None:
    async def true() -> bool:
        return sorted(sorted(r.now) for r in replicas) == expected

    await eventually(true, f"partitions {expected}")


async def test_one_of_two_replicas_owns_and_the_other_follows_at_once_when_it_leaves(
    nats_server: NatsServer,
) -> None:
    async with replica(nats_server.url) as second:
        async with replica(nats_server.url) as first:
            await owned([[], [0]], first, second)

            async def ready() -> bool:
                return not (first.ownership.problem() or second.ownership.problem())

            await eventually(ready, "both ready")
        await owned([[0]], second)
    assert len({term.id for term in first.terms + second.terms}) == len(first.terms + second.terms)


async def test_replicas_share_partitions_and_give_back_what_is_more_than_their_share(
    nats_server: NatsServer,
) -> None:
    async with replica(nats_server.url, 5) as first:
        await owned([[0, 1, 2, 3, 4]], first)
        async with replica(nats_server.url, 5) as second:

            async def shared() -> bool:
                return sorted([*first.now, *second.now]) == [0, 1, 2, 3, 4] and len(first.now) == 3

            await eventually(shared, "three and two partitions")
        await owned([[0, 1, 2, 3, 4]], first)


async def test_an_owner_whose_write_came_second_begins_a_new_term(nats_server: NatsServer) -> None:
    async with replica(nats_server.url) as only:
        await owned([[0]], only)
        only.fail.set()

        async def again() -> bool:
            return len(only.terms) == 2 and bool(only.now)

        await eventually(again, "a second term")


async def test_an_owner_whose_lease_was_taken_stands_down(nats_server: NatsServer) -> None:
    async with replica(nats_server.url) as only:
        await owned([[0]], only)
        (term,) = only.terms
        mine = Lease(only.bus.connection, "worker.lease.1.0", term.id)
        other = Lease(only.bus.connection, "worker.lease.1.0", "another")
        await mine.keep()  # the same owner by its token, though it lost the answer
        assert mine.held
        await mine.give_back()
        await other.keep()
        assert other.held
        await owned([[]], only)
        await mine.keep()
        assert not mine.held
        await mine.give_back()
        await other.keep()
        assert other.held, "what is another's by now stays as it is"


async def test_when_the_division_changes_the_old_owners_give_way(nats_server: NatsServer) -> None:
    async with replica(nats_server.url, 1) as old:
        await owned([[0]], old)
        async with replica(nats_server.url, 2) as new:
            await owned([[0, 1]], new)
            assert not old.now
        await owned([[0]], old)


async def test_ownership_outlives_a_restart_of_the_broker(nats_server: NatsServer) -> None:
    async with replica(nats_server.url) as first, replica(nats_server.url) as second:
        await owned([[], [0]], first, second)
        nats_server.kill()
        nats_server.start()

        async def settled() -> bool:
            with contextlib.suppress(NatsError, OSError):
                info = await first.bus.connection.js.stream_info("KV_OWNERS", ">")
                kinds = sorted(subject.split(".")[3] for subject in info.state.subjects or ())
                now = sorted([*first.now, *second.now])
                return kinds == ["lease", "live", "live"] and now == [0]
            return False

        await eventually(settled, "one owner, known to the broker")
