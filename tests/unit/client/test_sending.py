import asyncio
from collections.abc import AsyncIterator

import pytest

from driftloop.client.sending import NotSent, Sent, Window, insist
from driftloop.contracts.errors import InvalidInput, Overloaded, UnknownModel
from driftloop.contracts.requests import Accepted


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def accept(number: int, rows: int) -> Accepted:
    await asyncio.sleep(0)
    return Accepted(accepted=rows, duplicate=number % 2, batch="")


async def test_everything_is_sent_and_counted() -> None:
    told: list[Sent] = []
    sent = await Window(3, told.append).send(numbers(10), accept)
    assert (sent.rows, sent.batches, sent.duplicate) == (45, 10, 5)
    assert told[-1].rows == 45
    assert len(told) == 10


async def test_no_more_than_the_window_is_in_flight() -> None:
    flying, most = 0, 0

    async def fly(number: int, rows: int) -> Accepted:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.001)
        flying -= 1
        return Accepted(accepted=1, duplicate=0, batch="")

    await Window(4, None).send(numbers(20), fly)
    assert most == 4


async def test_the_first_error_is_raised_and_the_rest_given_up() -> None:
    cancelled = 0

    async def fail(number: int, rows: int) -> Accepted:
        nonlocal cancelled
        if number == 2:
            raise UnknownModel("model: 'x'")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        raise AssertionError

    with pytest.raises(UnknownModel, match="model: 'x'"):
        await Window(5, None).send(numbers(100), fail)
    assert cancelled == 4


async def test_an_error_of_the_source_is_raised_as_it_is() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError("source")

    with pytest.raises(ZeroDivisionError, match="source"):
        await Window(5, None).send(broken(), accept)


async def test_one_who_is_busy_is_asked_again_until_the_deadline() -> None:
    asked = 0

    async def busy() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Overloaded("busy")
        return "yes"

    assert await insist(busy, 5.0) == "yes"

    async def never() -> str:
        raise Overloaded("full")

    with pytest.raises(NotSent, match=r"gave up after 0\.2 s: full"):
        await insist(never, 0.2)


@pytest.mark.parametrize("deadline", [0.0, -1.0, 541.0])
async def test_a_deadline_is_within_what_the_broker_remembers(deadline: float) -> None:
    async def never() -> str:
        raise AssertionError

    with pytest.raises(InvalidInput, match="accepted: above 0, at most 540 s"):
        await insist(never, deadline)


def test_a_window_holds_at_least_one() -> None:
    with pytest.raises(InvalidInput, match="window: 0; accepted: a whole number above 0"):
        Window(0, None)
