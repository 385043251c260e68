import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from driftloop.runtime import metrics, ports, workers
from driftloop.runtime.metrics import Family, Sample
from driftloop.runtime.worker_line import Line, Rounds, State
from driftloop.runtime.workers import Crew

DEADLINE = 20.0
WORK = """
import asyncio, os
from driftloop.runtime import metrics, workers
from driftloop.runtime.worker_line import State

joined = workers.joined()
assert "DRIFTLOOP_WORKER" not in os.environ
metrics.counter("test_worked", "For the test").inc(10 ** joined.number)
metrics.gauge("test_pid", "For the test").set(os.getpid())

async def main():
    own = lambda: State(problem="", families=metrics.snapshot())
    await workers.place(joined, 3, own).start()

asyncio.run(main())
"""
WORKED = "driftloop_test_worked_total"


def own() -> State:
    return State(problem="", families=metrics.snapshot())


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    """Worker 0 in this process, and two more."""
    made = Crew(3, own, (sys.executable, "-c", WORK))
    task = made.start()
    yield made
    made.stop()
    async with asyncio.timeout(DEADLINE):
        await made.ended()
    assert task.done()
    assert task.exception() is None


async def told(crew: Crew, good: Callable[[State, dict[str, float]], bool]) -> dict[str, float]:
    """The values of all workers as soon as they are as wanted."""
    state = None
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                state = await crew.told()
                values = metrics.values(state.families)
                if good(state, values):
                    return values
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(state and (state.problem, metrics.values(state.families))) from None


def ready(state: State, values: dict[str, float]) -> bool:
    return not state.problem


def pid(values: dict[str, float], worker: int) -> int:
    return int(values[f"driftloop_test_pid{{worker={worker}}}"])


async def test_counters_are_added_up_and_gauges_are_told_for_each(crew: Crew) -> None:
    assert (await crew.told()).problem == "worker 1 is starting"
    values = await told(crew, ready)
    assert values[WORKED] == 110
    assert len({pid(values, 1), pid(values, 2), os.getpid()}) == 3


async def test_a_worker_that_is_killed_comes_back_and_what_it_counted_stays(crew: Crew) -> None:
    before = await told(crew, ready)
    os.kill(pid(before, 2), signal.SIGKILL)

    after = await told(crew, lambda state, values: not state.problem and values[WORKED] > 110)
    assert after[WORKED] == 210
    assert pid(after, 1) == pid(before, 1)
    assert pid(after, 2) != pid(before, 2)
    counted = "driftloop_worker_restarts_total{worker=2}"
    assert after[counted] == before.get(counted, 0) + 1


async def test_a_worker_that_does_not_answer_is_counted_and_its_last_values_count(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await told(crew, ready)
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.1)
    os.kill(pid(before, 1), signal.SIGSTOP)
    try:
        state = await crew.told()
        values = metrics.values(state.families)
        assert state.problem == "worker 1 does not answer"
        assert values[WORKED] == 110
        counted = "driftloop_worker_silent_total{worker=1}"
        assert values[counted] == before.get(counted, 0) + 1
    finally:
        os.kill(pid(before, 1), signal.SIGCONT)
    await told(crew, ready)


async def test_a_worker_that_cannot_start_is_tried_later_and_later() -> None:
    crew = Crew(2, own, (sys.executable, "-c", "raise SystemExit(7)"))
    crew.start()
    problem = "worker 1 ended with 7, is started again after"
    await told(crew, lambda state, values: state.problem == f"{problem} 0.5 s")
    await told(crew, lambda state, values: state.problem == f"{problem} 1.0 s")
    crew.stop()
    async with asyncio.timeout(DEADLINE):
        await crew.ended()


async def test_what_does_not_end_in_time_is_killed() -> None:
    deaf = WORK.replace("async def main():", "import signal\nasync def main():\n    block()")
    deaf = deaf.replace(
        "asyncio.run(main())",
        "def block(): signal.signal(signal.SIGTERM, signal.SIG_IGN)\nasyncio.run(main())",
    )
    crew = Crew(2, own, (sys.executable, "-c", deaf))
    task = crew.start()
    values = await told(crew, ready)
    crew.stop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await crew.ended()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([task])
    with pytest.raises(ProcessLookupError):
        os.kill(pid(values, 1), 0)


def test_a_time_of_creation_is_that_of_the_oldest_and_gauges_are_not_added() -> None:
    def counted(value: float, created: float) -> list[Family]:
        samples = [Sample("a_total", {"m": "x"}, value), Sample("a_created", {"m": "x"}, created)]
        return [
            Family("a", "", "counter", samples),
            Family("g", "", "gauge", [Sample("g", {}, value)]),
        ]

    made = metrics.together({0: counted(1, 50.0), 1: counted(2, 40.0)}, metrics.added([]))
    assert made == [
        Family(
            "a", "", "counter",
            [Sample("a_total", {"m": "x"}, 3), Sample("a_created", {"m": "x"}, 40.0)],
        ),
        Family(
            "g", "", "gauge",
            [Sample("g", {"worker": "0"}, 1), Sample("g", {"worker": "1"}, 2)],
        ),
    ]  # fmt: skip
    ended = metrics.added([counted(5, 60.0)])
    assert metrics.values(metrics.together({0: counted(1, 1.0)}, ended)) == {}
    assert b'a_total{m="x"} 6.0' in metrics.text(metrics.together({0: counted(1, 1.0)}, ended))


def test_histograms_are_added_up_bucket_by_bucket() -> None:
    def timed(*buckets: float) -> list[Family]:
        bounds = ("0.1", "+Inf")
        samples = [Sample("t_bucket", {"le": le}, n) for le, n in zip(bounds, buckets, strict=True)]
        return [Family("t", "Seconds", "histogram", [*samples, Sample("t_sum", {}, buckets[1])])]

    text = metrics.text(metrics.together({0: timed(1, 2), 1: timed(10, 20)}, [])).decode()
    assert text.splitlines() == [
        "# HELP t Seconds",
        "# TYPE t histogram",
        't_bucket{le="0.1"} 11.0',
        't_bucket{le="+Inf"} 22.0',
        "t_sum 22.0",
    ]


async def test_what_is_told_was_asked_after_the_call_and_a_crowd_asks_once() -> None:
    asked, go = 0, asyncio.Event()

    async def ask() -> State | None:
        nonlocal asked
        asked += 1
        mine = asked
        await go.wait()
        return State(problem=str(mine), families=[])

    rounds = Rounds(ask)
    first = asyncio.create_task(rounds.next())
    while not asked:  # noqa: ASYNC110  # the first question is under way
        await asyncio.sleep(0)
    crowd = []
    for _ in range(50):
        crowd.append(asyncio.create_task(rounds.next()))
        await asyncio.sleep(0)
    go.set()
    states = await asyncio.gather(first, *crowd)
    assert [state.problem for state in states if state] == ["1", *["2"] * 50]
    assert asked == 2


async def test_a_message_over_the_bound_ends_the_line() -> None:
    here, there = socket.socketpair()

    async def answer() -> State:
        return own()

    with there:
        line = Line(here, answer)
        here.setblocking(False)
        there.send((1 << 31).to_bytes(4, "big"))
        with pytest.raises(ConnectionError, match="2147483648 bytes; accepted: 33554432"):
            await line.run()


@pytest.mark.parametrize("value", ["3", "1:", "1:0x", "1:999", ":", ""])
def test_a_variable_that_is_not_from_worker_0_is_left_for_the_settings(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(workers.VARIABLE, value)
    assert workers.joined() is None
    assert os.environ[workers.VARIABLE] == value


async def test_somebody_who_shares_the_port_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FREE_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address alr"):
            await ports.require_unshared("127.0.0.1", [port])
    await ports.require_unshared("127.0.0.1", [port])


async def test_a_port_that_is_given_back_soon_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        waiting: Awaitable[None] = asyncio.create_task(
            ports.require_unshared("127.0.0.1", [other.getsockname()[1]])
        )
        await asyncio.sleep(0)
    await waiting
