"""Rows of models that are up to date do not wait behind the flood of another."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

import httpx
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing, batch_message
from driftloop.bus.work import Handler, Work
from driftloop.contracts import subjects
from driftloop.contracts.subjects import BACKLOG, LANES, LIVE, Lane
from driftloop.ingest import lanes
from driftloop.ingest.app import SERVICE as INGEST
from driftloop.local.nats import NatsServer
from driftloop.modelspec.rows import from_dicts
from driftloop.validation.app import SERVICE as VALIDATION
from tests.support.flows import eventually, held, rain_row, rain_spec, register, running

ROWS = 10


@pytest.fixture(autouse=True)
def _calm_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CALM_SECONDS", 0.1)


@contextlib.asynccontextmanager
async def ingest(bus: Bus, url: str, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    for name in ("flood", "calm"):
        await register(bus, rain_spec(name=name))
    async with running(INGEST, url, live_rows=25, lag_seconds=0.05, **settings) as (_, http):
        yield http


async def send(http: httpx.AsyncClient, model: str, number: int) -> int:
    rows = [rain_row(number * ROWS + at) for at in range(ROWS)]
    key = {"Idempotency-Key": f"{number}"}
    path = f"/v1/models/{model}/rows"
    return (await http.post(path, json=rows, headers=key)).status_code


async def in_lane(bus: Bus, model: str, state: subjects.RowState, lane: Lane) -> list[int]:
    """The sequences of a model's messages."""
    return [m.seq for m in await held(bus, "ROWS", subjects.rows(model, state, lane))]


async def test_a_model_that_is_far_ahead_leaves_the_live_lane_and_comes_back(
    bus: Bus, nats_server: NatsServer
) -> None:
    async with ingest(bus, nats_server.url) as http:
        for number in range(6):
            assert await send(http, "flood", number) == 202
        assert await send(http, "calm", 0) == 202

        assert len(await in_lane(bus, "flood", "received", LIVE)) == 2  # 20 of 25 rows
        backlog = await in_lane(bus, "flood", "received", BACKLOG)
        assert len(backlog) == 4
        assert await in_lane(bus, "calm", "received", BACKLOG) == []

        async with running(VALIDATION, nats_server.url):
            numbers = iter(range(100, 1_000))

            async def back() -> bool:
                await asyncio.sleep(lanes.CALM_SECONDS)
                assert await send(http, "flood", next(numbers)) == 202
                return len(await in_lane(bus, "flood", "received", LIVE)) > 2

            await eventually(back, "the model is back in the live lane")

            async def checked() -> bool:
                lengths = [
                    [len(await in_lane(bus, "flood", state, lane)) for lane in LANES]
                    for state in ("received", "valid")
                ]
                return lengths[0] == lengths[1]

            await eventually(checked, "validation keeps rows in their lanes")


async def test_rows_keep_their_order_when_their_model_changes_lanes(
    bus: Bus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LOOK_SECONDS", 0.2)  # so that the model seems far ahead at once
    async with running(VALIDATION, nats_server.url), ingest(bus, nats_server.url) as http:
        for number in range(60):
            assert await send(http, "flood", number) == 202

        async def all_valid() -> bool:
            return len(await held(bus, "ROWS", valid)) == 60

        valid = subjects.rows("flood", "valid", "*")
        await eventually(all_valid, "all are valid")
        found = await held(bus, "ROWS", valid)
        assert {subjects.lane_of(message.subject) for message in found} == {LIVE, BACKLOG}
        ids = [row for m in found for row in m.batch().column("event_id").to_pylist()]
        assert ids == [f"e{at}" for at in range(60 * ROWS)]


async def test_only_the_model_that_floods_is_refused(bus: Bus, nats_server: NatsServer) -> None:
    async with ingest(bus, nats_server.url, max_lag=3) as http:
        for lane, durable in subjects.CHECKS.items():  # as validation makes them, but nobody works
            await bus.connection.js.add_consumer(
                "ROWS",
                durable_name=durable,
                filter_subject=f"rows.*.received.{lane}",
                ack_policy="explicit",
            )
        numbers = iter(range(1_000))

        async def refused() -> bool:
            return await send(http, "flood", next(numbers)) == 503

        await eventually(refused, "the flood is refused")
        assert await send(http, "calm", 0) == 202
        answer = await http.post("/v1/models/flood/rows", json=[rain_row(1)])
        assert "with flood and other models that send as much" in answer.json()["detail"]
        assert "accepted: at most 3" in answer.json()["detail"]


def message(model: str, number: int, lane: Lane) -> Outgoing:
    return batch_message(
        subjects.rows(model, "received", lane),
        from_dicts([rain_row(number)]),
        kind="rows.received",
        source="test",
        msg_id=f"{model}:{number}",
    )


def works(handler: Handler) -> Iterator[Work]:
    for lane in LANES:
        subject = f"rows.*.received.{lane}"
        yield Work(stream="ROWS", subjects=(subject,), durable=f"w{lane}", handler=handler, group=4)


async def test_a_live_message_does_not_wait_for_a_backlog(bus: Bus) -> None:
    """It is handled while a message of the backlog is in hand, and the rest of it is left."""
    handled: list[str] = []
    step = asyncio.Semaphore(0)

    async def handle(group: Sequence[Delivered]) -> Sequence[Outgoing]:
        if group[0].model == "flood":
            await step.acquire()
        handled.extend(m.model for m in group)
        return []

    async def begun() -> bool:
        return "flood" in handled

    async def live() -> bool:
        return "calm" in handled

    async def done() -> bool:
        return len(handled) == 41

    await bus.publish([message("flood", number, BACKLOG) for number in range(40)])
    working = asyncio.create_task(bus.work(*works(handle)))
    step.release()
    await eventually(begun, "the backlog is begun")
    await bus.publish([message("calm", 0, LIVE)])
    await eventually(live, "the live message is handled")
    assert handled[-1] == "calm"
    assert len(handled) < 41
    for _ in range(40):
        step.release()
    await eventually(done, "all is handled")
    bus.stopping.set()
    await working
    bus.stopping.clear()
