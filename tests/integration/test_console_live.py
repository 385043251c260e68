"""What is live in the console: many events, outages, tokens, lag, latency and accounting."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing, batch_message, event_message
from driftloop.bus.provision import Layout
from driftloop.bus.work import Work
from driftloop.console import hub as bounds
from driftloop.console.app import wire
from driftloop.console.settings import ConsoleSettings
from driftloop.contracts import headers, subjects
from driftloop.contracts.alarms import Summary
from driftloop.contracts.batches import LATENCY
from driftloop.contracts.events import DriftDetected
from driftloop.contracts.headers import Origin
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.runtime import metrics
from driftloop.runtime.http import HttpServer
from tests.support import synthetic as syn
from tests.support.access import made
from tests.support.flows import rain_spec, register
from tests.support.loop import scored
from tests.support.secured import secured
from tests.support.telemetry import telemetry

DEADLINE = 60.0
MODEL = "rain"


@contextlib.asynccontextmanager
async def console(url: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A console on a broker; the broker refuses it nothing that it wants."""
    own = await Bus.open(url, "console", layout=Layout(), keys=changes.get("keys", ""))
    settings = ConsoleSettings(
        **{"port": free_port(), "nats_url": url, "state_seconds": 0.1, **changes}
    )
    wired = await wire(settings, own)
    assert wired.http is not None
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    server = HttpServer(wired.http, settings.host, settings.port)
    await server.start()
    base = f"http://{settings.host}:{settings.port}"
    try:
        async with httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client:
            yield client
    finally:
        own.stopping.set()
        await server.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)
        denied = own.connection.denied
        await own.close()
        assert denied == ""


async def eventually(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until it is true; on a busy machine ClickHouse alone takes its time to begin."""
    end = time.monotonic() + DEADLINE
    while not await true():
        assert time.monotonic() < end, f"not within {DEADLINE:g} s: {what}"
        await asyncio.sleep(0.05)


async def messages(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """The messages of a stream."""
    kind = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, msgspec.json.decode(line.removeprefix("data: "))


def dropped() -> float:
    """Events that slow pages of this process have missed."""
    return metrics.values()["driftloop_console_dropped_total"]


async def events(bus: Bus, count: int, *, fat: int = 0, first: int = 0) -> None:
    """So many alarms of ten models, all at once; each with `fat` more numbers."""
    more = (Summary(detector="x", before=tuple(n / 7 for n in range(fat))),) if fat else ()
    said: list[DriftDetected] = [
        msgspec.structs.replace(syn.alarm(f"m{n % 10}", first + n), summaries=more)
        for n in range(count)
    ]
    for at in range(0, count, 500):
        group = [
            event_message(event, source="drift", origin=Origin()) for event in said[at : at + 500]
        ]
        await bus.publish(group)


async def test_thousands_of_events_come_once_each_in_order_and_in_groups(
    nats_server: NatsServer, bus: Bus
) -> None:
    async with (
        console(nats_server.url) as http,
        asyncio.timeout(DEADLINE),
        http.stream("GET", "/api/stream") as answer,
    ):
        stream = messages(answer)
        assert (await anext(stream))[0] == "hello"
        told = asyncio.create_task(events(bus, 3_000))
        seqs: list[int] = []
        groups = 0
        async for kind, data in stream:
            if kind == "said":
                groups += 1
                seqs += [fact["seq"] for fact in data]
            if len(seqs) >= 3_000:
                break
        await told
        assert seqs == list(range(1, 3_001))
        assert groups < 300
        kept = (await http.get("/api/events", params={"limit": 1})).json()
        assert kept["events"][0]["seq"] == 3_000
        state = (await http.get("/api/state")).json()
        assert (state["event_seq"], state["dropped"]) == (3_000, 1_000)


async def test_a_page_that_does_not_read_is_told_how_much_it_missed(
    nats_server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 50_000)
    total, each = 0, 200
    async with (
        console(nats_server.url) as http,
        asyncio.timeout(DEADLINE),
        http.stream("GET", "/api/stream") as slow,
    ):
        lines = messages(slow)
        assert (await anext(lines))[0] == "hello"
        before = dropped()
        while dropped() == before:  # more than a socket takes in, and than the queue does
            await events(bus, each, fat=400, first=total)
            total += each
            await _heard(http, total)
        got = missed = 0
        extra = asyncio.create_task(_until_missed_is_told(bus))
        async for kind, data in lines:
            got += len(data) if kind == "said" else 0
            missed += data["count"] if kind == "missed" else 0
            if missed and kind == "said":
                break
        extra.cancel()
    assert missed > 0
    assert got + missed >= total


async def _heard(http: httpx.AsyncClient, seq: int) -> None:
    async def state() -> Any:
        return (await http.get("/api/state")).json()["event_seq"] >= seq

    await eventually(state, "the console hears all events")


async def _until_missed_is_told(bus: Bus) -> None:
    """One event more, until the page that reads again has been told."""
    number = 100_000
    while True:
        await bus.emit(syn.alarm("m1", number))
        number += 1
        await asyncio.sleep(0.1)


async def test_a_page_is_told_that_nats_is_gone_and_that_it_is_back(
    nats_server: NatsServer, bus: Bus
) -> None:
    await register(bus, rain_spec())
    async with (
        console(nats_server.url) as http,
        asyncio.timeout(DEADLINE),
        http.stream("GET", "/api/stream") as answer,
    ):
        stream = messages(answer)
        async for kind, data in stream:
            if kind == "cards" and data["cards"]:
                break
        nats_server.stop()
        gone = await _outages(stream, lambda found: "nats" in found)
        assert gone["nats"]["text"].startswith("not connected to NATS at")
        assert gone["nats"]["since"]
        assert set(gone) == {"nats"}
        state = (await http.get("/api/state")).json()
        assert [card["name"] for card in state["cards"]] == ["rain"]
        nats_server.start()
        await _outages(stream, lambda found: "nats" not in found)
        await bus.emit(syn.alarm("rain", 77))
        async for kind, data in stream:
            if kind == "said":
                assert data[0]["model"] == "rain"
                break


async def _outages(stream: AsyncIterator[tuple[str, Any]], good: Any) -> dict[str, Any]:
    async for kind, data in stream:
        found = {its["what"]: its for its in data} if kind == "outages" else {}
        if kind == "outages" and good(found):
            return found
    raise AssertionError("the stream ended")


async def test_a_token_sees_its_models_only(nats_server: NatsServer, bus: Bus) -> None:
    for name in ("rain", "snow"):
        await register(bus, rain_spec(name=name))
        await bus.emit(syn.alarm(name))
    token, mine = made("ann", "read", models=("rain",))
    await bus.tokens.write("ann", token, 0)
    async with console(nats_server.url, tokens="required") as http:

        async def ready() -> bool:
            answer = await http.get("/api/events", headers=mine)
            return answer.status_code == 200 and len(answer.json()["events"]) == 1

        await eventually(ready, "the console has read the events")
        overview = (await http.get("/api/overview", headers=mine)).json()
        assert [card["name"] for card in overview["cards"]] == ["rain"]
        assert (overview["total"], overview["well"], overview["troubled"]) == (1, 0, 1)
        assert overview["cards"][0]["alarms"]
        found = (await http.get("/api/events", headers=mine)).json()
        assert [event["model"] for event in found["events"]] == ["rain"]
        for path in ("/api/models/snow", "/api/events?model=snow", "/api/stream?model=snow"):
            assert (await http.get(path, headers=mine)).status_code == 404
        order = await http.post("/api/models/rain/retrain", json={"reason": "x"}, headers=mine)
        assert order.status_code == 403
        assert (await http.get("/api/state")).status_code == 401
        async with (
            asyncio.timeout(DEADLINE),
            http.stream("GET", "/api/stream", headers=mine) as answer,
        ):
            stream = messages(answer)
            kind, hello = await anext(stream)
            assert (kind, hello["user"], hello["scopes"]) == ("hello", "ann", ["read"])
            assert (hello["models"], hello["event_seq"]) == (["rain"], 0)
            await bus.emit(syn.alarm("snow", 5))
            await bus.emit(syn.alarm("rain", 6))
            async for kind, data in stream:
                if kind == "cards":
                    assert {card["name"] for card in data["cards"]} <= {"rain"}
                if kind == "said":
                    assert [fact["model"] for fact in data] == ["rain"]
                    break


async def test_accounting_and_latency_are_those_of_the_tables_and_of_the_log(
    nats_server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    await register(bus, rain_spec())
    ids = [f"e{at}" for at in range(50)]
    given = pa.RecordBatch.from_pydict({"event_id": ids})
    [ack] = await bus.publish([_batch(subjects.rows(MODEL, "received"), given, "rows", "")])
    answered = scored(ids)
    latency = pa.array(np.arange(50, dtype=np.float32) / 1_000)
    timed = answered.add_column(answered.num_columns, LATENCY, latency)
    valid = answered.select(["event_id", "event_time", "key", "features"])
    [ack] = await bus.publish(
        [_batch(subjects.rows(MODEL, "valid"), valid, "valid", f"ROWS:{ack.seq}")]
    )
    [ack] = await bus.publish([_batch(subjects.scored(MODEL), timed, "scored", f"ROWS:{ack.seq}")])
    join = syn.join(MODEL, 0)
    await bus.stat(msgspec.structs.replace(join, waiting_predictions=50, scored_seq=ack.seq))
    await bus.models.write(MODEL, syn.state(MODEL, 7, syn.run(8)), 0)
    for n in range(3):  # said before the console was there, which reads none of it back
        await bus.stat(syn.evidence(MODEL, 8, 100 + n))
        await bus.stat(syn.score(MODEL, "loss", mean=0.1 * n, rows=1_000 * n))
    await bus.connection.nc.flush()
    often = {"audit_seconds": 0.2, "latency_seconds": 0.2, "stats_replayed": 0}
    async with console(nats_server.url, **often) as http:

        async def card() -> Any:
            cards = (await http.get("/api/overview")).json()["cards"]
            return cards[0] if cards else {"accounting": "", "p99_ms": None}

        async def out() -> bool:
            found = (await http.get("/api/state")).json()["outages"]
            return "telemetry" in {its["what"] for its in found}

        await eventually(out, "telemetry is gone")
        async with telemetry(nats_server.url, tmp_path):
            await eventually(lambda: _is(card, "accounting", "closed"), "the accounting closes")
            await eventually(lambda: _is(card, "p99_ms", 49.0), "the latency is told")
            trend = [0.0, 0.1, 0.2]
            await eventually(lambda: _is(card, "loss_trend", trend), "losses of before are told")
            model = (await http.get(f"/api/models/{MODEL}")).json()
            assert [point[0] for point in model["shadows"][0]["points"]] == [100, 101, 102]
            await bus.connection.js.delete_msg("SCORED", ack.seq)
            await eventually(lambda: _is(card, "accounting", "open"), "the accounting is open")
        its = await card()
        assert its["missing"] == 50
        assert abs(datetime.fromisoformat(its["audited"]).timestamp() - time.time()) < 60
        assert its["trouble_text"].startswith(
            "The accounting does not close: 50 rows are missing or too many."
        )


async def _is(read: Callable[[], Awaitable[Any]], field: str, value: object) -> bool:
    return bool((await read())[field] == value)


def _batch(subject: str, batch: pa.RecordBatch, kind: str, cause: str) -> Outgoing:
    extra = {headers.INPUT: cause} if cause else {}
    return batch_message(subject, batch, kind=kind, source="test", msg_id=kind, extra=extra)


async def test_the_lag_of_each_consumer_and_the_restarts_of_a_service_are_told(
    nats_server: NatsServer, bus: Bus
) -> None:
    follower = await Bus.open(nats_server.url, "feedback")
    follow = follower.follow("EVENTS", ("events.>",), 1)
    for number in range(7):
        await bus.emit(syn.alarm("rain", number))
    assert len(await follow.read(most=3)) == 3
    work = bus.work(
        Work(
            stream="EVENTS",
            subjects=("events.*.drift.detected",),
            durable="trainer",
            handler=_handled,
        )
    )
    working = asyncio.create_task(work)
    said = msgspec.structs.replace(syn.service("trainer", 5.0, 1.0), version="9.9", pid=3)
    async with console(nats_server.url, lag_seconds=0.1) as http:
        await bus.stat(said)

        async def services() -> dict[str, Any]:
            return {its["name"]: its for its in (await http.get("/api/services")).json()}

        async def told() -> bool:
            found = await services()
            return bool(found["trainer"]["version"] and found["trainer"]["lag"])

        await eventually(told, "the trainer is heard, and its consumer seen")
        found = await services()
        its = found["trainer"]
        assert (its["version"], its["pid"], its["instances"], its["ready"]) == ("9.9", 3, 1, True)
        [lag] = its["lag"]
        assert (lag["stream"], lag["durable"], lag["pending"]) == ("EVENTS", "trainer", 0)
        [lag] = found["feedback"]["lag"]
        assert (lag["stream"], lag["durable"]) == ("EVENTS", "follow")
        assert lag["delivered"] <= 7
        assert found["feedback"]["reason"] == "not heard of yet"
    bus.stopping.set()
    await working
    await follow.close()
    await follower.close()


async def _handled(messages: Sequence[Delivered]) -> Sequence[Outgoing]:
    return ()


async def test_the_rights_of_the_console_are_enough_for_all_it_looks_at(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker, broker.user("registry") as registry:
        await register(registry, rain_spec())
        often = {"lag_seconds": 0.1, "audit_seconds": 0.1, "latency_seconds": 0.1}
        async with console(broker.server.url, keys=broker.keys, **often) as http:
            promoted = [event for event, _ in syn.promotion(MODEL, 7) if event.owner == "registry"]
            for event in promoted:
                await registry.emit(event)

            async def told() -> bool:
                events = (await http.get("/api/events")).json().get("events", [])
                services = (await http.get("/api/services")).json()
                lag = [its for service in services for its in service["lag"]]
                state = (await http.get("/api/state")).json()
                out = {its["what"] for its in state["outages"]}
                return bool(len(events) == len(promoted) and lag and "telemetry" in out)

            await eventually(told, "events, consumers and outages are told")
