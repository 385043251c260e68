import asyncio

import pyarrow as pa
import pytest

from driftloop.console.queries.cache import (
    FRESH_SECONDS,
    LONGEST_SECONDS,
    MOST,
    MOST_BYTES,
    Cache,
)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Counts how often it is asked; an answer takes `seconds` of the clock."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        self.asked = 0
        self._clock, self._seconds = clock, seconds

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        self._clock.now += self._seconds
        self.asked += 1
        return self.asked


async def test_an_answer_is_kept_for_a_moment() -> None:
    clock = Clock()
    cache, source = Cache(clock), Source(clock)
    assert [await cache.get("a", source) for _ in range(3)] == [1, 1, 1]
    clock.now += FRESH_SECONDS + 0.1
    assert await cache.get("a", source) == 2


async def test_all_who_ask_at_once_wait_for_one_answer() -> None:
    clock = Clock()
    cache, source = Cache(clock), Source(clock)
    assert await asyncio.gather(*(cache.get("a", source) for _ in range(10))) == [1] * 10


async def test_a_dear_answer_is_kept_for_longer_but_not_for_ever() -> None:
    clock = Clock()
    cache, source = Cache(clock), Source(clock, 2.0)
    await cache.get("a", source)
    clock.now += 19.0
    assert await cache.get("a", source) == 1
    clock.now += 2.0
    assert await cache.get("a", source) == 2
    slow = Source(clock, 1_000.0)
    await cache.get("b", slow)
    clock.now += LONGEST_SECONDS + 1.0
    assert await cache.get("b", slow) == 2


async def test_an_error_is_told_to_all_and_not_kept() -> None:
    cache, tries = Cache(), 0

    async def fails() -> int:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)
        raise ValueError("no")

    found = await asyncio.gather(*(cache.get("a", fails) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["no"] * 3
    assert tries == 1
    with pytest.raises(ValueError, match="no"):
        await cache.get("a", fails)
    assert tries == 2


async def test_who_goes_away_does_not_spoil_it_for_the_others() -> None:
    cache, go = Cache(), asyncio.Event()

    async def waits() -> int:
        await go.wait()
        return 7

    first = asyncio.create_task(cache.get("a", waits))
    second = asyncio.create_task(cache.get("a", waits))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == 7


async def test_only_so_many_answers_are_kept_and_the_one_not_asked_for_goes() -> None:
    clock = Clock()
    cache, source = Cache(clock), Source(clock)
    await cache.get("first", source)
    for n in range(MOST - 1):
        await cache.get(str(n), source)
    await cache.get("first", source)
    await cache.get("one more", source)
    asked = source.asked
    await cache.get("first", source)
    assert source.asked == asked
    await cache.get("0", source)
    assert source.asked == asked + 1


async def test_tables_are_kept_up_to_so_many_bytes() -> None:
    cache, asked = Cache(), 0

    async def third() -> pa.RecordBatch:
        nonlocal asked
        asked += 1
        return pa.record_batch({"a": pa.nulls(MOST_BYTES // 3 // 8, pa.int64())})

    for key in ("a", "b", "a", "c", "a"):
        await cache.get(key, third)
    assert asked == 3
    await cache.get("b", third)
    assert asked == 4
