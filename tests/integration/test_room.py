"""A stream never loses what somebody has still to handle: it is trimmed, and else it refuses."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from nats.js import api

from driftloop.bus import room
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing
from driftloop.bus.newest import newest
from driftloop.bus.provision import Layout
from driftloop.bus.rights import PARTS
from driftloop.bus.room import ABOVE, make_room
from driftloop.bus.work import Work, ensure_consumer
from driftloop.contracts import subjects
from driftloop.contracts.errors import Overloaded
from driftloop.contracts.headers import MSG_ID
from driftloop.contracts.stats import JoinStats
from driftloop.local.nats import NatsServer
from tests.support.faults import Record
from tests.support.flows import Process, eventually, held, process, rain_row, rain_spec, register

SMALL = Layout(log_gb=0.002)
"""Room for 2 MiB: LABELS gets some 140 KB."""
SIZE = 4_000


def message(number: int, subject: str | None = None) -> Outgoing:
    return Outgoing(
        subject=subject or subjects.labels("rain"),
        payload=bytes(SIZE),
        headers={MSG_ID: f"m{number}"},
    )


@pytest.fixture
async def small(nats_server: NatsServer) -> AsyncIterator[Bus]:
    made = await Bus.open(nats_server.url, "test", layout=SMALL)
    yield made
    await made.close()


async def fill(bus: Bus, subject: str | None = None) -> int:
    """Publish until the stream refuses; how many it took."""
    for number in range(10_000):
        try:
            await bus.publish([message(number, subject)])
        except Overloaded:
            return number
    raise AssertionError("it never refuses")


async def first(bus: Bus, stream: str) -> int:
    return await bus.log.first_seq(stream)


async def all_read(bus: Bus, stream: str, subject: str) -> list[api.ConsumerInfo]:
    """Every durable consumer there is of a stream."""

    async def nothing(_: object) -> tuple[()]:
        return ()

    names = [name for part in PARTS.values() for at, name in part.durables if at == stream]
    for name in names:
        work = Work(stream=stream, subjects=(subject,), durable=name, handler=nothing)
        await ensure_consumer(bus.connection, work)
    return [await bus.connection.js.consumer_info(stream, name) for name in names]


async def handle(bus: Bus, stream: str, durable: str, messages: int) -> None:
    """Acknowledge so many messages."""
    pull = await bus.connection.js.pull_subscribe_bind(durable, stream)
    for message in await pull.fetch(messages, timeout=5):
        await message.ack_sync()
    await pull.unsubscribe()


async def joined(bus: Bus, labels_seq: int) -> None:
    """What feedback says of how far it is, in the log."""
    before = await bus.log.last_seq("STATS")
    await bus.stat(
        JoinStats(
            about="rain",
            outcomes_total=0,
            waiting_predictions=0,
            waiting_labels=0,
            scored_seq=0,
            labels_seq=labels_seq,
            data_time=0,
        )
    )

    async def there() -> bool:
        return await bus.log.last_seq("STATS") > before

    await eventually(there, "the measurement is in the log")


@pytest.mark.parametrize("stream", [s for s in subjects.STREAMS if s.discard != "oldest"])
async def test_a_full_stream_refuses_and_keeps_what_it_has(
    small: Bus, stream: subjects.Stream
) -> None:
    config = (await small.connection.js.stream_info(stream.name)).config
    assert config.discard == api.DiscardPolicy.NEW
    subject = stream.subjects[0].replace("*", "rain").replace(">", "rain.x")
    took = await fill(small, subject)
    assert took > 1
    assert (await small.log.filled(stream.name)).messages == took
    assert await first(small, stream.name) == 1
    assert stream.name in small.connection.problem()


async def test_what_was_refused_is_taken_once_there_is_room_and_is_no_duplicate(
    small: Bus,
) -> None:
    refused = await fill(small)
    await small.connection.js.purge_stream("LABELS", seq=4)

    acks = await small.publish([message(refused)])

    assert [ack.duplicate for ack in acks] == [False]
    assert small.connection.problem() == ""


async def test_a_stream_of_before_begins_to_refuse(nats_server: NatsServer) -> None:
    bus = await Bus.open(nats_server.url, "test", layout=SMALL)
    js = bus.connection.js
    config = (await js.stream_info("LABELS")).config
    config.discard = api.DiscardPolicy.OLD
    await js.update_stream(config)

    other = await Bus.open(nats_server.url, "other", layout=SMALL)

    assert (await js.stream_info("LABELS")).config.discard == api.DiscardPolicy.NEW
    await other.close()
    await bus.close()


async def test_room_is_made_of_what_everybody_has_handled(small: Bus) -> None:
    await register(small, rain_spec())
    (telemetry,) = await all_read(small, "LABELS", "labels.*.received.*")
    took = await fill(small)

    assert await make_room(small, "LABELS") == 0, "nobody has handled any"
    await handle(small, "LABELS", telemetry.name, 10)
    assert await make_room(small, "LABELS") == 0, "feedback has not read any"
    await joined(small, 5)
    assert await make_room(small, "LABELS") == 5
    await joined(small, took)
    assert await make_room(small, "LABELS") == 5, "telemetry has handled 10"
    assert await first(small, "LABELS") == 11
    await handle(small, "LABELS", telemetry.name, took - 10)
    assert await make_room(small, "LABELS") > 0
    filled = await small.log.filled("LABELS")
    assert 0 < filled.bytes < ABOVE * filled.room, "the newest stay"
    assert await make_room(small, "LABELS") == 0, "there is room"


@pytest.mark.parametrize("hurry", [0.0, 1.0])
async def test_room_is_made_little_by_little(
    small: Bus, monkeypatch: pytest.MonkeyPatch, hurry: float
) -> None:
    """While messages are removed nobody can publish."""
    await register(small, rain_spec())
    (telemetry,) = await all_read(small, "LABELS", "labels.*.received.*")
    took = await fill(small)
    await handle(small, "LABELS", telemetry.name, took)
    await joined(small, took)
    monkeypatch.setattr(room, "STEP_BYTES", 3 * SIZE)
    monkeypatch.setattr(room, "HURRY", hurry)
    js = small.connection.js
    purge, ends = js.purge_stream, [1]

    async def noted(name: str, seq: int) -> bool:
        ends.append(seq)
        return await purge(name, seq=seq)

    monkeypatch.setattr(js, "purge_stream", noted)
    removed = await make_room(small, "LABELS")
    assert await first(small, "LABELS") == ends[-1] == 1 + removed
    assert len(ends) > 3
    assert all(0 < end - before <= 3 for before, end in pairwise(ends))


async def test_who_follows_a_stream_is_waited_for(small: Bus) -> None:
    await register(small, rain_spec())
    (telemetry,) = await all_read(small, "LABELS", "labels.*.received.*")
    took = await fill(small)
    await handle(small, "LABELS", telemetry.name, took)
    await joined(small, took)
    slow = await small.connection.js.add_consumer(
        "LABELS",
        api.ConsumerConfig(
            name="follow-drift-x",
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=3,
            ack_policy=api.AckPolicy.NONE,
            mem_storage=True,
            max_deliver=1,
        ),
    )

    assert await make_room(small, "LABELS") == 2
    await small.connection.js.delete_consumer("LABELS", slow.name)
    assert await make_room(small, "LABELS") > 0


async def test_a_consumer_that_has_never_run_is_waited_for(small: Bus) -> None:
    took = await fill(small)
    assert await make_room(small, "LABELS") == 0
    await all_read(small, "LABELS", "labels.*.received.*")
    await handle(small, "LABELS", "telemetry-labels", took)
    assert await make_room(small, "LABELS") > 0


async def test_rows_of_other_kinds_do_not_hold_a_consumer_up(small: Bus) -> None:
    """The last message a consumer wants may lie far before the last one there is."""
    subject = subjects.rows("rain", "quarantined")
    took = await fill(small, subject)
    for name in ("validation-rows", "validation-backlog", "inference-scored", "inference-backlog"):
        state = "received" if name.startswith("validation") else "valid"

        async def nothing(_: object) -> tuple[()]:
            return ()

        work = Work(stream="ROWS", subjects=(f"rows.*.{state}.0",), durable=name, handler=nothing)
        await ensure_consumer(small.connection, work)
    assert await make_room(small, "ROWS") == 0
    work = Work(
        stream="ROWS", subjects=("rows.*.quarantined.*",), durable="telemetry-rows", handler=nothing
    )
    await ensure_consumer(small.connection, work)
    await handle(small, "ROWS", "telemetry-rows", took)
    async with asyncio.timeout(5):
        assert await make_room(small, "ROWS") > 0


async def test_rows_without_a_bad_one_leave_the_log(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Feedback reads of `ROWS` the bad ones alone: where there is none it has read all."""
    small = await Bus.open(nats_server.url, "test", layout=SMALL)
    await register(small, rain_spec())
    durables = await all_read(small, "ROWS", "rows.*.valid.*")
    took = await fill(small, subjects.rows("rain", "valid"))
    for durable in durables:
        await handle(small, "ROWS", durable.name, took)
    assert await make_room(small, "ROWS") > 0, "no feedback has heard of the model"

    await fill_again(small, durables)
    with process("feedback", nats_server.url, tmp_path, DRIFTLOOP_NATS_LOG_GB="0.002"):

        async def room() -> bool:
            return bool(await newest(small.connection, "STATS", "stats.join.rain")) and (
                await make_room(small, "ROWS") > 0
            )

        await eventually(room, "rows leave that feedback does not read")
    await small.close()


async def fill_again(bus: Bus, durables: Sequence[api.ConsumerInfo]) -> None:
    """Fill `ROWS` with other rows, all of which these handle."""
    subject, took = subjects.rows("rain", "valid"), 0
    with contextlib.suppress(Overloaded):
        for number in range(100_000, 110_000):
            await bus.publish([message(number, subject)])
            took += 1
    for durable in durables:
        await handle(bus, "ROWS", durable.name, took)


async def test_a_model_that_feedback_has_not_read_yet_is_waited_for(small: Bus) -> None:
    await register(small, rain_spec())
    durables = await all_read(small, "ROWS", "rows.*.quarantined.*")
    took = await fill(small, subjects.rows("rain", "quarantined"))
    for durable in durables:
        await handle(small, "ROWS", durable.name, took)
    assert await make_room(small, "ROWS") == 0


@pytest.mark.fault(19, "ROWS is filled with rows that are not checked yet")
@pytest.mark.parametrize("begun", [True, False], ids=["paused", "never begun"])
async def test_received_rows_leave_room_for_what_will_be_made_of_them(
    begun: bool, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    """Else nothing could be checked, so that nothing could ever go."""
    bus = await Bus.open(nats_server.url, "test", layout=Layout(log_gb=0.02))
    await register(bus, rain_spec())
    settings = {"DRIFTLOOP_NATS_LOG_GB": "0.02", "DRIFTLOOP_INGEST_LAG_SECONDS": "0.05"}
    validation = Process("validation", nats_server.url, tmp_path / "validation.log", settings)
    try:
        if begun:
            validation.start()
            validation.wait()
            await eventually(partial(begun_to_check, bus), "validation has a place in the log")
            os.kill(validation.pid, signal.SIGSTOP)
        accepted, answer = await flood(nats_server, tmp_path, settings)
        filled = await bus.log.filled("ROWS")
        assert "ROWS are taken or due" in answer
        assert filled.room / 8 < filled.bytes < filled.room / 2
        if begun:
            os.kill(validation.pid, signal.SIGCONT)
        else:
            validation.start()

        async def checked() -> bool:
            found = await held(bus, "ROWS", subjects.rows("rain", "valid", "*"))
            return sum(int(message.batch().num_rows) for message in found) == accepted

        await eventually(checked, f"all {accepted} rows are valid")
    finally:
        if validation.running:
            os.kill(validation.pid, signal.SIGCONT)
            validation.stop()
    await bus.close()
    record(rows=accepted, refused=1, lost=0)


async def flood(server: NatsServer, folder: Path, settings: dict[str, str]) -> tuple[int, str]:
    """Send rows until ingest refuses some: how many it took, and what it said."""
    accepted = 0
    with process("ingest", server.url, folder, **settings) as ingest:
        url = f"{ingest.base}/v1/models/rain/rows"
        async with httpx.AsyncClient(timeout=30) as http:
            while True:
                rows = [rain_row(accepted + at) for at in range(500)]
                answer = await http.post(url, json=rows)
                assert answer.status_code in (202, 503), answer.text
                if answer.status_code == 503:
                    return accepted, answer.text
                accepted += 500


async def begun_to_check(bus: Bus) -> bool:
    return all([(await bus.log.reached("ROWS", name)).there for name in subjects.CHECKS.values()])


async def test_who_is_told_that_a_stream_is_full_tries_again_and_is_not_ready_meanwhile(
    small: Bus,
) -> None:
    """A group that finds no room is given back as it is, and done with once there is."""
    refused = await fill(small, subjects.outcomes("rain"))
    before = small.connection.stored.refused
    source = subjects.labels("rain")

    async def handle_all(messages: Sequence[Delivered]) -> list[Outgoing]:
        return [message(10_000 + its.seq, subjects.outcomes("rain")) for its in messages]

    work = Work(stream="LABELS", subjects=(source,), durable="test", handler=handle_all)
    running_work = asyncio.create_task(small.work(work))
    await small.publish([message(number) for number in range(4)])

    async def unready() -> bool:
        problem = small.connection.problem()
        return small.connection.stored.refused > before and "OUTCOMES" in problem

    await eventually(unready, "it was refused and is not ready")
    await small.connection.js.purge_stream("OUTCOMES", seq=refused - 8)

    async def done() -> bool:
        return await small.log.lag("LABELS", "test") == 0

    await eventually(done, "all are handled")
    assert small.connection.problem() == ""
    assert await small.log.last_seq("OUTCOMES") == refused + 4
    small.stopping.set()
    await running_work
