"""NATS away for long, and a ClickHouse that is slow: nothing spins, nothing grows."""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.client.client import Client
from driftloop.contracts import subjects
from driftloop.local.nats import NatsServer
from driftloop.telemetry.domain import rows as tables
from tests.support.crashes import Fault, Faulty
from tests.support.faults import Record
from tests.support.flows import Process, eventually, rain_row, rain_spec, register
from tests.support.ledger import compared, in_log
from tests.support.rig import until
from tests.support.scored import scored_batch
from tests.support.serving import decide
from tests.support.telemetry import all_kept, ask
from tests.support.tiny_models import classifier, manifest, state
from tests.support.tiny_models import spec as flights_spec

SERVICES = ("ingest", "validation", "inference", "feedback", "drift", "registry", "trainer")
MOST_CPU = 0.25
"""Share of a core a service may use on average while it waits for its broker."""
LOOP_SECONDS = 0.1
TOO_LONG = 65.0
"""Seconds after which ingest has told whoever still waits that the log does not answer."""
ROW = {"a": 0.1, "b": 0.2, "c": 0.3}
SLOW_SECONDS = 2.0
BUFFER_MB = 1
LIMIT_MB = 700 + 4 * BUFFER_MB
"""Of telemetry, as docs/how-to/durability.md says."""


@pytest.mark.fault(14, "NATS is away; CPU, event loop and readiness of seven services")
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_without_a_broker_nothing_spins_and_everybody_says_so(
    bus: Bus,
    nats_server: NatsServer,
    tmp_path: Path,
    record: Record,
    request: pytest.FixtureRequest,
) -> None:
    away = float(request.config.getoption("--away-seconds"))
    await register(bus, rain_spec())
    await register(bus, flights_spec())
    model = classifier()
    await Artifacts(bus).put(model.onnx)
    await decide(bus, state(1, manifest(1, model.onnx)))
    settings = {"DRIFTLOOP_INFERENCE_GRPC_PORT": "-1"}
    with contextlib.ExitStack() as stack:
        services = {
            name: Process(name, nats_server.url, tmp_path / f"{name}.log", settings)
            for name in SERVICES
        }
        for one in services.values():
            one.start()
            stack.callback(one.stop)
        for one in services.values():
            await asyncio.to_thread(one.wait)
        async with httpx.AsyncClient(timeout=10.0) as http:
            rows = [rain_row(n) for n in range(100)]
            answer = await http.post(f"{services['ingest'].base}/v1/models/rain/rows", json=rows)
            assert answer.status_code == 202
            assert await predicted(http, services["inference"]) == "200", "it is loaded now"
            nats_server.kill()
            for one in services.values():
                await until(partial(unready, http, one), "who has no broker is not ready")
            before = cpu(services)
            began, lags, told = time.monotonic(), list[float](), Counter[str]()
            sending = asyncio.create_task(
                http.post(
                    f"{services['ingest'].base}/v1/models/rain/rows",
                    json=[rain_row(200)],
                    timeout=90.0,
                )
            )
            while time.monotonic() - began < away:
                for one in services.values():
                    asked = time.perf_counter()
                    assert (await http.get(f"{one.base}/healthz")).status_code == 200
                    lags.append(time.perf_counter() - asked)
                told[await predicted(http, services["inference"])] += 1
                await asyncio.sleep(0.25)
            used = {
                name: (now - before[name]) / (time.monotonic() - began)
                for name, now in cpu(services).items()
            }
            assert away < TOO_LONG or sending.done()
            nats_server.start()
            back = time.monotonic()
            for one in services.values():
                await until(partial(ready, http, one), "who has a broker again is ready")
            seconds = time.monotonic() - back
            taken = (await sending).status_code
        async with Client(nats_server.url) as client:
            await client.send_rows("rain", [rain_row(n) for n in range(100, 200)])
        await eventually(partial(checked, bus, 200), "all rows are checked")
    assert taken in (202, 503)
    assert set(told) == {"200"}, told
    assert {name: share for name, share in used.items() if share > MOST_CPU} == {}
    assert statistics.median(lags) < LOOP_SECONDS
    received = await in_log(bus, "ROWS", subjects.rows("rain", "received", "*"))
    books = compared(received, [f"e{n}" for n in range(200 + (taken == 202))])
    books.require()
    record(rows=201, seconds=seconds, **books.counts)


async def predicted(http: httpx.AsyncClient, one: Process) -> str:
    """The status of a prediction, and what was wrong with it."""
    answer = await http.post(f"{one.base}/v1/models/flights/predict", json={"rows": [ROW]})
    return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"


def cpu(services: dict[str, Process]) -> dict[str, float]:
    """CPU seconds of each service, its children's included."""
    found: dict[str, float] = {}
    for name, one in services.items():
        parent = psutil.Process(one.pid)
        found[name] = sum(sum(p.cpu_times()[:2]) for p in (parent, *parent.children(True)))
    return found


async def unready(http: httpx.AsyncClient, one: Process) -> bool:
    answer = await http.get(f"{one.base}/readyz")
    return answer.status_code == 503 and "not connected to NATS" in answer.text


async def ready(http: httpx.AsyncClient, one: Process) -> bool:
    return (await http.get(f"{one.base}/readyz")).status_code == 200


async def checked(bus: Bus, rows: int) -> bool:
    return len(await in_log(bus, "ROWS", subjects.rows("rain", "valid", "*"))) >= rows


@pytest.mark.fault(17, "each insert into ClickHouse takes 2 s longer")
@pytest.mark.slow
async def test_a_slow_clickhouse_gets_larger_inserts_and_memory_is_bounded(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    count, rows = 240, 1_000  # many times what may wait
    fault = Fault(
        at="driftloop.telemetry.engine:Engine.insert", saying="'scored'", seconds=SLOW_SECONDS
    )
    settings = {
        "DRIFTLOOP_TELEMETRY_PATH": str(tmp_path / "clickhouse"),
        "DRIFTLOOP_TELEMETRY_FLUSH_SECONDS": "0.1",
        "DRIFTLOOP_TELEMETRY_BUFFER_MB": str(BUFFER_MB),
    }
    log = tmp_path / "telemetry.log"
    service = Faulty("telemetry", nats_server.url, log, fault, settings)
    service.start()
    try:
        service.wait()
        sending = asyncio.create_task(say(bus, count, rows))
        waiting, sizes = 0.0, list[int]()
        async with httpx.AsyncClient() as http:
            while not sending.done() or await bus.log.lag("SCORED", "telemetry-scored"):
                now = await metrics_of(http, service)
                waiting = max(waiting, now.get("driftloop_telemetry_waiting_bytes", 0.0))
                sizes.append(psutil.Process(service.pid).memory_info().rss)
                await asyncio.sleep(0.1)
            last = await metrics_of(http, service)
        await sending
        began = time.monotonic()
        await all_kept(bus)
        (found,) = await ask(
            bus, "SELECT count() AS n, uniqExact(event_id) AS ids FROM scored FINAL"
        )
        seconds = time.monotonic() - began
    finally:
        service.stop()
    inserts = last["driftloop_telemetry_inserts_total"]
    assert inserts < count / 4, "rows waited for each other"
    message = tables.scored("flights", 1, scored_batch(rows, shadows=[2]))[1].nbytes
    most = (BUFFER_MB << 20) + 64 * message  # a group of messages is written at once
    assert 0 < waiting <= most < count * message / 2
    assert max(sizes) <= LIMIT_MB << 20
    assert (int(found["n"]), int(found["ids"])) == (count * rows, count * rows)
    record(injections=int(inserts), rows=count * rows, lost=0, doubled=0, seconds=seconds)


async def say(bus: Bus, count: int, rows: int) -> None:
    for at in range(count):
        subject = subjects.scored("flights")
        batch = scored_batch(rows, rows * at, shadows=[2])
        message = batch_message(subject, batch, kind="x", source="test", msg_id=f"{at}")
        await bus.publish([message])


async def metrics_of(http: httpx.AsyncClient, one: Process) -> dict[str, float]:
    """Metrics of telemetry about the scored rows, and those without a label."""
    text = (await http.get(f"{one.base}/metrics")).text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("table", "scored") == "scored"
    }
