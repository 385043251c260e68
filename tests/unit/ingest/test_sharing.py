import asyncio

import pytest

from driftloop.contracts.errors import Overloaded
from driftloop.ingest.sharing import MOST_NAMES, Brought, Shared


class Log:
    """Writes down what is published, as slowly as a test wants."""

    def __init__(self) -> None:
        self.published: list[list[str]] = []
        self.free = asyncio.Event()
        self.error: Exception | None = None

    async def publish(self, model: str, brought: list[Brought[str]]) -> str:
        self.published.append([each.content for each in brought])
        await self.free.wait()
        if self.error is not None:
            raise self.error
        return f"{model}-{len(self.published)}"


def one(content: str, names: frozenset[str] = frozenset()) -> Brought[str]:
    return Brought(content, rows=1, size=10, names=names)


async def start(shared: Shared[str], *brought: Brought[str]) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(shared.publish("m", b)) for b in brought]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_request_leaves_at_once_and_the_next_ones_together() -> None:
    log = Log()
    shared = Shared(log.publish, 100, 1000, 100)
    tasks = await start(shared, one("a"))
    await asyncio.sleep(0)
    assert log.published == [["a"]]
    tasks += await start(shared, one("b"), one("c"))
    log.free.set()
    assert await asyncio.gather(*tasks) == ["m-1", "m-2", "m-2"]
    assert log.published == [["a"], ["b", "c"]]


async def test_a_batch_is_bounded_in_rows_bytes_and_names() -> None:
    names = [frozenset(f"{n}-{i}" for i in range(MOST_NAMES - 1)) for n in range(2)]
    for bounds, brought in (
        ((2, 1000), [one("a"), one("b"), one("c"), one("d")]),
        ((100, 25), [one("a"), one("b"), one("c"), one("d")]),
        ((100, 1000), [one("a", names[0]), one("b", names[0]), one("c", names[1]), one("d")]),
    ):
        log = Log()
        log.free.set()
        await asyncio.gather(*await start(Shared(log.publish, *bounds, 100), *brought))
        assert log.published == [["a", "b"], ["c", "d"]]


async def test_each_model_has_its_own_queue() -> None:
    log = Log()
    log.free.set()
    shared = Shared(log.publish, 100, 1000, 100)
    await asyncio.gather(shared.publish("m", one("a")), shared.publish("n", one("b")))
    assert sorted(log.published) == [["a"], ["b"]]


async def test_a_full_queue_is_told_and_empties_again() -> None:
    log = Log()
    shared = Shared(log.publish, 100, 1000, queue_rows=2)
    tasks = await start(shared, one("a"), one("b"))
    with pytest.raises(Overloaded, match="2 rows wait to be published; accepted: at most 2"):
        await shared.publish("m", one("c"))
    log.free.set()
    await asyncio.gather(*tasks)
    assert await shared.publish("m", one("c")) == "m-2"


async def test_all_who_share_a_batch_are_told_its_error_and_the_next_batch_goes_on() -> None:
    log = Log()
    log.error = Overloaded("full")
    shared = Shared(log.publish, 100, 1000, 100)
    tasks = await start(shared, one("a"), one("b"))
    log.free.set()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert told == [log.error, log.error]
    log.error = None
    assert await shared.publish("m", one("c")) == "m-2"


async def test_one_who_gives_up_waiting_harms_no_other() -> None:
    log = Log()
    shared = Shared(log.publish, 100, 1000, 100)
    first, second = await start(shared, one("a"), one("b"))
    first.cancel()
    log.free.set()
    assert await second == "m-1"
    assert first.cancelled()
