import asyncio
import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from driftloop.contracts.errors import InvalidInput, Overloaded
from driftloop.inference.core import intake as module
from driftloop.inference.core.call import CallBack
from driftloop.inference.core.intake import LOOK_SECONDS, SECONDS, Intake
from driftloop.inference.core.queue import FEW, FLOOD_ROWS, REST_SECONDS, Bounds, Queue
from driftloop.inference.domain.plan import Plan
from driftloop.modelspec.spec import Registered
from driftloop.runtime.pace import FIRST_WAIT_SECONDS, UNIT
from tests.support.tiny_models import spec

PLAN = Plan(Registered(spec=spec(), revision=1, by="t", at=0.0))
BYTES = 10_000


class Clock:
    """Stands still but for the work that is said to take time."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    monkeypatch.setattr("driftloop.inference.core.queue.time.perf_counter", clock)
    return clock


class Timers:
    """Those of the loop: what is to be called when; all is called once its time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, Callable[[], object]]] = []

    def __call__(self, seconds: float, call: Callable[..., object], *its: object) -> None:
        self._due.append((self._clock.now + seconds, partial(call, *its)))

    async def wait(self, seconds: float, late: float = 0.0, *, turns: bool = True) -> None:
        """So long passes, and the loop is late for each of its timers; it turns after each."""
        end = self._clock.now + seconds
        while due := [one for one in self._due if one[0] <= end]:
            first = min(due, key=lambda one: one[0])
            self._due.remove(first)
            self._clock.now = max(self._clock.now, first[0] + late)
            first[1]()
            if turns:
                await turn()
        self._clock.now = max(self._clock.now, end)


@pytest.fixture
async def timers(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Timers:
    timers = Timers(clock)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", timers, raising=True)
    return timers


class Model:
    """Bodies for one model; `read` has the numbers of those that were read."""

    def __init__(self, name: str, intake: Intake, clock: Clock, queue_rows: int = 10_000) -> None:
        bounds = Bounds(queue_rows=queue_rows, run_rows=queue_rows, queue_seconds=1e9)
        self.queue = Queue(name, bounds)
        self.read: list[str] = []
        self.errors: list[Exception] = []
        self._name, self._intake, self._clock = name, intake, clock
        self._numbers = itertools.count(1)

    def send(self, rows: int = 100, seconds: float = SECONDS * 0.6, *, ready: bool = False) -> None:
        """A body of so many rows, which takes so long to read."""
        name = f"{self._name}{next(self._numbers)}"
        self._intake.take(self.queue, BYTES, partial(self._take, name, rows, seconds), ready=ready)

    def _take(self, name: str, rows: int, seconds: float) -> None:
        self._clock.now += seconds
        call = CallBack(PLAN, np.zeros((rows, 3), np.float32), rows, name, 0.0)
        try:
            self.queue.add(call)
        except Exception as error:
            self.errors.append(error)
        else:
            self.read.append(name)


async def turn() -> None:
    await asyncio.sleep(0)


async def test_a_turn_reads_for_a_moment_and_later_turns_the_rest(clock: Clock) -> None:
    model = Model("a", Intake(), clock)
    for _ in range(5):
        model.send()
    assert model.read == ["a1", "a2"]
    assert (model.queue.rows, len(model.queue.unread)) == (200 + 3 * 101, 3)
    await turn()
    assert model.read == ["a1", "a2", "a3", "a4"]
    model.send()
    assert model.read == ["a1", "a2", "a3", "a4"]  # in the order in which they came
    await turn()
    assert model.read == ["a1", "a2", "a3", "a4", "a5", "a6"]
    assert (model.queue.rows, len(model.queue.unread)) == (600, 0)


async def test_a_new_turn_begins_with_all_its_time(clock: Clock) -> None:
    model = Model("a", Intake(), clock)
    model.send()
    model.send()
    await turn()
    await turn()
    model.send()
    assert model.read == ["a1", "a2", "a3"]


async def test_models_take_turns(clock: Clock) -> None:
    intake = Intake()
    flood, other = Model("a", intake, clock), Model("b", intake, clock)
    for _ in range(6):
        flood.send()
    other.send()
    assert (flood.read, other.read) == (["a1", "a2"], [])
    await turn()
    assert (flood.read, other.read) == (["a1", "a2", "a3"], ["b1"])
    await turn()
    assert flood.read[3:] == ["a4", "a5"]


async def test_a_busy_loop_reads_for_longer_in_a_turn(clock: Clock) -> None:
    model = Model("a", Intake(), clock)
    for _ in range(12):
        model.send()
    clock.now += SECONDS * 3  # what the turn did beside it
    await turn()
    assert len(model.read) == 2 + 3


async def test_what_has_no_room_to_wait_is_refused_unread(clock: Clock) -> None:
    model = Model("a", Intake(), clock, queue_rows=420)
    for _ in range(4):
        model.send()
    with pytest.raises(Overloaded, match="a: 402 rows wait"):
        model.send()
    assert model.queue.full
    await turn()
    assert model.read == ["a1", "a2", "a3", "a4"]
    assert not model.errors


async def test_a_body_that_looks_too_large_waits_where_nothing_else_does(clock: Clock) -> None:
    intake = Intake()
    flood, other = Model("a", intake, clock), Model("b", intake, clock, queue_rows=100)
    flood.send()
    flood.send()
    other.send(rows=60)  # by its bytes it may hold more than the queue
    await turn()
    assert other.read == ["b1"]


async def test_what_was_let_in_is_not_refused_for_what_came_behind_it(clock: Clock) -> None:
    model = Model("a", Intake(), clock, queue_rows=400)
    model.send()
    model.send()
    model.send(rows=250)  # more than it looks like
    await turn()
    assert model.read == ["a1", "a2", "a3"]
    assert model.queue.rows == 450


async def test_a_body_of_more_rows_than_a_queue_holds_is_refused_when_it_is_read(
    clock: Clock,
) -> None:
    model = Model("a", Intake(), clock, queue_rows=400)
    model.send()
    model.send()
    model.send(rows=401)
    await turn()
    assert [type(error) for error in model.errors] == [InvalidInput]
    assert model.queue.rows == 200


async def test_what_waits_unread_is_judged_by_the_time_that_reading_takes(clock: Clock) -> None:
    intake = Intake()
    queue = Queue("a", Bounds(queue_rows=10_000, run_rows=10_000, queue_seconds=0.01))
    rows = FEW + 1

    def read() -> None:
        clock.now += 0.004
        queue.add(CallBack(PLAN, np.zeros((rows, 3), np.float32), rows, "id", 0.0))

    for _ in range(20):
        intake.take(queue, BYTES, read)
        queue.take()
        while queue.unread:
            await turn()
            queue.take()
    await turn()
    for _ in range(1 + 3):  # the first is read at once, the others wait 0, 4 and 8 ms
        intake.take(queue, BYTES, read)
    with pytest.raises(Overloaded):
        intake.take(queue, BYTES, read)
    assert len(queue.unread) == 3


async def test_a_body_whose_reading_goes_wrong_holds_up_no_other(clock: Clock) -> None:
    intake, told = Intake(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))
    model = Model("a", intake, clock)
    model.send()
    model.send()

    def wrong() -> None:
        raise LookupError

    intake.take(model.queue, BYTES, wrong)
    model.send()
    await turn()
    await turn()
    assert [type(one) for one in told] == [LookupError]
    assert model.read == ["a1", "a2", "a3"]
    assert model.queue.rows == 300


async def small_requests(intake: Intake, timers: Timers, count: int, late: float) -> None:
    """Somebody asks for a row now and then, of a loop that is so late."""
    for _ in range(count):
        intake.answered(1, 1)
        await timers.wait(2 * LOOK_SECONDS, late)


@pytest.mark.parametrize("ready", [False, True])
async def test_a_flood_rests_while_it_slows_small_requests_down(
    clock: Clock, timers: Timers, ready: bool
) -> None:
    intake = Intake()
    flood = Model("a", intake, clock, queue_rows=100_000)
    await small_requests(intake, timers, 200, late=0.002)
    flood.send(rows=FLOOD_ROWS, ready=ready)
    flood.send(rows=200, ready=ready)  # more than large bodies may hold in a second
    flood.send(rows=200, ready=ready)
    flood.send(rows=200, ready=ready)
    await turn()
    await turn()
    assert flood.read == ["a1", "a2"]
    rest = FIRST_WAIT_SECONDS * 200 / UNIT
    await timers.wait(rest * 0.9)
    assert flood.read == ["a1", "a2"]
    await timers.wait(rest * 0.2)
    assert flood.read == ["a1", "a2", "a3"]
    await timers.wait(rest)
    assert flood.read == ["a1", "a2", "a3", "a4"]


async def test_what_comes_when_a_flood_has_rested_is_behind_what_waits(
    clock: Clock, timers: Timers
) -> None:
    intake = Intake()
    flood = Model("a", intake, clock, queue_rows=100_000)
    await small_requests(intake, timers, 1, late=0.0)
    flood.send(rows=2 * FLOOD_ROWS, ready=True)
    assert flood.queue.rest > 0
    flood.send(rows=2 * FLOOD_ROWS, ready=True)
    await timers.wait(flood.queue.rest * 2 * FLOOD_ROWS * 1.01, turns=False)
    assert flood.queue.rest == 0
    flood.send(ready=True)  # before the turn in which the one that waits is read
    assert flood.read == ["a1"]
    await turn()
    assert flood.read == ["a1", "a2"]
    assert flood.queue.rest > 0
    await turn()
    assert flood.read == ["a1", "a2"]
    await timers.wait(REST_SECONDS)
    assert flood.read == ["a1", "a2", "a3"]
    await timers.wait(REST_SECONDS)
    flood.send(ready=True)
    assert flood.read == ["a1", "a2", "a3", "a4"]


async def test_a_flood_does_not_rest_when_nobody_else_asks(clock: Clock, timers: Timers) -> None:
    intake = Intake()
    flood = Model("a", intake, clock, queue_rows=100_000)
    intake.answered(FLOOD_ROWS, 32)  # what it was answered itself is not somebody else's
    await timers.wait(2 * LOOK_SECONDS, late=1.0)
    for _ in range(3):
        flood.send(rows=FLOOD_ROWS, ready=True)
    assert len(flood.read) == 3
    assert flood.queue.rest == 0


async def test_few_rows_in_large_bodies_do_not_rest(clock: Clock, timers: Timers) -> None:
    intake = Intake()
    model, rows = Model("a", intake, clock, queue_rows=100_000), FLOOD_ROWS // 20
    for at in range(100):
        model.send(rows=rows, ready=True)
        assert len(model.read) == at + 1
        await small_requests(intake, timers, 3, late=0.5)  # 60 ms


async def test_another_model_does_not_rest_with_the_flood(clock: Clock, timers: Timers) -> None:
    intake = Intake()
    flood, other = Model("a", intake, clock, 100_000), Model("b", intake, clock)
    await small_requests(intake, timers, 1, late=0.0)
    flood.send(rows=2 * FLOOD_ROWS)
    flood.send()
    await turn()
    await turn()
    other.send()
    assert (flood.read, other.read) == (["a1"], ["b1"])


async def test_a_flood_that_rests_has_a_shorter_queue(clock: Clock, timers: Timers) -> None:
    """A caller is told to come again rather than wait for long."""
    intake = Intake()
    flood = Model("a", intake, clock, queue_rows=1_000_000)
    await small_requests(intake, timers, 1, late=0.0)
    flood.send(rows=2 * FLOOD_ROWS, ready=True)
    assert flood.queue.rest == pytest.approx(FIRST_WAIT_SECONDS / UNIT)

    def fill() -> None:
        for _ in range(1_000):
            flood.send()

    with pytest.raises(Overloaded):
        fill()
    assert flood.queue.rows - 2 * FLOOD_ROWS > REST_SECONDS / flood.queue.rest
