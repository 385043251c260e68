import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from driftloop.contracts.errors import DeadlineExceeded, InvalidInput, Overloaded, Retry
from driftloop.inference.core.call import Answered, Call, CallBack, Served
from driftloop.inference.core.lane import Lane
from driftloop.inference.core.queue import FEW, FLOOD_SECONDS, Bounds, Queue
from driftloop.inference.domain.plan import Plan
from driftloop.inference.domain.prediction import NoAnswer
from driftloop.inference.session import MANY, Cost
from driftloop.inference.versions import Champion
from driftloop.modelspec.spec import Registered
from tests.support.tiny_models import manifest, spec

Result = Answered | Exception
PLAN = Plan(Registered(spec=spec(), revision=1, by="t", at=0.0))
SECONDS = 5.0


class Doubling:
    """A session that gives (a, 2a), notes its runs, and can wait in a run or fail in it."""

    def __init__(self, factor: float = 2.0, micros: float = 1.0) -> None:
        self.cost = Cost(micros, micros)
        self.runs: list[int] = []
        self.threads: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.error: Exception | None = None
        self._factor = factor

    def run(self, matrix: Any) -> Any:
        self.runs.append(len(matrix))
        self.threads.append(threading.current_thread().name)
        self.begun.set()
        assert self.go.wait(SECONDS)
        if self.error is not None:
            raise self.error
        with np.errstate(over="ignore"):
            return np.stack([matrix[:, 0], self._factor * matrix[:, 0]], axis=1)


class Bench:
    """A lane, who answers, and what the lane told."""

    def __init__(self, threads: ThreadPoolExecutor, bounds: Bounds, rest: float = math.inf) -> None:
        self.session = Doubling()
        self.served: Served | None = served(self.session)
        self.heard: list[tuple[Any, Any, int]] = []
        self.log: Callable[..., None] = self._heard
        self.lane = Lane(
            "flights",
            lambda: self.served,
            bounds,
            lambda *args: self.log(*args),
            threads,
            rest=rest,
        )

    def _heard(
        self, by: Served, matrix: Any, answers: Any, calls: Sequence[Call], ended: float
    ) -> None:
        assert ended <= time.perf_counter()
        self.heard.append((matrix, answers, len(calls)))

    def ask(self, values: Any, **how: Any) -> asyncio.Future[Result]:
        """Submit a call; the future has its answer or error as its result."""
        rows = len(values) // 3 if isinstance(values, list) else len(values)
        call = CallBack(how.pop("plan", PLAN), values, rows, "id", time.perf_counter(), **how)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        call.done = future.set_result
        self.lane.submit(call)
        return future


def served(session: Any, version: int = 1, plan: Plan = PLAN) -> Served:
    return Served(plan, Champion(manifest(version, b""), session))


def row(value: float) -> list[float]:
    return [value, 0.0, 0.0]


async def answer(future: asyncio.Future[Result]) -> Answered:
    result = await asyncio.wait_for(future, SECONDS)
    assert isinstance(result, Answered), result
    return result


async def error(future: asyncio.Future[Result]) -> Exception:
    result = await asyncio.wait_for(future, SECONDS)
    assert isinstance(result, Exception), result
    return result


async def begun(session: Doubling) -> None:
    """Wait until a run is under way."""
    assert await asyncio.to_thread(session.begun.wait, SECONDS)


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="run") as made:
        yield made


@pytest.fixture
async def bench(threads: ThreadPoolExecutor) -> Bench:
    return Bench(threads, Bounds(queue_rows=100, run_rows=8, queue_seconds=SECONDS))


async def test_what_waits_is_one_run_and_each_call_gets_its_own_rows(bench: Bench) -> None:
    futures = [bench.ask(row(value)) for value in (1.0, 2.0)]
    futures.append(bench.ask(np.array([row(3.0), row(4.0)], np.float32)))
    results = [await answer(future) for future in futures]
    assert bench.session.runs == [4]
    assert [result.answers[:, 1].tolist() for result in results] == [[2.0], [4.0], [6.0, 8.0]]
    assert [result.best for result in results] == [[1], [1], [1, 1]]
    assert [list(result.ids) for result in results] == [["id"], ["id"], ["id-0", "id-1"]]
    ((matrix, answers, calls),) = bench.heard
    assert (matrix.shape, answers.shape, calls) == ((4, 3), (4, 2), 3)


async def test_a_lone_call_is_run_in_the_event_loop(bench: Bench) -> None:
    await answer(bench.ask(row(1.0)))
    assert bench.session.threads == [threading.current_thread().name]
    assert not bench.lane.busy


async def test_after_a_rest_a_call_is_answered_before_submitting_it_is_over(
    threads: ThreadPoolExecutor,
) -> None:
    bench = Bench(threads, Bounds(queue_rows=100, run_rows=8, queue_seconds=SECONDS), rest=3600.0)
    lone = bench.ask(row(1.0))
    assert lone.done()
    assert not bench.lane.busy
    others = [bench.ask(row(value)) for value in (2.0, 3.0)]
    assert not any(other.done() for other in others)
    assert [(await answer(f)).answers[0, 1] for f in (lone, *others)] == [2.0, 4.0, 6.0]
    assert bench.session.runs == [1, 2]


async def test_a_run_that_has_ended_makes_room_before_the_loop_hears_of_it(
    threads: ThreadPoolExecutor,
) -> None:
    bench = Bench(threads, Bounds(queue_rows=FEW + 2, run_rows=FEW + 1, queue_seconds=SECONDS))
    bench.session = slow = Doubling(micros=1e6)
    slow.go.clear()
    bench.served = served(slow)
    first = bench.ask(np.ones((FEW + 1, 3), np.float32))
    await begun(slow)
    second = bench.ask(np.ones((FEW + 1, 3), np.float32))
    assert bench.lane.full()
    slow.go.set()
    deadline = time.monotonic() + SECONDS
    while bench.lane.full():  # the loop is not let go in between
        assert time.monotonic() < deadline
    assert first.done()
    assert len((await answer(second)).answers) == FEW + 1


async def test_a_bad_call_among_good_ones_is_refused_alone(bench: Bench) -> None:
    good = [bench.ask(row(value)) for value in (1.0, 2.0)]
    missing = bench.ask([float("nan"), 0.0, 0.0])
    infinite = bench.ask(np.array([row(1.0), row(np.inf)], np.float32))
    large = bench.ask(row(1e39))
    good.append(bench.ask(row(3.0)))
    assert [(await answer(f)).answers[0, 1] for f in good] == [2.0, 4.0, 6.0]
    assert bench.session.runs == [3]
    for future, says in (
        (missing, "row 0: a: is missing (NaN)"),
        (infinite, "row 1: a: inf is not accepted"),
        (large, "row 0: a: inf is not accepted"),
    ):
        refused = await error(future)
        assert isinstance(refused, InvalidInput)
        assert says in str(refused)
        assert "accepted: a finite number" in str(refused)


async def test_when_all_calls_are_bad_nothing_is_run(bench: Bench) -> None:
    assert isinstance(await error(bench.ask(row(np.nan))), InvalidInput)
    assert (bench.session.runs, bench.heard) == ([], [])
    assert (await answer(bench.ask(row(1.0)))).answers[0, 1] == 2.0


async def test_a_bug_while_a_call_is_checked_costs_only_that_call(bench: Bench) -> None:
    class Broken(CallBack):
        def thorough(self) -> Any:
            raise ZeroDivisionError("a bug")

    good = bench.ask(row(1.0))
    broken = Broken(PLAN, row(np.nan), 1, "id", time.perf_counter())
    future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    broken.done = future.set_result
    bench.lane.submit(broken)
    assert isinstance(await error(future), ZeroDivisionError)
    assert (await answer(good)).answers[0, 1] == 2.0
    assert (await answer(bench.ask(row(2.0)))).answers[0, 1] == 4.0


async def test_a_run_takes_whole_calls_up_to_its_bound_in_order(bench: Bench) -> None:
    order: list[int] = []
    futures = []
    for at, rows in enumerate((5, 5, 3, 12, 1)):
        future = bench.ask(np.full((rows, 3), at, np.float32))
        future.add_done_callback(partial(lambda at, _: order.append(at), at))
        futures.append(future)
    for at, future in enumerate(futures):
        assert (await answer(future)).answers[:, 0].tolist() == [at] * (5, 5, 3, 12, 1)[at]
    assert bench.session.runs == [5, 8, 12, 1]
    assert order == [0, 1, 2, 3, 4]


async def test_more_rows_than_the_queue_holds_are_refused(bench: Bench) -> None:
    first = bench.ask(np.zeros((60, 3), np.float32))
    with pytest.raises(Overloaded, match=r"flights: 60 rows wait; try again later"):
        bench.ask(np.zeros((41, 3), np.float32))
    second = bench.ask(np.zeros((40, 3), np.float32))
    assert bench.lane.full()
    assert bench.lane.overloaded().delay >= 1.0
    assert len((await answer(first)).answers) + len((await answer(second)).answers) == 100
    assert not bench.lane.full()
    with pytest.raises(InvalidInput, match=r"rows: 101 in one request; accepted: at most 100"):
        bench.ask(np.zeros((101, 3), np.float32))


async def test_more_time_than_the_queue_has_is_refused(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, Bounds(queue_rows=1_000, run_rows=8, queue_seconds=1e-9))
    await answer(bench.ask(row(1.0)))  # now the pace is known
    lone = bench.ask(np.ones((FEW + 1, 3), np.float32))  # it waits for nobody
    assert bench.lane.full()
    with pytest.raises(Overloaded, match=rf"{FEW + 1} rows wait"):
        bench.ask(row(3.0))
    assert (await answer(lone)).answers[FEW, 1] == 2.0


async def test_in_a_flood_less_may_wait_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("driftloop.inference.core.queue.time.perf_counter", lambda: now)
    cost = Cost(100.0, 100.0 * MANY)
    queue = Queue("flights", Bounds(queue_rows=100_000, run_rows=8, queue_seconds=0.1))
    queue.took(cost, 1, 100e-6)
    queue.add(CallBack(PLAN, np.ones((900, 3), np.float32), 900, "id", 0.0))  # 90 ms of work
    assert not queue.full
    queue.overloaded()  # a burst: what fits may still wait
    assert not queue.full
    for _ in range(3):
        now += FLOOD_SECONDS * 0.6
        queue.overloaded()
    assert queue.full
    queue.take()
    queue.add(CallBack(PLAN, np.ones((100, 3), np.float32), 100, "id", 0.0))  # 10 ms
    assert not queue.full
    with pytest.raises(Overloaded):
        queue.add(CallBack(PLAN, np.ones((200, 3), np.float32), 200, "id", 0.0))
    now += FLOOD_SECONDS * 1.5
    queue.add(CallBack(PLAN, np.ones((200, 3), np.float32), 200, "id", 0.0))


async def test_a_call_whose_deadline_has_passed_is_refused_and_not_run(bench: Bench) -> None:
    late = bench.ask(row(1.0), deadline=time.perf_counter() - 0.001)
    good = bench.ask(row(2.0), deadline=time.perf_counter() + 60.0)
    assert isinstance(await error(late), DeadlineExceeded)
    assert (await answer(good)).answers[0, 1] == 4.0
    assert bench.session.runs == [1]


async def test_when_all_deadlines_have_passed_the_lane_goes_on(bench: Bench) -> None:
    assert isinstance(await error(bench.ask(row(1.0), deadline=1e-9)), DeadlineExceeded)
    assert bench.session.runs == []
    assert not bench.lane.busy
    await answer(bench.ask(row(2.0)))


async def test_a_long_run_is_made_in_a_thread_and_what_comes_meanwhile_is_the_next(
    bench: Bench,
) -> None:
    bench.session = slow = Doubling(micros=1e6)
    slow.go.clear()
    bench.served = served(slow)
    first = bench.ask(row(1.0))
    await begun(slow)
    others = [bench.ask(row(value)) for value in (2.0, 3.0)]
    assert bench.lane.busy
    slow.go.set()
    assert [(await answer(f)).answers[0, 1] for f in (first, *others)] == [2.0, 4.0, 6.0]
    assert slow.runs == [1, 2]
    assert all(name.startswith("run") for name in slow.threads)


async def test_a_swap_while_calls_wait_answers_them_with_the_new_version(bench: Bench) -> None:
    slow, new = Doubling(micros=1e6), Doubling(factor=3.0)
    slow.go.clear()
    bench.served = served(slow, 1)
    first = bench.ask(row(1.0))
    await begun(slow)
    waiting = bench.ask(row(1.0))
    bench.served = served(new, 2)
    slow.go.set()
    before, after = await answer(first), await answer(waiting)
    assert (before.served.champion.manifest.version, before.answers[0, 1]) == (1, 2.0)
    assert (after.served.champion.manifest.version, after.answers[0, 1]) == (2, 3.0)


async def test_a_swap_to_another_spec_refuses_what_was_read_by_the_old_one(bench: Bench) -> None:
    waiting = bench.ask(row(1.0))
    plan = Plan(Registered(spec=spec(features=("c", "b", "a")), revision=2, by="t", at=0.0))
    bench.served = served(bench.session, 2, plan)
    new = bench.ask(row(5.0), plan=plan)
    refused = await error(waiting)
    assert isinstance(refused, Retry)
    assert "the spec has just changed" in str(refused)
    assert (await answer(new)).answers[0, 1] == 10.0


async def test_calls_are_told_to_come_back_when_nobody_answers_any_more(bench: Bench) -> None:
    waiting = bench.ask(row(1.0))
    bench.served = None
    refused = await error(waiting)
    assert isinstance(refused, Retry)
    assert "nobody answers now" in str(refused)
    bench.served = served(bench.session)
    await answer(bench.ask(row(1.0)))


@pytest.mark.parametrize("micros", [1.0, 1e6], ids=["here", "thread"])
async def test_a_run_that_fails_is_told_to_each_call_and_the_next_is_run(
    bench: Bench, micros: float
) -> None:
    bench.session = broken = Doubling(micros=micros)
    bench.served = served(broken)
    broken.error = RuntimeError("out of memory")
    for future in [bench.ask(row(1.0)), bench.ask(row(2.0))]:
        refused = await error(future)
        assert isinstance(refused, NoAnswer)
        assert "version 1 of flights failed: out of memory" in str(refused)
    broken.error = None
    assert (await answer(bench.ask(row(3.0)))).answers[0, 1] == 6.0


async def test_an_answer_that_is_not_finite_is_told_to_its_call_alone(bench: Bench) -> None:
    good, bad = bench.ask(row(1.0)), bench.ask(row(3e38))
    refused = await error(bad)
    assert isinstance(refused, NoAnswer)
    assert "row 0: version 1 of flights answered" in str(refused)
    assert (await answer(good)).answers[0, 1] == 2.0
    assert [len(matrix) for matrix, _, _ in bench.heard] == [1]


async def test_an_answer_that_cannot_be_written_costs_the_others_nothing(bench: Bench) -> None:
    class Broken(CallBack):
        def answered(self, served: Served, answers: Any, best: list[int]) -> None:
            raise ZeroDivisionError("a bug")

    broken = Broken(PLAN, row(1.0), 1, "id", time.perf_counter())
    future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    broken.done = future.set_result
    bench.lane.submit(broken)
    good = bench.ask(row(2.0))
    assert isinstance(await error(future), ZeroDivisionError)
    assert (await answer(good)).answers[0, 1] == 4.0


async def test_a_call_that_cannot_be_told_its_error_costs_the_others_nothing(bench: Bench) -> None:
    class Gone(CallBack):
        def refused(self, error: Exception) -> None:
            raise ConnectionError("gone")

    bench.lane.submit(Gone(PLAN, row(np.nan), 1, "id", time.perf_counter()))
    assert (await answer(bench.ask(row(2.0)))).answers[0, 1] == 4.0


@pytest.mark.parametrize("micros", [1.0, 1e6], ids=["here", "thread"])
async def test_a_log_that_fails_does_not_stop_the_lane(bench: Bench, micros: float) -> None:
    bench.served = served(Doubling(micros=micros))

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    bench.log = broken
    for value in (1.0, 2.0):
        assert (await answer(bench.ask(row(value)))).answers[0, 1] == 2 * value
