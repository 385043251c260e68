"""What is asked beyond the bounds of the service is refused at once, and nothing else suffers."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.inference.core import intake
from driftloop.local.bench.bodies import NAMES
from driftloop.local.bench.stress import faulty
from driftloop.local.nats import NatsServer
from driftloop.runtime import metrics
from tests.support.serving import DEADLINE, Running, decide, note_put_off, register, running
from tests.support.tiny_models import manifest, spec, state

MODEL = "slow"
INFER = f"/v2/models/{MODEL}/infer"
QUEUE_ROWS = 64
ROWS = 8
"""Of each request of a burst; of these a queue takes eight."""
USUAL_TURNS = 400
"""A millisecond or two: longer than what is run in the event loop itself."""
SLOW_TURNS = 40_000
"""A hundred times as long, where the first feature of every row is negative."""


@cache
def slow_model() -> bytes:
    """Answers [p, 1 - p], p the sigmoid of the first feature."""
    return faulty.slow(SLOW_TURNS, USUAL_TURNS)


@pytest.fixture
async def registered(bus: Bus) -> Bus:
    """The slow model as champion."""
    await register(bus, spec(MODEL, NAMES))
    await Artifacts(bus).put(slow_model())
    await decide(bus, state(1, manifest(1, slow_model(), model=MODEL, features=NAMES)))
    return bus


@pytest.fixture
async def service(registered: Bus, nats_server: NatsServer) -> AsyncIterator[Running]:
    """The service with a queue of few rows."""
    async with running(nats_server.url, queue_rows=QUEUE_ROWS, model_operators="Loop") as made:
        yield made


def body(*firsts: float) -> dict[str, Any]:
    """A request of rows with these first features."""
    data = [first if at == 0 else 0.0 for first in firsts for at in range(len(NAMES))]
    shape = [len(firsts), len(NAMES)]
    return {"inputs": [{"name": "X", "shape": shape, "datatype": "FP32", "data": data}]}


async def infer(http: httpx.AsyncClient, *firsts: float, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post(INFER, json=body(*firsts), headers=named)


def check_right(answer: httpx.Response, *firsts: float) -> None:
    """The probabilities are those of these rows."""
    assert answer.status_code == 200, answer.text
    p = 1 / (1 + np.exp(-np.array(firsts)))
    found = np.array(answer.json()["outputs"][-1]["data"]).reshape(-1, 2)
    np.testing.assert_allclose(found, np.stack([p, 1 - p], axis=1), atol=1e-5)


def check_refused(answer: httpx.Response) -> None:
    """It says when to come again, and why."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "rows wait" in answer.json()["error"]


async def burst(http: httpx.AsyncClient, count: int = 40) -> tuple[int, int]:
    """Ask for slow runs at once: each is answered rightly, or refused; how many of both."""
    asked = [[-1.0 - at / count] * ROWS for at in range(count)]
    answers = await asyncio.gather(*(infer(http, *firsts) for firsts in asked))
    good = 0
    for firsts, answer in zip(asked, answers, strict=True):
        if answer.status_code == 200:
            check_right(answer, *firsts)
            good += 1
        else:
            check_refused(answer)
    return good, count - good


async def slow_run(http: httpx.AsyncClient, first: float = -1.0) -> "asyncio.Task[httpx.Response]":
    """A slow run that is under way when this returns."""
    task = asyncio.create_task(infer(http, first))
    await asyncio.sleep(0)
    # It takes more turns of the same event loop than it takes to begin the run.
    assert (await http.get("/v2/health/live")).status_code == 200
    return task


async def test_a_burst_is_answered_rightly_or_refused_with_the_time_to_come_again(
    service: Running,
) -> None:
    runs = metrics.values()["driftloop_predict_runs_total"]
    good, refused = await burst(service.http)
    assert good > 0
    assert refused > 0
    runs = metrics.values()["driftloop_predict_runs_total"] - runs
    assert good * ROWS <= runs * QUEUE_ROWS, "a run took more rows than may wait for it"


async def test_each_refusal_is_counted(service: Running) -> None:
    name = "driftloop_predict_requests_total{outcome=Overloaded}"
    before = metrics.values().get(name, 0.0)
    _, refused = await burst(service.http)
    assert refused > 0
    assert metrics.values().get(name, 0.0) - before == refused


async def test_it_answers_as_before_right_after_a_burst(service: Running) -> None:
    for _ in range(3):
        assert (await burst(service.http))[1] > 0
        for first in (0.5, -0.5, 2.0):
            check_right(await infer(service.http, first), first)


async def test_a_queue_is_bounded_by_the_time_it_takes_too(
    registered: Bus, nats_server: NatsServer
) -> None:
    async with running(nats_server.url, queue_ms=5.0, model_operators="Loop") as service:
        # By this run the service knows how long a row takes: longer than any may wait.
        check_right(await infer(service.http, -1.0), -1.0)
        good, refused = await burst(service.http)
        assert good > 0
        assert refused > 0
        check_right(await infer(service.http, 1.0), 1.0)


async def test_a_request_with_more_rows_than_may_ever_wait_is_no_overload(
    service: Running,
) -> None:
    answer = await infer(service.http, *[1.0] * (QUEUE_ROWS + 1))
    assert answer.status_code == 400
    assert answer.json()["error"] == "rows: 65 in one request; accepted: at most 64"
    check_right(await infer(service.http, *[1.0] * QUEUE_ROWS), *[1.0] * QUEUE_ROWS)


async def test_large_bodies_that_take_turns_are_answered_rightly_and_bad_ones_refused_alone(
    registered: Bus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SECONDS", 0.0)  # all wait for a turn of their own
    put_off = note_put_off(monkeypatch)
    async with running(nats_server.url, queue_ms=60_000.0, model_operators="Loop") as service:
        check_right(await infer(service.http, 1.0), 1.0)
        asked = [[0.01 * at] * 400 for at in range(12)]
        good = [infer(service.http, *firsts) for firsts in asked]
        rows = [{**dict.fromkeys(NAMES, 0.0), NAMES[0]: 0.5} for _ in range(400)]
        plain = service.http.post(f"/v1/models/{MODEL}/predict", json={"rows": rows})
        broken = body(*[1.0] * 400)
        broken["inputs"][0]["data"][7] = "seven"
        bad = service.http.post(INFER, json=broken)
        last = {**rows[0], NAMES[1]: "seven"}
        worse = service.http.post(f"/v1/models/{MODEL}/predict", json={"rows": [*rows, last]})
        *answers, of_rows, of_bad, of_worse = await asyncio.gather(*good, plain, bad, worse)
        for firsts, answer in zip(asked, answers, strict=True):
            check_right(answer, *firsts)
        assert of_rows.status_code == 200, of_rows.text
        assert len(of_rows.json()["predictions"]) == 400
        assert (of_bad.status_code, "seven" in of_bad.text) == (400, True)
        assert (of_worse.status_code, "seven" in of_worse.text) == (422, True)
        assert put_off, "none has waited for its turn"


async def test_a_deadline_that_passes_in_the_queue_is_a_504_and_costs_no_run(
    service: Running,
) -> None:
    first = await slow_run(service.http)
    late = asyncio.create_task(infer(service.http, 1.0, request_timeout="0.001"))
    patient = asyncio.create_task(infer(service.http, 2.0, request_timeout="60"))
    answer = await late
    assert answer.status_code == 504
    assert "deadline" in answer.json()["error"]
    check_right(await first, -1.0)
    check_right(await patient, 2.0)


@pytest.mark.parametrize("told", ["0", "-1", "soon", "nan"])
async def test_a_deadline_that_is_no_time_is_refused(service: Running, told: str) -> None:
    answer = await infer(service.http, 1.0, request_timeout=told)
    assert answer.status_code == 400
    assert f"request-timeout: '{told}'" in answer.json()["error"]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    """One request over a connection: status, and the head and body of the answer."""
    sent = json.dumps(body(1.0)).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(sent)}\r\n\r\n"
    writer.write(head.encode() + sent)
    return await answered(reader)


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(DEADLINE):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(head[9:12]), head.lower() + await reader.readexactly(size)


async def test_connections_over_the_limit_are_told_so_and_closed_and_the_others_go_on(
    registered: Bus, nats_server: NatsServer
) -> None:
    async with running(nats_server.url, connections=3, model_operators="Loop") as service:
        lines = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(3)]
        for line in lines:
            assert (await ask(*line))[0] == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        status, said = await answered(reader)
        assert status == 503
        assert b"retry-after: 1\r\n" in said
        assert b"3 connections are open" in said
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b"", "a refused connection stays open"
        writer.close()
        for line in lines:
            assert (await ask(*line))[0] == 200
        for _, opened in lines:
            opened.close()
            await opened.wait_closed()
        await comes_back(service.port)


async def comes_back(port: int) -> None:
    """The places of closed connections are free again."""
    async with asyncio.timeout(DEADLINE):
        while True:
            line = await asyncio.open_connection("127.0.0.1", port)
            status, _ = await ask(*line)
            line[1].close()
            if status == 200:
                return
            await asyncio.sleep(0.01)
