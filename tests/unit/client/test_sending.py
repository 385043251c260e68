import asyncio
from collections.abc import AsyncIterator

import pytest

from driftloop.client.sending import NotSent, Report, Sent, Window, insist, refuses
from driftloop.contracts.errors import (
    DriftloopError,
    InvalidInput,
    InvalidName,
    Overloaded,
    Reject,
    UnknownModel,
)


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def taken(number: int, rows: int, duplicate: int = 0) -> Report:
    return Report(batch=f"{number}", first=0, rows=rows, accepted=rows, duplicate=duplicate)


async def accept(number: int, rows: int) -> Report:
    await asyncio.sleep(0)
    return taken(number, rows, number % 2)


async def refuse_odd(number: int, rows: int) -> Report:
    await asyncio.sleep(0)
    if number % 2:
        return Report(batch=f"{number}", first=0, rows=rows, error=InvalidInput(f"{number}: odd"))
    return taken(number, rows)


async def test_everything_is_sent_and_counted() -> None:
    told: list[Sent] = []
    sent = await Window(3).send(numbers(10), accept, told.append)
    assert (sent.rows, sent.batches, sent.duplicate, sent.refused) == (45, 10, 5, 0)
    assert told[-1].rows == 45
    assert len(told) == 10


async def test_no_more_than_the_window_is_in_flight() -> None:
    flying, most = 0, 0

    async def fly(number: int, rows: int) -> Report:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.001)
        flying -= 1
        return taken(number, rows)

    await Window(4).send(numbers(20), fly)
    assert most == 4


async def test_the_first_error_is_raised_and_the_rest_given_up() -> None:
    cancelled = 0

    async def fail(number: int, rows: int) -> Report:
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
        await Window(5).send(numbers(100), fail)
    assert cancelled == 4


async def test_a_refused_batch_is_an_error_unless_reports_are_asked_for() -> None:
    with pytest.raises(InvalidInput, match="1: odd"):
        await Window(1).send(numbers(4), refuse_odd)
    told: list[Report] = []
    sent = await Window(2).send(numbers(4), refuse_odd, on_report=told.append)
    assert (sent.rows, sent.batches, sent.refused) == (2, 2, 4)
    assert {report.batch: report.reason for report in told} == {
        "0": "",
        "1": "1: odd",
        "2": "",
        "3": "3: odd",
    }


async def test_batches_are_sent_no_faster_than_reports_are_read() -> None:
    begun = 0

    async def count(number: int, rows: int) -> Report:
        nonlocal begun
        begun += 1
        return taken(number, rows)

    reports = Window(3).reports(numbers(100), count)
    for read in range(1, 10):
        assert (await anext(reports)).rows == read - 1
        await settled()
        assert begun == read + 2
    await reports.aclose()
    await settled()
    assert begun == 11


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_leaving_the_reports_gives_up_what_is_in_flight() -> None:
    cancelled = 0

    async def hang(number: int, rows: int) -> Report:
        nonlocal cancelled
        if number == 0:
            return taken(number, rows)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        raise AssertionError

    reports = Window(4).reports(numbers(100), hang)
    await anext(reports)
    await settled()
    await reports.aclose()
    assert cancelled == 3


async def test_an_error_that_is_no_report_comes_after_the_reports_before_it() -> None:
    async def give_up(number: int, rows: int) -> Report:
        if number == 2:
            raise NotSent("gave up")
        return taken(number, rows)

    reports = Window(1).reports(numbers(5), give_up)
    assert [(await anext(reports)).rows for _ in range(2)] == [0, 1]
    with pytest.raises(NotSent) as caught:
        await anext(reports)
    assert (caught.value.sent.rows, caught.value.sent.batches) == (1, 2)


@pytest.mark.parametrize(
    ("error", "one"),
    [
        (InvalidInput(""), True),
        (Reject(""), True),
        (UnknownModel(""), False),
        (InvalidName(""), False),
        (NotSent(""), False),
        (DriftloopError(""), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_an_error_about_the_batch_itself_leaves_the_others_a_chance(
    error: DriftloopError, one: bool
) -> None:
    assert refuses(error) is one


async def test_an_error_of_the_source_is_raised_as_it_is() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError("source")

    with pytest.raises(ZeroDivisionError, match="source"):
        await Window(5).send(broken(), accept)


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
        Window(0)
