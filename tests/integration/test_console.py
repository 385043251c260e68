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
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
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


async def messages(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    """The messages of a stream."""
    kind = ""
    async for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, msgspec.json.decode(line.removeprefix("data: "))


async def test_the_state_holds_what_the_services_said(page: httpx.AsyncClient, bus: Bus) -> None:
    for n in range(3):
        counters = {"scored_rows__flights": 100.0 * n}
        await bus.stat(syn.service("inference", 1.0, 2.0 + n, **counters))
        await bus.stat(syn.score("flights", "loss", mean=0.17, rows=3_000 + 300 * n))
        await asyncio.sleep(0.02)
    await bus.stat(syn.score("flights", "temp", share=0.6))
    found = await until(
        lambda: state(page),
        lambda s: s["cards"] and s["cards"][0]["champion_since"] and s["cards"][0]["champion"],
    )
    found = await until(lambda: state(page), all_told)
    [card] = found["cards"]
    assert (card["name"], card["champion"], card["task"]) == ("flights", 7, "classification")
    assert card["champion_since"]
    assert card["rate"] > 0
    assert (card["loss"], card["loss_name"], card["loss_trend"]) == (0.17, "brier", [0.17] * 3)
    assert (card["drift"], card["run"]["stage"]) == ("suspected", "shadowing")
    assert card["trouble_text"] == "A shift is suspected: 60% of an alarm, most of it temp."
    services = {s["name"]: s["ready"] for s in found["services"]}
    assert services["inference"] is True
    assert services["trainer"] is False


async def test_a_model_is_told_with_its_shadow_and_what_may_be_ordered(
    page: httpx.AsyncClient, bus: Bus
) -> None:
    for n in range(3):
        await bus.stat(syn.evidence("flights", 8, 100 + n))
    await bus.stat(syn.join("flights", 4_321))

    async def model() -> Any:
        return (await page.get("/api/models/flights")).json()

    found = await until(model, lambda m: m["labels"] and m["shadows"] and m["shadows"][0]["rows"])
    assert (found["labels"]["joined"], found["labels"]["waiting_predictions"]) == (4_321, 1_204)
    [shadow] = found["shadows"]
    assert (shadow["version"], shadow["champion"], shadow["rows"]) == (8, 7, 102)
    assert [point[0] for point in shadow["points"]] == [100, 101, 102]
    assert [step["state"] for step in found["steps"]][:4] == ["done", "done", "done", "now"]
    assert [v["version"] for v in found["versions"]] == [7, 6, 5, 4, 3, 2, 1]
    assert found["features"] == [{"name": "temp", "type": "number", "monitored": True}]
    assert found["commands"] == ["challenge", "promote", "pause", "silence", "spec"]
    assert (await page.get("/api/models/nothing")).status_code == 404


async def test_events_come_newest_first_and_by_model(page: httpx.AsyncClient, bus: Bus) -> None:
    async def events(**wanted: Any) -> Any:
        return (await page.get("/api/events", params=wanted)).json()

    def three(answer: Any) -> bool:
        return len(answer.get("events", ())) == 3

    found = await until(lambda: events(model="flights", limit=3), three)
    kinds = [e["kind"] for e in found["events"]]
    assert kinds == ["model.promoted", "shadow.concluded", "shadow.started"]
    assert found["events"][0]["text"].startswith("version 7 instead of version 6")
    assert (found["source"], found["before"]) == ("memory", found["events"][-1]["seq"])
    rest = await events(model="flights", before=found["before"])
    assert rest["events"][0]["kind"] == "candidate.approved"
    assert (len(rest["events"]), rest["before"]) == (5, 0)
    assert (await events(model="churn"))["events"] == []
    by_service = await events(service="trainer")
    assert [e["kind"] for e in by_service["events"]] == ["candidate.trained", "training.started"]


async def test_the_overview_has_the_worst_first_and_is_searched(
    page: httpx.AsyncClient, bus: Bus
) -> None:
    for name in ("churn", "rain"):
        spec = msgspec.structs.replace(SPEC, name=name)
        await bus.specs.write(name, Registered(spec=spec, revision=1, by="test", at=0.0), 0)
        await bus.models.write(name, syn.state(name, 3, None), 0)
    await bus.emit(syn.alarm("rain"))

    async def overview(**wanted: Any) -> Any:
        return (await page.get("/api/overview", params=wanted)).json()

    found = await until(overview, lambda o: o["troubled"] == 1 and o["well"] == 2)
    assert [card["name"] for card in found["cards"]] == ["rain", "churn", "flights"]
    assert found["cards"][0]["alarms"][0]["detector"] == "feature:temp"
    found = await overview(limit=1, offset=1)
    assert (found["total"], [card["name"] for card in found["cards"]]) == (3, ["churn"])
    found = await overview(search="ChUr")
    assert (found["total"], [card["name"] for card in found["cards"]]) == (1, ["churn"])


def all_told(found: Any) -> bool:
    """Whether states, events and measurements, which come apart, have all come."""
    [card] = found["cards"]
    told = card["drift_share"] > 0.5 and card["champion_since"] and card["rate"] > 0
    return bool(told and len(card["loss_trend"]) == 3 and card["run"])


def alarmed(seen: dict[str, Any]) -> bool:
    """Whether the newest change of cards has the alarm; one about the evidence may come before."""
    return "cards" in seen and seen["cards"]["cards"][0]["drift"] == "alarm"


async def test_a_page_is_told_all_at_first_and_then_what_changes(
    page: httpx.AsyncClient, bus: Bus
) -> None:
    await until(lambda: state(page), lambda s: s["cards"] and s["cards"][0]["champion"])
    async with (
        asyncio.timeout(DEADLINE),
        page.stream("GET", "/api/stream", params={"model": "flights"}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = messages(answer.aiter_lines())
        first = [await anext(stream) for _ in range(4)]
        assert [kind for kind, _ in first] == ["hello", "outages", "services", "cards"]
        hello, cards = first[0][1], first[3][1]
        assert (hello["user"], hello["models"], "operate" in hello["scopes"]) == ("", None, True)
        assert [card["name"] for card in cards["cards"]] == ["flights"]
        await bus.emit(syn.alarm("flights", 4_242))
        await bus.stat(syn.evidence("flights", 8, 777))
        seen: dict[str, Any] = {}
        while not ({"said", "evidence"} <= seen.keys() and alarmed(seen)):
            kind, data = await anext(stream)
            seen[kind] = data
    assert [fact["kind"] for fact in seen["said"]] == ["drift.detected"]
    assert seen["said"][0]["service"] == "drift"
    assert seen["evidence"]["point"][0] == 777
    assert seen["cards"]["gone"] == []


async def test_a_page_that_asks_for_no_events_is_told_of_cards_alone(
    page: httpx.AsyncClient, bus: Bus
) -> None:
    await until(lambda: state(page), lambda s: s["cards"] and s["cards"][0]["champion"])
    seen = []
    async with (
        asyncio.timeout(DEADLINE),
        page.stream("GET", "/api/stream", params={"events": "0"}) as answer,
    ):
        stream = messages(answer.aiter_lines())
        async for kind, data in stream:
            seen.append(kind)
            if kind == "cards" and len([k for k in seen if k == "cards"]) == 1:
                await bus.emit(syn.alarm("flights", 4_242))
            elif kind == "cards" and data["cards"][0]["drift"] == "alarm":
                break
    assert "said" not in seen


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
    refused = await page.post("/api/models/flights/promote", json={"version": 9, "reason": "x"})
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
    for name in ("app.js", "parts/store.js", "css/tokens.css", "icon.svg"):
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
