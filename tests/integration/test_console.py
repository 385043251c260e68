"""The console on a real bus with made-up traffic."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.bus.requests import Reply, Request
from driftloop.console.app import wire
from driftloop.console.settings import ConsoleSettings
from driftloop.contracts import requests
from driftloop.contracts.errors import InvalidInput, Overloaded
from driftloop.local.nats import NatsServer, free_port
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.spec import Registered
from driftloop.runtime.http import HttpServer
from driftloop.runtime.problems import status_of
from tests.support import synthetic as syn

SPEC = from_dict(
    {
        "name": "flights",
        "task": "classification",
        "target": {"classes": ["0", "1"]},
        "features": [{"name": "temp"}],
    }
)
DEADLINE = 10.0


@pytest.fixture
async def page(nats_server: NatsServer, bus: Bus) -> AsyncIterator[httpx.AsyncClient]:
    """The running console, beside whom `bus` plays the other services."""
    await bus.specs.write("flights", Registered(spec=SPEC, revision=1, by="test", at=0.0), 0)
    for event, origin in syn.promotion("flights", 7):
        await bus.emit(event, origin)
    await bus.models.write("flights", syn.state("flights", 7, syn.run(8)), 0)
    own = await Bus.open(nats_server.url, "console", layout=Layout())
    settings = ConsoleSettings(port=free_port(), state_seconds=0.1)
    wired = await wire(settings, own)
    assert wired.http is not None
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    server = HttpServer(wired.http, settings.host, settings.port)
    await server.start()
    url = f"http://{settings.host}:{settings.port}"
    async with httpx.AsyncClient(base_url=url) as client:
        yield client
    own.stopping.set()
    await server.stop()
    await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)
    await own.close()


async def until(read: Callable[[], Awaitable[Any]], good: Callable[[Any], bool]) -> Any:
    """What `read` gives once it is `good`."""
    end = time.monotonic() + DEADLINE
    while True:
        found = await read()
        if good(found):
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


async def state(page: httpx.AsyncClient) -> Any:
    return (await page.get("/api/state")).json()


async def test_the_state_holds_what_the_services_said(page: httpx.AsyncClient, bus: Bus) -> None:
    for n in range(3):
        counters = {"scored_rows__flights": 100.0 * n}
        await bus.stat(syn.service("inference", 1.0, 2.0 + n, **counters))
        await bus.stat(syn.evidence("flights", 8, 100 + n))
        await asyncio.sleep(0.02)
    await bus.stat(syn.join("flights", 4_321))
    found = await until(
        lambda: state(page),
        lambda s: s["models"] and s["models"][0]["joined"] and s["models"][0]["champion"],
    )
    [card] = found["models"]
    assert (card["name"], card["champion"], card["runs_started"]) == ("flights", 7, 1)
    assert card["since"]
    assert card["scored"] > 0
    assert card["evidence"][0]["rows"] == 102
    services = {s["name"]: s["ready"] for s in found["services"]}
    assert services["inference"] is True
    assert services["trainer"] is False


async def test_events_come_newest_first_and_by_model(page: httpx.AsyncClient, bus: Bus) -> None:
    async def events() -> Any:
        return (await page.get("/api/events", params={"model": "flights", "limit": 3})).json()

    found = await until(events, lambda e: len(e) == 3)
    assert [e["kind"] for e in found] == ["model.promoted", "shadow.concluded", "shadow.started"]
    assert found[0]["text"].startswith("version 7 instead of version 6")
    assert (await page.get("/api/events", params={"model": "churn"})).json() == []


async def test_the_stream_pushes_states_and_events_as_they_come(
    page: httpx.AsyncClient, bus: Bus
) -> None:
    seen: dict[str, Any] = {}
    async with asyncio.timeout(DEADLINE), page.stream("GET", "/api/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                seen[kind] = msgspec.json.decode(line.removeprefix("data: "))
                if len(seen) == 1:
                    await bus.emit(syn.alarm("flights", 4_242))
            if len(seen) == 2:
                break
    assert seen["said"]["kind"] == "drift.detected"
    assert {s["name"] for s in seen["state"]["services"]} >= {"ingest", "console"}


async def test_an_order_reaches_the_registry_and_its_answer_comes_back(
    page: httpx.AsyncClient, bus: Bus
) -> None:
    heard: list[requests.Command] = []

    async def registry(request: Request) -> Reply:
        command = msgspec.msgpack.decode(request.payload, type=requests.Command)
        heard.append(command)
        if command.command == "promote":
            raise InvalidInput("version: 9 is not a version of flights; accepted: 1 to 7")
        done = requests.Done(text="run-1 began", run="run-1")
        return Reply(payload=msgspec.msgpack.encode(done))

    await bus.serve("command.*", registry)
    body = {"reason": "new season", "by": "ana"}
    answer = await page.post("/api/models/flights/retrain", json=body)
    assert (answer.status_code, answer.json()["text"]) == (200, "run-1 began")
    assert (heard[0].by, heard[0].reason) == ("ana", "new season")
    refused = await page.post("/api/models/flights/promote", json={"version": 9})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["detail"].startswith("version: 9 is not a version of flights")


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("flights/retrain", 503, "no service answers this request"),
        ("nothing/retrain", 404, "'nothing' is not registered; accepted: flights"),
        ("fl.ights/retrain", 422, "is not a model name"),
        ("flights/frob", 422, "command: 'frob'"),
    ],
)
async def test_an_order_that_cannot_be_given_says_why(
    path: str, status: int, detail: str, page: httpx.AsyncClient
) -> None:
    answer = await page.post(f"/api/models/{path}", json={"reason": "x"})
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


async def test_another_site_cannot_give_orders(page: httpx.AsyncClient) -> None:
    headers = {"origin": "http://evil.example"}
    answer = await page.post("/api/models/flights/retrain", json={}, headers=headers)
    assert answer.status_code == 403


async def test_the_page_and_its_files_are_served(page: httpx.AsyncClient) -> None:
    front = await page.get("/")
    assert front.status_code == 200
    assert "default-src 'self'" in front.headers["content-security-policy"]
    for name in ("console.js", "console.css", "icon.svg"):
        assert (await page.get(f"/static/{name}")).status_code == 200
    assert (await page.get("/static/../http.py")).status_code == 404


async def test_too_many_pages_are_told_to_come_back(nats_server: NatsServer) -> None:
    own = await Bus.open(nats_server.url, "console", layout=Layout())
    wired = await wire(ConsoleSettings(clients=0), own)
    for task in wired.tasks:
        task.close()
    assert wired.http is not None
    transport = httpx.ASGITransport(app=wired.http)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        answer = await client.get("/api/stream")
    assert answer.status_code == status_of(Overloaded(""))
    assert "0 pages are open" in answer.json()["detail"]
    await own.close()
