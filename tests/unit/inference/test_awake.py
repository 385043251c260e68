"""The event loop stays awake for a while after an answer, and then sleeps again."""

import asyncio
import time

from driftloop.inference.core.awake import Awake

SECONDS = 10.0


async def test_it_turns_until_the_time_is_over_and_then_sleeps() -> None:
    awake = Awake(0.05)
    began = time.perf_counter()
    awake.keep()
    awake.keep()  # one chain of turns, however often it is asked for
    async with asyncio.timeout(SECONDS):
        while True:
            await asyncio.sleep(0.001)
            if not awake.turning:
                break
    assert time.perf_counter() - began >= 0.05
    awake.keep()
    assert awake.turning


async def test_each_answer_makes_it_longer() -> None:
    awake = Awake(0.05)
    awake.keep()
    began = time.perf_counter()
    async with asyncio.timeout(SECONDS):
        while time.perf_counter() - began < 0.15:
            awake.keep()
            await asyncio.sleep(0.001)
            assert awake.turning
