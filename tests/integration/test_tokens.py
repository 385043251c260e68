"""Bearer tokens at every door: real processes on real ports, and the registry that keeps them."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import httpx
import msgspec
import numpy as np
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.console.http import RULES as CONSOLE
from driftloop.contracts.events import OperatorRequested
from driftloop.contracts.requests import Done
from driftloop.contracts.tokens import Revoke, Token, TokenList, ask
from driftloop.inference.grpc_v2.methods import RULES as GRPC
from driftloop.inference.grpc_v2.schema import CLASSES, SERVICE
from driftloop.inference.http import RULES as INFERENCE
from driftloop.inference.routes import INFER, PREDICT
from driftloop.ingest.http import RULES as INGEST
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.runtime.access import Rule, Rules
from driftloop.runtime.http import RULES as OPERATIONS
from driftloop.telemetry.http import RULES as TELEMETRY
from tests.support.access import made
from tests.support.flows import Process, rain_row, rain_spec, register
from tests.support.processes import driftloop
from tests.support.serving import MIXED, mixed_rows, serve_mixed

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS: Final = 15.0
START_SECONDS: Final = 60.0
DOORS: Final[dict[str, Rules]] = {
    "ingest": INGEST,
    "inference": INFERENCE,
    "console": CONSOLE,
    "telemetry": TELEMETRY,
    "registry": {},
}
"""The services with routes of their own, and one that has none."""

DECIDED: Final = {
    "GET /healthz": "open",
    "GET /readyz": "open",
    "GET /metrics": "all read",
    "ingest POST /v1/models/{model}/rows": "one rows",
    "ingest POST /v1/models/{model}/labels": "one labels",
    "ingest GET /openapi.json": "any labels read rows",
    "inference GET /v1/models/{model}": "one predict read",
    "inference POST /v1/models/{model}/predict": "one predict",
    "inference GET /v2": "any operate predict read",
    "inference GET /v2/health/live": "open",
    "inference GET /v2/health/ready": "open",
    "inference GET /v2/models/{model}": "one predict read",
    "inference GET /v2/models/{model}/versions/{version}": "one predict read",
    "inference GET /v2/models/{model}/ready": "one predict read",
    "inference GET /v2/models/{model}/versions/{version}/ready": "one predict read",
    "inference GET /v2/models/{model}/config": "one predict read",
    "inference GET /v2/models/{model}/versions/{version}/config": "one predict read",
    "inference POST /v2/models/{model}/infer": "one predict",
    "inference POST /v2/models/{model}/versions/{version}/infer": "one predict",
    "inference POST /v2/repository/index": "any operate read",
    "inference POST /v2/repository/models/{model}/load": "one operate",
    "inference POST /v2/repository/models/{model}/unload": "one operate",
    "inference GET /openapi.json": "any operate predict read",
    "console GET /login": "open",
    "console POST /login": "open",
    "console POST /logout": "open",
    "console /static/*": "open",
    "console GET /favicon.ico": "open",
    "console GET /": "any read",
    "console GET /openapi.json": "any read",
    "console GET /api/state": "any read",
    "console GET /api/overview": "any read",
    "console GET /api/models/{model}": "one read",
    "console GET /api/services": "any read",
    "console GET /api/events": "any read",
    "console GET /api/events/{id:path}": "any read",
    "console GET /api/stream": "any read",
    "console GET /api/models/{model}/timeline": "one read",
    "console GET /api/models/{model}/features": "one read",
    "console GET /api/models/{model}/slices": "one read",
    "console GET /api/models/{model}/versions": "one read",
    "console GET /api/models/{model}/versions/{version}": "one read",
    "console GET /api/models/{model}/versions/{a}/diff/{b}": "one read",
    "console GET /api/models/{model}/spec": "one read",
    "console GET /api/models/{model}/spec/history": "one read",
    "console GET /api/models/{model}/why": "one read",
    "console GET /api/runs": "any read",
    "console GET /api/runs/{run}": "any read",
    "console GET /api/models/{model}/costs": "one read",
    "console GET /api/data": "any read",
    "console GET /api/data/quarantine": "any read",
    "console GET /api/data/dead": "any read",
    "console GET /api/data/dead/{seq}": "any read",
    "console POST /api/models/{model}/spec/check": "one operate",
    "console POST /api/models/{model}/spec": "one operate",
    "console POST /api/models/{model}/{command}": "one operate",
    "console POST /api/data/dead/{seq}/{verb}": "any operate",
    "console POST /api/data/quarantine/replay": "any operate",
    "telemetry POST /v1/sql": "all read",
    "telemetry GET /openapi.json": "all read",
    "telemetry GET /docs": "all read",
    "telemetry GET /docs/oauth2-redirect": "all read",
}
"""What was decided about each route. An app with a route that has no rule does not even start."""
PARTICULAR: Final = (
    "GET /api/events/{id:path}",
    "GET /api/runs/{run}",
    "GET /api/data/dead/{seq}",
    "GET /api/data/quarantine",
    "POST /api/data/dead/{seq}/{verb}",
    "POST /api/data/quarantine/replay",
)
"""Routes about one thing, which a token that may not know of its model is told is not there; or
that have to be asked for more than the path says."""
METHODS: Final = {
    "ServerLive": "open",
    "ServerReady": "open",
    "ServerMetadata": "any operate predict read",
    "ModelReady": "one predict read",
    "ModelMetadata": "one predict read",
    "ModelConfig": "one predict read",
    "ModelInfer": "one predict",
    "ModelStreamInfer": "one predict",
    "ModelStatistics": "any operate predict read",
    "RepositoryIndex": "any operate read",
    "RepositoryModelLoad": "one operate",
    "RepositoryModelUnload": "one operate",
}

ROUTES: Final = [
    (door, key, rule)
    for door, rules in DOORS.items()
    for key, rule in {**OPERATIONS, **rules}.items()
]
CLOSED: Final = [(door, key, rule) for door, key, rule in ROUTES if rule.scopes]
IDS: Final = [f"{door} {key}" for door, key, _ in CLOSED]


class System(NamedTuple):
    """The processes by name, their broker, and the headers of some tokens by name."""

    processes: dict[str, Process]
    grpc_port: int
    bus: Bus
    folder: Path
    headers: dict[str, dict[str, str]]

    def url(self, door: str) -> str:
        return self.processes[door].base

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    async def add(self, name: str, *scopes: Any, **more: Any) -> dict[str, str]:
        """Have the registry make a token; its header."""
        token, headers = made(name, *scopes, **more)
        await self.bus.ask(ask("create"), msgspec.msgpack.encode(token))
        self.headers[name] = headers
        return headers

    async def revoke(self, name: str) -> None:
        request = msgspec.msgpack.encode(Revoke(name=name, by="test"))
        await self.bus.ask(ask("revoke"), request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A broker, the services that speak HTTP with tokens required, and a model that answers."""
    folder = tmp_path_factory.mktemp("tokens")
    server = NatsServer(folder / "nats", port=0)
    server.start()
    bus = await Bus.open(server.url, "test", layout=Layout())
    await register(bus, rain_spec())
    await serve_mixed(bus)
    grpc_port = free_port()
    settings = {
        "DRIFTLOOP_TOKENS": "required",
        "DRIFTLOOP_INFERENCE_GRPC_PORT": str(grpc_port),
        "DRIFTLOOP_INFERENCE_MODEL_CONTROL": "true",
        "DRIFTLOOP_TELEMETRY_PATH": str(folder / "clickhouse"),
    }
    started = {name: Process(name, server.url, folder / f"{name}.log", settings) for name in DOORS}
    for process in started.values():
        process.start()
    try:
        await asyncio.gather(*map(_ready, started.values()))
        made_system = System(started, grpc_port, bus, folder, {})
        scopes = ("rows", "labels", "predict", "read", "operate")
        await made_system.add("all", *scopes)
        await made_system.add("none", "labels", models=("nothing",))
        await made_system.add("other", *scopes, models=("other",))
        await made_system.add("slow", *scopes, rate=0.001)
        await made_system.add("small", *scopes, max_bytes=10)
        await _known_everywhere(made_system, "small")
        yield made_system
    finally:
        await asyncio.gather(*(asyncio.to_thread(p.stop) for p in started.values()))
        await bus.close()
        server.stop()


async def _ready(process: Process) -> None:
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(base_url=process.base) as http:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await http.get("/readyz")).status_code == 200:
                    return
            assert process.running, process.command
            assert time.monotonic() < deadline, process.base
            await asyncio.sleep(0.05)


async def _known_everywhere(system: System, name: str) -> None:
    """Wait until every service knows the token."""
    for door in DOORS:
        await _until(system, f"{system.url(door)}/metrics", name, 200)


async def _until(system: System, url: str, name: str, *status: int) -> None:
    deadline = time.monotonic() + SECONDS
    async with httpx.AsyncClient() as http:
        while (await http.get(url, headers=system.headers[name])).status_code not in status:
            assert time.monotonic() < deadline, f"{url}: {name} is not {status}"
            await asyncio.sleep(0.05)


def filled(key: str, model: str = MIXED) -> tuple[str, str]:
    """Method and path of a route, with names in its places."""
    method, path = key.split(" ")
    names = {
        "{model}": model,
        "{version}": "1",
        "{command}": "retrain",
        "{id:path}": f"model.promoted:{model}:run-1",
        "{run}": "run-1",
        "{a}": "1",
        "{b}": "2",
        "{seq}": "1",
        "{verb}": "replay",
    }
    for place, name in names.items():
        path = path.replace(place, name)
    return method, path


async def call(
    system: System, door: str, key: str, name: str = "", model: str = MIXED, body: bytes = b""
) -> httpx.Response:
    """Call a route with the token of this name; of a stream only the head is read."""
    method, path = filled(key, model)
    headers = system.headers.get(name, {})
    async with (
        httpx.AsyncClient(base_url=system.url(door), timeout=SECONDS) as http,
        http.stream(method, path, headers=headers, content=body or None) as response,
    ):
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return response
        await response.aread()
        return response


def as_the_door_says_it(door: str, key: str, response: httpx.Response) -> str:
    """The text of an error; it must have the form that the door gives all its errors."""
    body = response.json()
    if "/v2" in key or (door == "telemetry" and key not in OPERATIONS):
        assert response.headers["content-type"] == "application/json"
        return str(body["error"])
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    return str(body["detail"])


def decided(rule: Rule) -> str:
    return " ".join([rule.models, *sorted(rule.scopes)]) if rule.scopes else "open"


async def test_about_every_route_something_was_decided() -> None:
    own = {f"{door} {key}": decided(r) for door, rules in DOORS.items() for key, r in rules.items()}
    assert {key: decided(rule) for key, rule in OPERATIONS.items()} | own == DECIDED
    assert {name: decided(rule) for name, rule in GRPC.items()} == METHODS
    methods = {name.removesuffix("Request") for name in CLASSES if name.endswith("Request")}
    assert methods - set(METHODS) <= {"ModelInfer"}
    for path in (*INFER, PREDICT):
        assert INFERENCE[f"POST {path}"].scopes == {"predict"}


@pytest.mark.parametrize(("door", "key", "rule"), CLOSED, ids=IDS)
@pytest.mark.fault(45, "no token, or one nobody knows, at every route")
async def test_without_a_good_token_a_route_is_closed(
    system: System, door: str, key: str, rule: Rule
) -> None:
    system.headers["wrong"] = made("wrong", *rule.scopes)[1]
    for name in ("", "wrong"):
        got = await call(system, door, key, name)
        if key == "GET /" and door == "console":
            assert (got.status_code, got.headers["location"]) == (303, "/login")
            continue
        assert got.status_code == 401, got.text
        assert got.headers["www-authenticate"].startswith("Bearer")
        assert "authorization: " in as_the_door_says_it(door, key, got)


@pytest.mark.parametrize(("door", "key", "rule"), CLOSED, ids=IDS)
async def test_a_token_without_the_scope_is_told_which_it_needs(
    system: System, door: str, key: str, rule: Rule
) -> None:
    wanting = {"labels", "predict"} - rule.scopes
    name = f"only-{wanting.pop()}"
    if name not in system.headers:
        await system.add(name, name.removeprefix("only-"))
        for each in DOORS:
            await _until(system, f"{system.url(each)}/metrics", name, 403)
    got = await call(system, door, key, name)
    assert got.status_code == 403, got.text
    assert " or ".join(sorted(rule.scopes)) in as_the_door_says_it(door, key, got)


@pytest.mark.parametrize(("door", "key", "rule"), CLOSED, ids=IDS)
@pytest.mark.fault(45, "a token of another model at every route")
async def test_a_token_of_another_model_learns_nothing(
    system: System, door: str, key: str, rule: Rule
) -> None:
    got = await call(system, door, key, "other")
    if rule.models == "one":
        there, nowhere = [
            as_the_door_says_it(door, key, await call(system, door, key, "other", model))
            for model in (MIXED, "no-such")
        ]
        assert got.status_code == 404
        assert there.replace(MIXED, "no-such") == nowhere
        # A model that the token is for and that does not exist is told in the same words.
        own = await call(system, door, key, "other", "other")
        if own.status_code == 404:
            assert as_the_door_says_it(door, key, own).replace("other", "no-such") == nowhere
    elif rule.models == "all":
        assert got.status_code == 403
        assert "accepted: a token for all" in as_the_door_says_it(door, key, got)
    else:
        particular = key in PARTICULAR
        assert got.status_code in (404, 422) if particular else got.status_code == 200, got.text
        assert MIXED not in got.text if "stream" not in key and not particular else True


@pytest.mark.parametrize(("door", "key", "rule"), CLOSED, ids=IDS)
@pytest.mark.fault(45, "a token over its rate at every route")
async def test_a_token_over_its_rate_is_told_when_to_come_again(
    system: System, door: str, key: str, rule: Rule
) -> None:
    await call(system, door, key, "slow")
    got = await call(system, door, key, "slow")
    assert got.status_code == 429, got.text
    assert 900 <= int(got.headers["retry-after"]) <= 1_001
    assert "rows a second" in as_the_door_says_it(door, key, got)


@pytest.mark.parametrize(
    ("door", "key", "rule"),
    [case for case in CLOSED if "POST" in case[1]],
    ids=[id for id in IDS if "POST" in id],
)
async def test_a_body_over_the_tokens_size_is_refused(
    system: System, door: str, key: str, rule: Rule
) -> None:
    got = await call(system, door, key, "small", body=b"{          }")
    assert got.status_code == 413, got.text
    assert "accepted: at most 10 bytes" in as_the_door_says_it(door, key, got)


@pytest.mark.parametrize(("door", "key", "rule"), CLOSED, ids=IDS)
async def test_a_good_token_comes_in(system: System, door: str, key: str, rule: Rule) -> None:
    got = await call(system, door, key, "all")
    assert got.status_code not in (401, 403, 413, 429), got.text
    if key.endswith("/unload"):
        assert (await call(system, door, key.replace("unload", "load"), "all")).is_success


@pytest.mark.parametrize(
    ("door", "key"),
    [(door, key) for door, key, rule in ROUTES if not rule.scopes and key != "/static/*"],
)
async def test_probes_and_pages_without_data_are_open(system: System, door: str, key: str) -> None:
    got = await call(system, door, key)
    assert got.status_code in ((401,) if key == "POST /login" else (200, 303)), got.text


async def test_static_files_are_open_and_a_reason_is_not_told(system: System) -> None:
    async with httpx.AsyncClient() as http:
        script = await http.get(f"{system.url('console')}/static/app.js")
        assert script.status_code == 200
        ready = f"{system.url('inference')}/readyz"
        assert (await http.get(ready)).json()["reason"] == ""


# gRPC.


def _message(method: str, model: str) -> bytes:
    name = "ModelInfer" if method == "ModelStreamInfer" else method
    if method == "ModelInfer" or name == "ModelInfer":
        filled = CLASSES["ModelInferRequest"]()
    elif f"{name}Request" in CLASSES:
        filled = CLASSES[f"{name}Request"]()
    else:
        return b""
    for field in ("name", "model_name"):
        with contextlib.suppress(AttributeError):
            setattr(filled, field, model)
    return bytes(filled.SerializeToString())


async def ask_grpc(
    system: System, method: str, name: str = "", model: str = MIXED, padding: int = 0
) -> tuple[grpc.StatusCode, str]:
    """Call a method; the status and its text."""
    headers = system.headers.get(name, {})
    metadata = [("authorization", headers["authorization"])] if headers else []
    message = _message(method, model) + padding * b"\x1a\x00"  # an empty id
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.grpc_port}") as channel:
        path = f"/{SERVICE}/{method}"
        try:
            if method == "ModelStreamInfer":
                call = channel.stream_stream(path)(iter([message]), metadata=metadata)
                told = b"".join([part async for part in call])
                return grpc.StatusCode.OK, told.decode("latin-1")
            await channel.unary_unary(path)(message, metadata=metadata, timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


NEEDS: Final = [name for name, what in METHODS.items() if what != "open"]


@pytest.mark.parametrize("method", [n for n in NEEDS if n != "ModelStatistics"])
async def test_grpc_says_the_same_in_its_own_statuses(system: System, method: str) -> None:
    code = grpc.StatusCode
    assert (await ask_grpc(system, method))[0] is code.UNAUTHENTICATED
    status, text = await ask_grpc(system, method, "none")
    assert status is code.PERMISSION_DENIED
    assert " or ".join(sorted(GRPC[method].scopes)) in text
    if GRPC[method].models == "one":
        status, text = await ask_grpc(system, method, "other")
        nowhere = await ask_grpc(system, method, "other", "no-such")
        if method == "ModelStreamInfer":  # a stream has an error for each message
            assert "is not registered" in text
        else:
            assert status is code.NOT_FOUND
        assert text.replace(MIXED, "no-such") == nowhere[1] or method == "ModelStreamInfer"
    await ask_grpc(system, method, "slow")
    status, text = await ask_grpc(system, method, "slow")
    assert "rows a second" in text
    assert status is (code.OK if method == "ModelStreamInfer" else code.RESOURCE_EXHAUSTED)
    good, text = await ask_grpc(system, method, "all")
    if method == "RepositoryModelUnload":
        assert (await ask_grpc(system, "RepositoryModelLoad", "all"))[0] is code.OK
    assert good not in (code.UNAUTHENTICATED, code.PERMISSION_DENIED, code.RESOURCE_EXHAUSTED), text


@pytest.mark.parametrize("method", ["ServerLive", "ServerReady"])
async def test_grpc_probes_are_open(system: System, method: str) -> None:
    assert (await ask_grpc(system, method))[0] is grpc.StatusCode.OK


async def test_a_grpc_message_over_the_tokens_size_is_refused(system: System) -> None:
    status, text = await ask_grpc(system, "ModelInfer", "small", padding=50)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "accepted: at most 10 bytes" in text


async def test_the_usual_grpc_requests_are_checked_as_all_others(system: System) -> None:
    """The second request of a kind takes the short way, which reads no message."""
    asked = CLASSES["ModelInferRequest"](model_name=MIXED)
    asked.inputs.add(name="X", datatype="FP32", shape=[1, 6])
    asked.raw_input_contents.append(np.array([1, 2, 0, 0, 1, 0.5], np.float32).tobytes())
    raw = bytes(asked.SerializeToString())
    await system.add("grpc-rate", "predict", rate=3.0)
    await system.add("grpc-other", "predict", models=("other",))
    url = f"{system.url('inference')}/v2"
    await _until(system, url, "grpc-other", 200)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.grpc_port}") as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")

        async def status(name: str) -> grpc.StatusCode:
            headers = system.headers.get(name, {})
            try:
                await infer(raw, metadata=list(headers.items()))
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        for _ in range(3):
            assert await status("all") is grpc.StatusCode.OK
            assert await status("") is grpc.StatusCode.UNAUTHENTICATED
            assert await status("grpc-other") is grpc.StatusCode.NOT_FOUND
        codes = [await status("grpc-rate") for _ in range(20)]
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    assert codes[0] is grpc.StatusCode.OK


# What a token is worth, over time.


async def test_rows_are_accepted_and_answered_with_a_token_and_counted_by_its_rate(
    system: System,
) -> None:
    await system.add("metered", "rows", "predict", "read", rate=100.0)
    await _known_everywhere(system, "metered")
    rows = json.dumps([rain_row(n) for n in range(300)]).encode()
    headers = system.headers["metered"] | {"content-type": "application/json"}
    async with httpx.AsyncClient(timeout=SECONDS) as http:
        url = f"{system.url('ingest')}/v1/models/rain/rows"
        first = await http.post(url, content=rows, headers=headers)
        assert first.status_code == 202, first.text
        second = await http.post(url, content=rows, headers=headers)
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) >= 1
        asked = json.dumps({"rows": mixed_rows(300)}).encode()
        url = f"{system.url('inference')}/v1/models/{MIXED}/predict"
        assert (await http.post(url, content=asked, headers=headers)).status_code == 200
        assert (await http.post(url, content=asked, headers=headers)).status_code == 429
        everything = (
            await http.get(f"{system.url('inference')}/metrics", headers=system.headers["all"])
        ).text
    assert 'driftloop_access_refused_total{reason="rate",token="metered"}' in everything
    assert 'driftloop_access_refused_total{reason="no_token",token=""}' in everything


async def test_a_revoked_token_is_refused_everywhere_within_seconds_and_its_stream_ends(
    system: System,
) -> None:
    await system.add("gone", "read")
    await _known_everywhere(system, "gone")
    async with (
        httpx.AsyncClient(timeout=SECONDS) as http,
        http.stream(
            "GET", f"{system.url('console')}/api/stream", headers=system.headers["gone"]
        ) as stream,
    ):
        assert stream.status_code == 200
        await system.revoke("gone")
        async with asyncio.timeout(SECONDS):
            async for _ in stream.aiter_bytes():
                pass
    for door in DOORS:
        await _until(system, f"{system.url(door)}/metrics", "gone", 401)


async def test_a_token_expires_by_itself(system: System) -> None:
    await system.add("brief", "read", expires=time.time() + 3)
    url = f"{system.url('ingest')}/metrics"
    await _until(system, url, "brief", 200)
    await _until(system, url, "brief", 401)


async def test_the_console_shows_a_token_the_models_it_is_for(system: System) -> None:
    headers = await system.add("one-model", "read", models=(MIXED,))
    console = system.url("console")
    await _until(system, f"{console}/api/state", "one-model", 200)
    async with httpx.AsyncClient(base_url=console, timeout=SECONDS) as http:

        async def shown(name: str) -> set[str]:
            state = (await http.get("/api/state", headers=system.headers[name])).json()
            return {card["name"] for card in state["cards"]}

        deadline = time.monotonic() + SECONDS
        while not {"rain", MIXED} <= await shown("all"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert await shown("one-model") == {MIXED}
        events = (await http.get("/api/events", headers=headers)).json()["events"]
        assert {event["model"] for event in events} == {MIXED}
        assert (await http.get("/api/events?model=rain", headers=headers)).status_code == 404
        async with (
            asyncio.timeout(SECONDS),
            http.stream("GET", "/api/stream", headers=headers) as stream,
        ):
            kind = ""
            async for line in stream.aiter_lines():
                kind = line[7:] if line.startswith("event: ") else kind
                if line.startswith("data: ") and kind == "cards":
                    assert [m["name"] for m in json.loads(line[6:])["cards"]] == [MIXED]
                    break


async def test_a_person_logs_in_with_a_token_and_gets_a_cookie_no_script_can_read(
    system: System,
) -> None:
    console = system.url("console")
    secret = system.headers["all"]["authorization"].removeprefix("Bearer ")
    async with httpx.AsyncClient(base_url=console) as http:
        assert "A token, please" in (await http.get("/login")).text
        wrong = await http.post("/login", data={"token": "<script>wrong"})
        assert wrong.status_code == 401
        assert "not known" in wrong.text
        assert "<script>" not in wrong.text
        none = system.headers["none"]["authorization"].removeprefix("Bearer ")
        assert (await http.post("/login", data={"token": none})).status_code == 403
        evil = {"origin": "http://evil.example"}
        assert (await http.post("/login", data={"token": secret}, headers=evil)).status_code == 403
        good = await http.post("/login", data={"token": secret})
        assert (good.status_code, good.headers["location"]) == (303, "/")
        said = good.headers["set-cookie"].lower()
        assert "httponly" in said
        assert "samesite=strict" in said
        assert "secure" not in said  # plain HTTP: the browser would not keep it
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/api/state")).status_code == 200
        order = f"/api/models/{MIXED}/retrain"
        why = {"reason": "a test", "by": "somebody else"}
        assert (await http.post(order, json=why, headers=evil)).status_code == 403
        assert (await http.post(order, json=why)).status_code == 403
        own = await http.post(order, json=why, headers={"origin": console})
        # Another test may have begun a run with this token, which is still under way.
        assert own.status_code in (200, 422), own.text
        assert (await http.post("/logout")).status_code == 303
        assert (await http.get("/api/state")).status_code == 401
    audit = await system.bus.log.last("EVENTS", f"events.{MIXED}.operator.requested")
    assert audit is not None
    order_said = audit.event()
    assert isinstance(order_said, OperatorRequested)
    assert order_said.by == "token all"


async def test_the_command_line_makes_shows_and_revokes_tokens(system: System) -> None:
    url = system.bus.connection.url
    wanted = ("--scope", "predict", "--scope", "read", "--model", "*", "--rate", "5")
    code, out, err = await driftloop(
        url, "token", "create", "by-hand", *wanted, "--max-bytes", "1000", "--expires", "1h"
    )
    assert code == 0, err
    secret = out.strip()
    assert re.fullmatch(r"dlt_[0-9a-f]{12}_[\w-]{43}", secret)
    system.headers["by-hand"] = {"authorization": f"Bearer {secret}"}
    await _until(system, f"{system.url('inference')}/v2", "by-hand", 200)
    code, out, err = await driftloop(url, "token", "list", "--json")
    [found] = [token for token in json.loads(out) if token["name"] == "by-hand"]
    assert (found["scopes"], found["models"], found["live"]) == (["predict", "read"], ["*"], True)
    assert (found["rate"], found["max_bytes"]) == (5.0, 1_000)
    assert 0 < found["expires"] - time.time() <= 3_600
    assert secret not in out
    code, out, err = await driftloop(url, "token", "create", "by-hand", *wanted)
    assert (code, "is the name of a live token" in err) == (2, True)
    code, _, err = await driftloop(url, "token", "create", "x", "--scope", "all", "--model", "*")
    assert (code, "--scope: 'all' is no scope" in err) == (2, True)
    assert (await driftloop(url, "token", "revoke", "by-hand"))[0] == 0
    await _until(system, f"{system.url('inference')}/v2", "by-hand", 401)
    _, out, _ = await driftloop(url, "token", "list")
    assert re.search(r"by-hand .* revoked \d{4}-", out)


async def test_no_secret_is_in_a_log_the_bucket_or_a_list(system: System) -> None:
    async with httpx.AsyncClient() as http:  # an error with a token in hand
        await http.post(
            f"{system.url('telemetry')}/v1/sql",
            json={"sql": "SELECT nonsense("},
            headers=system.headers["all"],
        )
    secrets = [h["authorization"].split("_", 2)[2] for h in system.headers.values()]
    kept = b"".join([message.payload for _, message in await system.bus.tokens.newest()])
    told = (await system.bus.ask(ask("list"))).payload
    listed = msgspec.msgpack.decode(told, type=TokenList).tokens
    assert {token.name for token in listed} >= {"all", "gone", "by-hand"}
    assert {token.sha256 for token in listed} == {""}
    stored = kept + told
    for path in (system.folder / "nats").rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # NATS renames files
            stored += path.read_bytes()
    text = system.logs()
    for secret in secrets:
        assert secret not in text
        assert secret.encode() not in stored


async def test_the_registry_refuses_what_is_no_token(system: System) -> None:
    token, _ = made("bad", "read")
    bad: list[Any] = [b"\xc1", msgspec.msgpack.encode({"name": "bad"})]
    bad.append(msgspec.msgpack.encode(msgspec.structs.replace(token, scopes=("everything",))))
    for payload in bad:
        with pytest.raises(Exception, match=r"token: .*accepted: a MessagePack Token"):
            await system.bus.ask(ask("create"), payload)
    again = msgspec.msgpack.encode(token)
    for _ in range(2):  # a request that is sent twice has one effect
        reply = await system.bus.ask(ask("create"), again)
        assert msgspec.msgpack.decode(reply.payload, type=Done).text == "token bad is made"
    assert isinstance((await system.bus.tokens.read("bad")).value, Token)
