import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pyarrow as pa
import pytest
from nats.errors import FlushTimeoutError
from nats.js.api import DiscardPolicy
from nats.js.errors import NotFoundError

from driftloop.bus import connection, retry
from driftloop.bus.bus import Bus
from driftloop.bus.control import Handlers
from driftloop.bus.messages import Delivered, Outgoing, batch_message, derived_message
from driftloop.bus.provision import Layout
from driftloop.bus.publish import Conflict
from driftloop.bus.pull import Pull
from driftloop.bus.requests import Reply, Request
from driftloop.bus.wire import Heard
from driftloop.bus.work import Handler, Work
from driftloop.contracts import subjects
from driftloop.contracts.errors import (
    DriftloopError,
    InvalidInput,
    InvalidName,
    Overloaded,
    Reject,
    Retry,
    UnknownModel,
)
from driftloop.contracts.events import (
    AnyEvent,
    ModelPromoted,
    ModelRetired,
    OperatorRequested,
    RetrainRequested,
    ScheduleDue,
    SpecRegistered,
)
from driftloop.contracts.headers import CAUSATION, CORRELATION, INPUT, ORIGIN, REASON, Origin
from driftloop.contracts.state import ModelState
from driftloop.local.nats import NatsServer

DEADLINE = 15.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(retry, "FIRST_SECONDS", 0.05)


async def until(true: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        now = true()
        if now if isinstance(now, bool) else await now:
            return
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def message(number: int, text: str = "", msg_id: str = "") -> Outgoing:
    batch = pa.record_batch({"text": [text or str(number)]})
    return batch_message(
        subjects.rows("m", "received"),
        batch,
        kind="rows.received",
        source="test",
        msg_id=msg_id or f"row:{number}",
    )


def text(delivered: Delivered) -> str:
    return str(delivered.batch().column("text")[0].as_py())


@contextlib.asynccontextmanager
async def working(
    bus: Bus, handler: Handler, group: int = 32, ack_wait: float = 30.0
) -> AsyncIterator[None]:
    stopping = bus.stopping
    made = Work(
        stream="ROWS",
        subjects=("rows.*.received.*",),
        durable="worker",
        handler=handler,
        group=group,
        ack_wait=ack_wait,
    )
    task = asyncio.create_task(bus.work(made))
    try:
        yield
    finally:
        stopping.set()
        await task
        stopping.clear()


async def read(bus: Bus, stream: str, count: int) -> list[Delivered]:
    subject = next(s.subjects for s in subjects.STREAMS if s.name == stream)
    follow = bus.follow(stream, subject, 1)
    got: list[Delivered] = []
    deadline = time.monotonic() + DEADLINE
    while len(got) < count:
        assert time.monotonic() < deadline, f"only {len(got)} of {count} in {stream}"
        got += await follow.read()
    await follow.close()
    return got


async def test_retry_brings_a_message_back_after_its_delay(bus: Bus) -> None:
    tries: list[float] = []

    async def handler(group: Sequence[Delivered]) -> list[Outgoing]:
        tries.append(time.monotonic())
        if len(tries) < 5:
            raise Retry("not yet", delay=0.2)
        return []

    async with working(bus, handler):
        await bus.publish([message(1)])
        await until(lambda: len(tries) == 5, "was not tried five times")
    assert min(b - a for a, b in itertools.pairwise(tries)) >= 0.19
    assert await bus.log.last("DEAD", "dead.>") is None


async def test_reject_is_a_dead_letter_with_the_reason_and_the_original(bus: Bus) -> None:
    async def handler(group: Sequence[Delivered]) -> list[Outgoing]:
        raise Reject("text: 'bad' is wrong\naccepted: gööd")

    sent = message(1, "bad")
    async with working(bus, handler):
        await bus.publish([sent])
        (dead,) = await read(bus, "DEAD", 1)
    assert dead.subject == "dead.worker.m"
    assert dead.payload == sent.payload
    assert dead.headers[REASON] == "text: 'bad' is wrong | accepted: g\\xf6\\xf6d"
    assert dead.headers[ORIGIN] == "rows.m.received.0 ROWS:1"
    assert dead.headers["ce-id"] == "row:1"
    assert await bus.log.lag("ROWS", "worker") == 0


async def test_poison_waits_while_there_is_no_room_for_dead_letters(bus: Bus) -> None:
    async def handler(group: Sequence[Delivered]) -> list[Outgoing]:
        if any(text(one) == "bad" for one in group):
            raise Reject("text: bad")
        seen.extend(one.seq for one in group)
        return []

    seen: list[int] = []
    js = bus.connection.js
    config = (await js.stream_info("DEAD")).config
    config.discard, config.max_msgs = DiscardPolicy.NEW, 1
    await js.update_stream(config)
    await js.publish("dead.other.m", b"full")
    async with working(bus, handler):
        await bus.publish([message(1, "bad"), message(2)])
        await until(lambda: seen == [2], "the good one was not handled")
        config.max_msgs = -1
        await js.update_stream(config)
        dead = (await read(bus, "DEAD", 2))[1]
    assert dead.subject == "dead.worker.m"


@pytest.mark.fault(24, "poisoned messages in a group")
async def test_poison_in_a_group_does_not_lose_the_others(bus: Bus) -> None:
    async def handler(group: Sequence[Delivered]) -> list[Outgoing]:
        made = []
        for given in group:
            if text(given) == "poison":
                raise Reject("poison")
            made.append(
                derived_message("scored.m.0", given.batch(), kind="scored", source="t", cause=given)
            )
        return made

    garbage = Outgoing(
        subject="rows.m.received.0", payload=b"garbage", headers={"Nats-Msg-Id": "garbage"}
    )
    sent = [message(n, "poison" if n == 7 else "") for n in range(50)]
    await bus.publish([*sent, garbage])
    async with working(bus, handler, group=32):
        got = await read(bus, "SCORED", 49)
        dead = await read(bus, "DEAD", 2)
    assert sorted(map(text, got), key=int) == [str(n) for n in range(50) if n != 7]
    assert {d.headers.get("ce-id", "") for d in dead} == {"row:7", ""}
    assert got[0].headers[INPUT] == "ROWS:1"
    assert await bus.log.last_seq("SCORED") == 49


@pytest.mark.fault(25, "a handler of rows that always fails")
async def test_a_bug_is_tried_again_to_the_limit_and_then_a_dead_letter(bus: Bus) -> None:
    attempts: list[int] = []

    async def handler(group: Sequence[Delivered]) -> list[Outgoing]:
        attempts.append(group[0].attempt)
        raise ZeroDivisionError("a bug")

    async with working(bus, handler):
        await bus.publish([message(1)])
        (dead,) = await read(bus, "DEAD", 1)
    assert attempts == [1, 2, 3]
    assert dead.headers[REASON] == "a bug"


async def test_a_handler_is_not_called_for_a_heartbeat(bus: Bus) -> None:
    groups: list[int] = []

    async def handler(group: Sequence[Delivered]) -> Sequence[Outgoing]:
        groups.append(len(group))
        return []

    heartbeats = asyncio.Event()
    hears = Pull._heard

    def heard(pull: Pull, messages: list[Heard]) -> None:
        hears(pull, messages)
        if b"100 Idle Heartbeat" in b"".join(one[2] for one in messages):
            heartbeats.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pull, "_heard", heard)
        async with working(bus, handler):
            await asyncio.wait_for(heartbeats.wait(), DEADLINE)
            await bus.publish([message(1)])
            await until(lambda: bool(groups), "the message is handled")
    assert groups == [1]


async def test_the_same_id_is_stored_once(bus: Bus) -> None:
    first, second, again = await bus.publish([message(1), message(2), message(1)])
    assert [ack.duplicate for ack in (first, second, again)] == [False, False, True]
    assert (first.seq, second.seq, again.seq) == (1, 2, 1)
    (other,) = await bus.publish([message(2, "another payload")])
    assert other.duplicate
    assert await bus.log.last_seq("ROWS") == 2


async def test_stop_gives_back_what_was_not_begun(bus: Bus) -> None:
    begun = asyncio.Event()
    first: list[str] = []
    second: list[str] = []

    async def slow(group: Sequence[Delivered]) -> list[Outgoing]:
        first.extend(map(text, group))
        begun.set()
        await asyncio.sleep(0.3)
        return []

    async def rest(group: Sequence[Delivered]) -> list[Outgoing]:
        second.extend(map(text, group))
        return []

    await bus.publish([message(n) for n in range(40)])
    async with working(bus, slow, group=4, ack_wait=60.0):
        await begun.wait()
    async with working(bus, rest, group=4, ack_wait=60.0):
        await until(lambda: len(first) + len(second) >= 40, f"{len(first)} + {len(second)} of 40")
    assert sorted(first + second, key=int) == [str(n) for n in range(40)]


@contextlib.asynccontextmanager
async def hearing(url: str, handlers: Handlers) -> AsyncIterator[Bus]:
    bus = await Bus.open(url, "registry", layout=Layout())
    await bus.control(handlers)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.close()


def due(number: int) -> ScheduleDue:
    return ScheduleDue(model="m", number=number)


def requested(number: int) -> RetrainRequested:
    return RetrainRequested(
        model="m",
        run=f"run-{number}",
        trigger="schedule",
        reason="test",
        version=number,
        spec_revision=1,
    )


async def test_events_are_handled_in_order_and_answers_name_their_cause(
    nats_server: NatsServer, bus: Bus
) -> None:
    order: list[int] = []
    fails = {3}

    async def handler(event: ScheduleDue, origin: Origin) -> Sequence[AnyEvent]:
        if event.number in fails:
            fails.clear()
            raise Retry("once more", delay=0.1)
        order.append(event.number)
        return [requested(event.number)]

    for number in range(8):
        await bus.emit(due(number))
    await bus.emit(SpecRegistered(model="m", revision=1, by="test"))
    async with hearing(nats_server.url, {ScheduleDue: handler}):
        await until(lambda: len(order) == 8, f"only {order}")
        said = (await read(bus, "EVENTS", 17))[9:]
    assert order == list(range(8))
    for number, answer in enumerate(said):
        assert answer.event() == requested(number)
        assert answer.headers[CAUSATION] == due(number).event_id()
        assert answer.headers[CORRELATION] == f"run-{number}"
        assert answer.headers["ce-source"] == "/driftloop/registry"


async def test_a_generator_handler_says_events_before_it_is_done(
    nats_server: NatsServer, bus: Bus
) -> None:
    go_on = asyncio.Event()

    async def handler(event: ScheduleDue, origin: Origin) -> AsyncIterator[AnyEvent]:
        yield requested(1)
        await go_on.wait()
        yield ModelRetired(model="m", run="run-1", version=1, reason="test")

    async with hearing(nats_server.url, {ScheduleDue: handler}):
        await bus.emit(due(1))
        assert len(await read(bus, "EVENTS", 2)) == 2
        go_on.set()
        last = (await read(bus, "EVENTS", 3))[-1]
    assert isinstance(last.event(), ModelRetired)
    assert last.headers[CAUSATION] == due(1).event_id()


@pytest.mark.fault(25, "a handler of events that always fails")
async def test_a_bug_in_an_event_handler_is_retried_and_then_a_dead_letter(
    nats_server: NatsServer, bus: Bus
) -> None:
    tried: list[int] = []

    async def handler(event: ScheduleDue, origin: Origin) -> Sequence[AnyEvent]:
        tried.append(event.number)
        if event.number == 1:
            raise KeyError("a bug")
        return []

    garbage = Outgoing(
        subject="events.m.schedule.due", payload=b"\xc1", headers={"Nats-Msg-Id": "garbage"}
    )
    async with hearing(nats_server.url, {ScheduleDue: handler}):
        await bus.emit(due(1))
        await bus.publish([garbage])
        await bus.emit(due(2))
        dead = await read(bus, "DEAD", 2)
        await until(lambda: 2 in tried, "the next event was not handled")
    assert tried == [1, 1, 1, 2]
    assert [d.headers[REASON][:8] for d in dead] == ["'a bug'", "payload:"]
    assert dead[0].event() == due(1)
    assert dead[0].subject == "dead.registry.m"


@pytest.mark.fault(11, "NATS is killed while a log is followed")
async def test_following_goes_on_after_the_server_was_killed(
    nats_server: NatsServer, bus: Bus
) -> None:
    await bus.publish([message(n) for n in range(20)])
    follow = bus.follow("ROWS", ("rows.m.received.*",), 1)
    got: list[Delivered] = []

    async def read_to(count: int) -> bool:
        got.extend(await follow.read(most=7))
        return len(got) >= count

    await until(lambda: read_to(20), "did not read the first twenty")
    nats_server.kill()
    nats_server.start()
    sending = asyncio.create_task(bus.publish([message(n) for n in range(20, 60)]))
    await until(lambda: read_to(60), f"read only {len(got)} of 60")
    await sending
    assert [text(m) for m in got] == [str(n) for n in range(60)]
    assert [m.seq for m in got] == list(range(1, 61))
    await follow.close()


async def test_following_goes_on_after_its_consumer_was_deleted(bus: Bus) -> None:
    await bus.publish([message(n) for n in range(5)])
    follow = bus.follow("ROWS", ("rows.>",), 3)
    got = [text(m) for m in await follow.read()]
    for info in await bus.connection.js.consumers_info("ROWS"):
        await bus.connection.js.delete_consumer("ROWS", info.name)
    await bus.publish([message(n) for n in range(5, 9)])

    async def all_read() -> bool:
        got.extend([text(m) for m in await follow.read()])
        return len(got) >= 7

    await until(all_read, f"read only {got}")
    assert got == [str(n) for n in range(2, 9)]
    await follow.close()


@pytest.mark.fault(11, "NATS is killed while a service publishes")
async def test_publishing_while_the_server_restarts_stores_each_once(
    nats_server: NatsServer, bus: Bus
) -> None:
    async def all_of_them() -> None:
        for first in range(0, 1_000, 50):
            await bus.publish([message(n) for n in range(first, first + 50)])
            await asyncio.sleep(0.01)

    sending = asyncio.create_task(all_of_them())
    await asyncio.sleep(0.05)
    nats_server.kill()
    await asyncio.sleep(0.2)
    nats_server.start()
    await asyncio.wait_for(sending, DEADLINE + 5)
    got = await read(bus, "ROWS", 1_000)
    assert sorted(int(text(m)) for m in got) == list(range(1_000))
    assert await bus.log.last_seq("ROWS") == 1_000


@pytest.mark.fault(11, "NATS is killed while work is consumed")
async def test_work_goes_on_after_the_server_was_killed(nats_server: NatsServer, bus: Bus) -> None:
    async def handler(group: Sequence[Delivered]) -> list[Outgoing]:
        return [
            derived_message("scored.m.0", m.batch(), kind="scored", source="t", cause=m)
            for m in group
        ]

    async with working(bus, handler, group=8, ack_wait=1.0):
        await bus.publish([message(n) for n in range(100)])
        await read(bus, "SCORED", 10)
        nats_server.kill()
        nats_server.start()
        await bus.publish([message(n) for n in range(100, 150)])
        got = await read(bus, "SCORED", 150)
    assert sorted(int(text(m)) for m in got) == list(range(150))


async def test_a_second_writer_of_a_subject_gets_a_conflict(bus: Bus) -> None:
    first = await bus.publish_next(message(1), 0)
    assert await bus.publish_next(message(1), 0) == first, "the same message again is no conflict"
    second = await bus.publish_next(message(2), first)
    with pytest.raises(Conflict):
        await bus.publish_next(message(3), first)
    assert await bus.log.last_seq("ROWS") == second == 2


async def test_state_is_written_by_compare_and_set(bus: Bus) -> None:
    assert (await bus.models.read("m")) == (None, 0)
    one = await bus.models.write("m", ModelState(model="m", champion=1), 0)
    assert (await bus.models.read("m")) == (ModelState(model="m", champion=1), one)
    with pytest.raises(Conflict):
        await bus.models.write("m", ModelState(model="m", champion=9), 0)
    two = await bus.models.write("m", ModelState(model="m", champion=2), one)
    with pytest.raises(Conflict):
        await bus.models.write("m", ModelState(model="m", champion=9), one)
    assert (await bus.models.read("m")).revision == two
    assert await bus.models.keys() == ["m"]
    assert await bus.specs.keys() == []


async def test_a_cached_value_is_read_anew_when_an_event_says_so(
    nats_server: NatsServer, bus: Bus
) -> None:
    other = await Bus.open(nats_server.url, "other", layout=Layout())
    await bus.models.write("m", ModelState(model="m"), 0)
    found = await other.models.get("m")
    assert found is not None
    assert found.champion == 0
    revision = (await bus.models.read("m")).revision
    await bus.models.write("m", ModelState(model="m", champion=1), revision)
    promoted = ModelPromoted(
        model="m", run="r", version=1, previous=0, model_sha256="", reason="test"
    )
    began = time.monotonic()
    await bus.emit(promoted)

    async def anew() -> bool:
        state = await other.models.get("m")
        return state is not None and state.champion == 1

    await until(anew, "still the old value")
    assert time.monotonic() - began < 1.0
    await other.close()


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (InvalidInput("a: 1"), InvalidInput),
        (InvalidName("model: 'A'"), InvalidName),
        (UnknownModel("model: 'x'"), UnknownModel),
        (Overloaded("full"), Overloaded),
        (Conflict("second"), Retry),
        (Reject("no"), Reject),
        (DriftloopError("hm"), DriftloopError),
        (ValueError("secret"), DriftloopError),
    ],
)
async def test_errors_of_a_request_travel_as_their_type(
    bus: Bus, raised: Exception, seen: type[Exception]
) -> None:
    async def handler(request: Request) -> Reply:
        raise raised

    await bus.serve("query.*", handler)
    with pytest.raises(DriftloopError) as caught:
        await bus.ask("query.test")
    assert type(caught.value) is seen
    assert ("secret" in str(caught.value)) is False


async def test_requests_are_answered_at_once_and_in_parallel(bus: Bus) -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(0.1)
        return Reply(payload=request.payload, headers={"of": request.subject})

    await bus.serve("query.*", handler)
    began = time.monotonic()
    got = await asyncio.gather(*(bus.ask(f"query.q{n}", b"%d" % n) for n in range(30)))
    assert time.monotonic() - began < 1.0
    assert [(r.payload, r.headers["of"]) for r in got] == [
        (b"%d" % n, f"query.q{n}") for n in range(30)
    ]


async def test_many_requests_about_one_thing_do_not_hold_up_those_about_another(bus: Bus) -> None:
    """What is too much is told at once to come again; nothing is dropped without a word."""
    go = asyncio.Event()
    refused: list[str] = []

    async def handler(request: Request) -> Reply:
        if request.subject == "query.flood":
            await go.wait()
        return Reply(payload=b"done")

    await bus.serve("query.*", handler, refused.append)
    flood = [
        asyncio.create_task(bus.ask("query.flood", b"x" * (1 << 19), timeout=DEADLINE))
        for _ in range(120)  # less in all than the client keeps, more than may wait
    ]
    await until(lambda: len(refused) > 0, "some are refused")
    assert (await bus.ask("query.other")).payload == b"done"
    go.set()
    told = await asyncio.gather(*flood, return_exceptions=True)
    assert all(isinstance(one, Reply | Overloaded) for one in told), told
    assert sum(isinstance(one, Overloaded) for one in told) == len(refused)
    assert set(refused) == {"query.flood"}


async def test_an_answer_that_no_message_can_hold_is_an_error(bus: Bus) -> None:
    async def handler(request: Request) -> Reply:
        return Reply(payload=b"x" * (9 << 20))

    await bus.serve("query.*", handler)
    with pytest.raises(Reject, match="answer: has 9437184 bytes; accepted: 8388608"):
        await bus.ask("query.test")


async def test_nobody_there_and_no_answer_in_time_are_transient(bus: Bus) -> None:
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(5)
        return Reply(payload=b"")

    with pytest.raises(Retry, match="no service answers"):
        await bus.ask("query.test")
    await bus.serve("query.*", handler)
    with pytest.raises(Retry, match=r"no answer within 0\.1 s"):
        await bus.ask("query.test", timeout=0.1)


async def test_a_server_that_is_away_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no NATS server answers at nats://127\.0\.0\.1:9"):
        await Bus.open("nats://127.0.0.1:9", "test", layout=Layout())
    assert time.monotonic() - began < 5


async def test_state_is_transient_while_the_server_is_away(
    nats_server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bus.models.read("m")
    monkeypatch.setattr(bus.connection.js, "_timeout", 0.5)
    nats_server.kill()
    with pytest.raises(Retry, match="MODELS/m"):
        await bus.models.read("m")


async def test_opening_twice_keeps_the_streams_as_they_are(
    nats_server: NatsServer, bus: Bus
) -> None:
    opened = await asyncio.gather(
        *(Bus.open(nats_server.url, f"s{n}", layout=Layout()) for n in range(3))
    )
    for stream in subjects.STREAMS:
        info = await bus.connection.js.stream_info(stream.name)
        assert info.config.subjects == list(stream.subjects)
        assert info.config.max_age == stream.max_age
    with pytest.raises(NotFoundError):
        await bus.connection.js.stream_info("OTHER")
    for made in opened:
        await made.close()


async def test_an_operators_request_said_twice_is_one_event(bus: Bus) -> None:
    event = OperatorRequested(
        model="m", command="retrain", version=0, by="ann", reason="why", request="r1"
    )
    await bus.emit(event)
    await bus.emit(event)
    assert await bus.log.last_seq("EVENTS") == 1


async def test_a_broker_that_goes_away_at_the_first_publish_costs_no_message(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was so while the client waited for it to know where acknowledgements go."""
    whole, times = bus.connection.nc.flush, iter([FlushTimeoutError()])

    async def flush(*limit: int) -> None:
        for error in times:
            raise error
        await whole(*limit)

    monkeypatch.setattr(bus.connection.nc, "flush", flush)
    batch = pa.record_batch({"number": [1]})
    subject = subjects.scored("flights")
    said = batch_message(subject, batch, kind="scored", source="test", msg_id="first")
    (ack,) = await bus.publish([said])
    assert ack.seq == 1
