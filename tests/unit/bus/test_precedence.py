import asyncio

import pytest

from driftloop.bus import precedence
from driftloop.bus.precedence import Precedence


async def held(order: Precedence) -> tuple[asyncio.Event, asyncio.Task[None]]:
    """The first work with a group in hand, until the event is set."""
    end = asyncio.Event()

    async def group() -> None:
        await end.wait()

    task = asyncio.create_task(group())
    order.begun(task)
    return end, task


async def test_others_wait_while_the_first_has_something_in_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "WAIT_SECONDS", 20.0)
    order = Precedence()
    end, task = await held(order)
    other = asyncio.create_task(order.turn())
    await asyncio.wait([other], timeout=0.05)
    assert not other.done()
    end.set()
    await asyncio.wait_for(asyncio.gather(other, task), 5)


async def test_others_do_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "WAIT_SECONDS", 0.01)
    order = Precedence()
    end, task = await held(order)
    await asyncio.wait_for(order.turn(), 5)
    end.set()
    await task


async def test_others_rest_as_long_as_they_worked_while_the_first_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    order = Precedence()
    end, task = await held(order)
    end.set()
    await task
    work = asyncio.create_task(asyncio.sleep(0.05))
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("asyncio.sleep", note)
    await order.rest(work)
    assert work.done()
    assert slept[0] >= 0.04


async def test_others_do_not_rest_for_a_first_work_that_is_idle() -> None:
    order = Precedence()
    work = asyncio.create_task(asyncio.sleep(60))
    await asyncio.wait_for(order.rest(work), 5)
    assert not work.done()
    work.cancel()
