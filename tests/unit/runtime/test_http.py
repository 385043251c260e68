import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from driftloop.contracts.errors import (
    DriftloopError,
    InvalidInput,
    InvalidName,
    Overloaded,
    Reject,
    Retry,
    UnknownModel,
)
from driftloop.local.ports import free_port
from driftloop.runtime.access import OPEN, Guarded
from driftloop.runtime.http import HttpServer, operations
from driftloop.runtime.problems import (
    NotAuthenticated,
    NotPermitted,
    TooFast,
    TooLarge,
    UnsupportedType,
    explain,
    read_body,
    status_of,
)
from tests.support.access import no_tokens

DOCUMENTS = ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotAuthenticated("x"), 401),
        (NotPermitted("x"), 403),
        (TooFast("x"), 429),
        (UnknownModel("x"), 404),
        (InvalidName("x"), 422),
        (InvalidInput("x"), 422),
        (TooLarge("x"), 413),
        (UnsupportedType("x"), 415),
        (Reject("x"), 400),
        (Overloaded("x"), 503),
        (Retry("x"), 503),
        (DriftloopError("x"), 500),
    ],
)
def test_every_error_has_the_status_that_says_the_same(error: DriftloopError, status: int) -> None:
    assert status_of(error) == status


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    explain(app)
    raised: dict[str, Exception] = {
        "retry": Retry("later", delay=2.6),
        "invalid": InvalidInput("a: 1\nb: 2"),
        "bug": ValueError("secret"),
    }

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise raised[name]

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await read_body(request, 100))

    access = no_tokens()
    rules = {f"GET {path}": OPEN for path in ("/raise/{name}", *DOCUMENTS)}
    guarded = Guarded(app, access, {**rules, "POST /size": OPEN})
    whole = operations("test", lambda: "no model", access, guarded)
    transport = httpx.ASGITransport(app=whole, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


async def test_errors_are_problem_details(client: httpx.AsyncClient) -> None:
    got = await client.get("/raise/invalid")
    assert got.headers["content-type"] == "application/problem+json"
    assert got.json() == {
        "title": got.json()["title"],
        "status": 422,
        "detail": "a: 1\nb: 2",
        "errors": ["a: 1", "b: 2"],
    }


async def test_a_transient_error_says_when_to_come_back(client: httpx.AsyncClient) -> None:
    got = await client.get("/raise/retry")
    assert (got.status_code, got.headers["retry-after"]) == (503, "3")


async def test_a_bug_tells_nothing_of_its_inside(client: httpx.AsyncClient) -> None:
    got = await client.get("/raise/bug")
    assert (got.status_code, "secret" in got.text) == (500, False)
    assert "internal error (ValueError)" in got.json()["detail"]


async def test_unknown_paths_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    for got, status in ((await client.get("/nowhere"), 404), (await client.get("/size"), 405)):
        assert (got.status_code, got.json()["status"]) == (status, status)


async def test_a_body_is_read_to_its_limit_and_no_further(client: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 60

    assert (await client.post("/size", content=b"x" * 100)).text == "100"
    assert (await client.post("/size", content=b"x" * 101)).status_code == 413
    assert (await client.post("/size", content=parts())).status_code == 413


async def test_health_readiness_and_metrics_are_beside_the_services_own(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/healthz")).json() == {"service": "test", "alive": True}
    ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"service": "test", "ready": False, "reason": "no model"}
    assert "driftloop_" in (await client.get("/metrics")).text


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    port = free_port()
    first = HttpServer(operations("test", lambda: "", no_tokens()), "127.0.0.1", port)
    await first.start()
    with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}: "):
        await HttpServer(operations("test", lambda: "", no_tokens()), "127.0.0.1", port).start()
    async with asyncio.timeout(5), httpx.AsyncClient() as http:
        got = await http.get(f"http://127.0.0.1:{port}/readyz")
    assert json.loads(got.content)["ready"] is True
    await first.stop()
