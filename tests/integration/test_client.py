import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.bus.requests import Reply, Request
from driftloop.client import Client, NotSent, Report, Sent, SyncClient
from driftloop.contracts import subjects
from driftloop.contracts.errors import InvalidInput, Overloaded, UnknownModel
from driftloop.contracts.headers import MSG_ID, MSGPACK, ROWS
from driftloop.contracts.requests import BATCH_ID, Accepted, Prediction, PredictRequest
from driftloop.ingest.app import SERVICE
from driftloop.local.nats import NatsServer
from driftloop.modelspec.rows import from_dicts
from tests.support.flows import eventually, held, rain_row, rain_spec, register, rows_held, running

RECEIVED = subjects.rows("rain", "received", "*")
LABELS = subjects.labels("rain")


@pytest.fixture
async def ingest(bus: Bus, nats_server: NatsServer) -> AsyncIterator[str]:
    """The address of a server on which ingest runs."""
    await register(bus, rain_spec())
    async with running(SERVICE, nats_server.url):
        yield nats_server.url


async def count(bus: Bus) -> list[int]:
    return [int(message.headers[ROWS]) for message in await held(bus, "ROWS", RECEIVED)]


async def test_rows_and_labels_are_in_the_log_when_send_returns(ingest: str, bus: Bus) -> None:
    rows = [rain_row(n) for n in range(10)]
    async with Client(ingest) as client:
        sent = await client.send_rows("rain", rows, batch_rows=4)
        labelled = await client.send_labels("rain", [{"event_id": "e1", "label": 1}])
    assert (sent.rows, sent.batches, sent.duplicate) == (10, 3, 0)
    assert sent.seconds > 0
    assert await count(bus) == [4, 4, 2]
    assert [row["event_id"] for row in await rows_held(bus, "ROWS", RECEIVED)] == [
        row["event_id"] for row in rows
    ]
    assert labelled.rows == 1
    assert [row["label"] for row in await rows_held(bus, "LABELS", LABELS)] == ["1"]


async def rows_from_afar() -> AsyncIterator[dict[str, Any]]:
    for number in range(5):
        await asyncio.sleep(0)
        yield rain_row(number)


def rows_one_by_one() -> Iterator[dict[str, Any]]:
    yield from (rain_row(n) for n in range(5))


def batch() -> pa.RecordBatch:
    return from_dicts(list(rows_one_by_one()))


def test_a_program_without_an_event_loop_sends_data_of_every_kind(ingest_thread: str) -> None:
    pandas = pytest.importorskip("pandas")
    table = pa.Table.from_batches([batch()])
    frame = pandas.DataFrame(list(rows_one_by_one()), index=[3, 1, 4, 1, 5])
    with SyncClient(ingest_thread) as client:
        reader, parts = table.to_reader(), iter(table.to_batches(max_chunksize=2))
        for data in (batch(), table, frame, reader, parts, rows_one_by_one(), rows_from_afar()):
            sent = client.send_rows("rain", data, batch_rows=2)
            assert (sent.rows, sent.batches) == (5, 3)
        assert client.send_rows("rain", rain_row(1)).rows == 1
        with pytest.raises(InvalidInput, match="int holds no rows; accepted: a data frame"):
            client.send_rows("rain", 7)
        with pytest.raises(UnknownModel, match="'snow' is not registered; accepted: rain"):
            client.send_rows("snow", batch())


@pytest.fixture
def ingest_thread(nats_server: NatsServer) -> Iterator[str]:
    """Ingest on an event loop of its own, for tests that have none."""
    with asyncio.Runner() as runner:
        opened = runner.run(Bus.open(nats_server.url, "test", layout=Layout()))
        runner.run(register(opened, rain_spec()))
        runner.run(opened.close())
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running(SERVICE, nats_server.url):
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield nats_server.url
    over.set()
    thread.join()


async def test_a_data_frame_keeps_its_types_and_loses_its_index(ingest: str, bus: Bus) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "event_id": ["a", "b", None],
            "event_time": pandas.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"], utc=True),
            "wind": [1.5, np.nan, 3],
            "place": pandas.Categorical(["hill", "coast", "hill"]),
        },
        index=["x", "y", "z"],
    )
    async with Client(ingest) as client:
        await client.send_rows("rain", frame)
    logged = await rows_held(bus, "ROWS", RECEIVED)
    assert set(logged[0]) == {"event_id", "event_time", "wind", "place"}
    assert [row["place"] for row in logged] == ["hill", "coast", "hill"]
    assert [row["wind"] for row in logged] == [1.5, None, 3.0]
    assert logged[0]["event_time"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert logged[2]["event_id"]


async def test_progress_is_told_after_each_batch(ingest: str) -> None:
    told: list[Sent] = []
    async with Client(ingest) as client:
        await client.send_rows("rain", batch(), batch_rows=2, on_progress=told.append)
    assert sorted(sent.rows for sent in told) == [sent.rows for sent in told]
    assert [told[-1].rows, told[-1].batches] == [5, 3]


def odd_labels() -> Iterator[dict[str, Any]]:
    """The third batch of two lacks a label."""
    for number in range(8):
        yield {"event_id": f"e{number}", "label": None if number == 5 else 1}


async def test_a_batch_that_is_refused_is_reported_and_the_others_are_sent(
    ingest: str, bus: Bus
) -> None:
    told: list[Report] = []
    async with Client(ingest) as client:
        for duplicate in (0, 6):
            told.clear()
            sent = await client.send_labels(
                "rain", odd_labels(), batch_rows=2, key="file", on_report=told.append
            )
            assert (sent.rows, sent.batches, sent.refused, sent.duplicate) == (6, 3, 2, duplicate)
            assert [report.first for report in sorted(told, key=lambda r: r.first)] == [0, 2, 4, 6]
            (refused,) = [report for report in told if report.error is not None]
            assert (refused.batch, refused.first, refused.rows) == ("file-2", 4, 2)
            assert refused.accepted == 0
            assert refused.reason.startswith("labels[1]: label: None is missing; accepted:")
            assert sum(report.accepted for report in told) == 6
        with pytest.raises(InvalidInput, match=r"labels\[1\]: label: None is missing"):
            await client.send_labels("rain", odd_labels(), batch_rows=2)
    logged = {row["event_id"] for row in await rows_held(bus, "LABELS", LABELS)}
    assert {f"e{number}" for number in (0, 1, 2, 3, 6, 7)} <= logged
    assert not {"e4", "e5"} & logged


async def test_reports_are_read_one_by_one(ingest: str, bus: Bus) -> None:
    async with Client(ingest, window=2) as client:
        reports = [r async for r in client.deliver_rows("rain", batch(), batch_rows=2, key="k")]
        assert sorted((r.batch, r.first, r.rows, r.accepted) for r in reports) == [
            ("k-0", 0, 2, 2),
            ("k-1", 2, 2, 2),
            ("k-2", 4, 1, 1),
        ]
        unread = client.deliver_rows("rain", batch(), batch_rows=1, key="late")
        await anext(unread)
        await unread.aclose()
        labelled = client.deliver_labels("rain", odd_labels(), batch_rows=2)
        assert sum([not report.reason async for report in labelled]) == 3
        with pytest.raises(UnknownModel, match="'snow' is not registered"):
            await anext(client.deliver_rows("snow", batch()))
        with pytest.raises(InvalidInput, match="batch_rows: 0"):
            client.deliver_rows("rain", batch(), batch_rows=0)
    known = [m.headers[MSG_ID].split(":")[2] for m in await held(bus, "ROWS", RECEIVED)]
    assert known[:3] == ["k-0", "k-1", "k-2"]
    assert len([name for name in known if name.startswith("late")]) <= 3


def test_reports_are_read_one_by_one_without_an_event_loop(ingest_thread: str) -> None:
    with SyncClient(ingest_thread, window=2) as client:
        reports = list(client.deliver_rows("rain", rows_one_by_one(), batch_rows=2))
        assert sum(report.accepted for report in reports) == 5
        labelled = list(client.deliver_labels("rain", odd_labels(), batch_rows=2))
        assert sorted(report.accepted for report in labelled) == [0, 2, 2, 2]
        refused: list[str] = []
        sent = client.send_labels(
            "rain",
            odd_labels(),
            batch_rows=2,
            on_report=lambda report: refused.append(report.reason),
        )
        assert (sent.refused, len(list(filter(None, refused)))) == (2, 1)
        assert next(client.deliver_rows("rain", batch(), batch_rows=1)).accepted == 1
        left = client.deliver_rows("rain", batch(), batch_rows=1)
        assert next(left).accepted == 1
    with pytest.raises(ConnectionError, match="the client is not open"):
        client.deliver_rows("rain", batch())


async def test_the_same_data_under_its_key_is_stored_once(ingest: str, bus: Bus) -> None:
    async with Client(ingest) as client:
        first = await client.send_rows("rain", batch(), batch_rows=2, key="file")
        again = await client.send_rows("rain", batch(), batch_rows=2, key="file")
    assert (first.duplicate, again.duplicate) == (0, 5)
    assert sum(await count(bus)) == 5


@pytest.mark.fault(11, "NATS is killed while a client sends")
async def test_a_restart_of_the_broker_loses_and_doubles_nothing(
    ingest: str, bus: Bus, nats_server: NatsServer
) -> None:
    batches, each = 60, 50
    table = pa.Table.from_batches([from_dicts([rain_row(n) for n in range(batches * each)])])
    under_way = asyncio.Event()

    def progress(sent: Sent) -> None:
        if sent.batches >= 20:
            under_way.set()

    async with Client(ingest, timeout=1.0, window=4) as client:
        sending = asyncio.create_task(
            client.send_rows("rain", table, batch_rows=each, on_progress=progress)
        )
        await under_way.wait()
        nats_server.kill()
        assert not sending.done()
        nats_server.start()
        sent = await asyncio.wait_for(sending, 40)
    assert (sent.rows, sent.batches) == (batches * each, batches)
    assert sum(await count(bus)) == batches * each
    ids = {row["event_id"] for row in await rows_held(bus, "ROWS", RECEIVED)}
    assert len(ids) == batches * each


async def test_a_busy_service_is_asked_again_with_the_same_batch(
    bus: Bus, nats_server: NatsServer
) -> None:
    asked: list[str] = []

    async def busy_at_first(request: Request) -> Reply:
        asked.append(request.headers[BATCH_ID])
        if len(asked) < 3:
            raise Overloaded("too much at once; accepted: less")
        accepted = Accepted(accepted=5, duplicate=0, batch=asked[-1])
        return Reply(payload=msgspec.msgpack.encode(accepted))

    await bus.serve("ingest.*.rows", busy_at_first)
    async with Client(nats_server.url) as client:
        assert (await client.send_rows("rain", batch())).rows == 5
    assert len(asked) == 3
    assert len(set(asked)) == 1


async def test_it_gives_up_after_the_deadline_and_says_what_was_sent(
    bus: Bus, nats_server: NatsServer
) -> None:
    answered = 0

    async def only_two(request: Request) -> Reply:
        nonlocal answered
        answered += 1
        if answered > 2:
            raise Overloaded("full; accepted: nothing")
        accepted = Accepted(accepted=1, duplicate=0, batch="")
        return Reply(payload=msgspec.msgpack.encode(accepted))

    await bus.serve("ingest.*.rows", only_two)
    async with Client(nats_server.url, deadline=0.4, window=1) as client:
        with pytest.raises(
            NotSent, match=r"gave up after 0\.4 s: full; accepted: nothing"
        ) as caught:
            await client.send_rows("rain", batch(), batch_rows=1)
        assert caught.value.sent.rows == 2
        with pytest.raises(NotSent, match="no service answers this request"):
            await client.send_labels("rain", [{"event_id": "a", "label": 1}])


async def test_the_source_is_read_no_further_than_the_window(
    bus: Bus, nats_server: NatsServer
) -> None:
    free, read = asyncio.Event(), 0

    async def slow(request: Request) -> Reply:
        await free.wait()
        accepted = Accepted(accepted=1, duplicate=0, batch="")
        return Reply(payload=msgspec.msgpack.encode(accepted))

    async def source() -> AsyncIterator[dict[str, Any]]:
        nonlocal read
        for number in range(50):
            read += 1
            yield rain_row(number)

    await bus.serve("ingest.*.rows", slow)
    async with Client(nats_server.url, window=3) as client:
        sending = asyncio.create_task(client.send_rows("rain", source(), batch_rows=1))

        async def window_is_full() -> bool:
            return read == 4

        await eventually(window_is_full, "three batches are under way and one waits")
        await asyncio.sleep(0.1)  # time in which it could read on
        assert read == 4
        free.set()
        assert (await sending).rows == 50


async def test_predictions_are_asked_for_by_name(bus: Bus, nats_server: NatsServer) -> None:
    asked: list[Any] = []

    async def infer(request: Request) -> Reply:
        assert request.headers["content-type"] == MSGPACK
        rows = msgspec.msgpack.decode(request.payload, type=PredictRequest).rows
        asked.append(rows)
        answer = Prediction(model="rain", version=3, predictions=["1"] * len(rows))
        return Reply(payload=msgspec.msgpack.encode(answer))

    await bus.serve("infer.*", infer)
    row = {"wind": 3.5, "place": "hill", "day": None}
    async with Client(nats_server.url) as client:
        one = await client.predict("rain", row)
        numbers = await client.predict("rain", [{"wind": np.float32(3.5)}, {"wind": "gale"}])
        table = await client.predict("rain", pa.table({"wind": [1.0, 2.0]}))
    assert (one.version, one.predictions) == (3, ["1"])
    assert len(numbers.predictions) == len(table.predictions) == 2
    assert asked == [[row], [{"wind": 3.5}, {"wind": "gale"}], [{"wind": 1.0}, {"wind": 2.0}]]


def test_no_server_is_told_with_its_address() -> None:
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"), SyncClient("nats://127.0.0.1:1"):
        pass
