import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.bus.provision import Layout
from driftloop.contracts import batches, codec, subjects
from driftloop.contracts.stats import ServiceStats
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.local.system import System
from driftloop.modelspec.spec import Registered
from driftloop.runtime.settings import environment_of_child
from tests.support.tiny_models import classifier, manifest, rows, spec, state

DEADLINE = 30.0
BODY = json.dumps({"inputs": rows(4).tolist()}).encode()
PREDICT = (
    b"POST /v1/models/flights/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


class Serving:
    """`inference` with several workers, as a process of its own."""

    def __init__(self, nats: str, log: Path, workers: int = 2) -> None:
        self.port, self.grpc = free_port(), free_port()
        self._log = log
        self._environment = {
            "DRIFTLOOP_NATS_URL": nats,
            "DRIFTLOOP_PORT": str(self.port),
            "DRIFTLOOP_STATS_SECONDS": "0.2",
            "DRIFTLOOP_INFERENCE_GRPC_PORT": str(self.grpc),
            "DRIFTLOOP_INFERENCE_WORKERS": str(workers),
        }

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "driftloop.inference"],
                env=environment_of_child(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        return self.process

    def others(self) -> list[psutil.Process]:
        """Its workers but the first; they have the same command."""
        first = psutil.Process(self.process.pid)
        return [child for child in first.children() if child.cmdline() == first.cmdline()]

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    async def reason(self) -> str | None:
        """Why it is not ready; None if nobody answers."""
        with contextlib.suppress(httpx.TransportError):
            return str((await self.get("/readyz")).json()["reason"])
        return None

    async def ready(self) -> None:
        async def good() -> bool:
            assert self.process.poll() is None, self.said()
            return await self.reason() == ""

        await until(good, self.said)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as http:
            return await http.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    async def metrics(self) -> dict[str, float]:
        """All values, `name{label=value}` to number."""
        text = (await self.get("/metrics")).text
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}"] = sample.value
        return found


class Caller:
    """Sends one request after the other over one connection, and connects again when it breaks."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.broken = 0
        self.refused = 0
        self.halves = 0
        self.on = True
        self._port = port
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def once(self) -> None:
        """One request, on the connection there is."""
        self._line = self._line or await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._line
        writer.write(PREDICT)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        try:
            await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.halves += 1
            raise
        self.answers += 1
        if b"connection: close" in head.lower():
            self.close()

    async def run(self) -> None:
        """Requests until `on` is false."""
        while self.on:
            try:
                await self.once()
            except ConnectionRefusedError:
                self.refused += 1
                return
            except (asyncio.IncompleteReadError, ConnectionError):
                self.broken += 1
                self.close()
        self.close()

    def close(self) -> None:
        if self._line is not None:
            self._line[1].close()
        self._line = None


@contextlib.asynccontextmanager
async def calling(port: int, count: int) -> AsyncIterator[list[Caller]]:
    """Callers that go on for the block."""
    callers = [Caller(port) for _ in range(count)]
    tasks = [asyncio.create_task(caller.run()) for caller in callers]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.on = False
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*tasks)


async def until(true: Callable[[], Awaitable[bool]], what: Callable[[], Any]) -> None:
    try:
        async with asyncio.timeout(DEADLINE):
            while not await true():  # noqa: ASYNC110  # another process has no event for us
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what()) from None


async def more(callers: list[Caller], answers: int) -> None:
    """Wait until each caller has so many answers more."""
    goals = [(caller, caller.answers + answers) for caller in callers]

    async def reached() -> bool:
        return all(caller.answers >= goal for caller, goal in goals)

    await until(reached, lambda: [(caller.answers, caller.broken) for caller in callers])


async def publish_model(nats: str) -> None:
    """A registered model `flights` and its champion, as trainer and registry leave them."""
    model = classifier()
    bus = await Bus.open(nats, "test", layout=Layout())
    await bus.specs.write("flights", Registered(spec=spec(), revision=1, by="t", at=0.0), 0)
    await Artifacts(bus).put(model.onnx)
    await bus.models.write("flights", state(1, manifest(1, model.onnx)), 0)
    await bus.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One for all tests, since services take seconds to start."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def started(broker: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Two workers that answer for the model `flights`."""
    asyncio.run(publish_model(broker.url))
    made = Serving(broker.url, tmp_path_factory.mktemp("log") / "inference.log")
    made.start()
    yield made
    made.end()


@pytest.fixture
async def serving(started: Serving) -> Serving:
    """The two workers, ready; started again if a test has ended them."""
    if started.process.poll() is not None:
        started.start()
    await started.ready()
    return started


@pytest.fixture
async def bus(broker: NatsServer) -> AsyncIterator[Bus]:
    """A bus of the same broker."""
    made = await Bus.open(broker.url, "test")
    yield made
    await made.close()


ANSWERED = "driftloop_predict_requests_total{outcome=answered}"
RESTARTS = "driftloop_worker_restarts_total{worker=1}"


async def test_all_workers_answer_and_the_sums_are_exact_whoever_is_asked(
    serving: Serving,
) -> None:
    before = Counter(await serving.metrics())
    async with calling(serving.port, 24) as callers:
        await more(callers, 5)
        values = await serving.metrics()
        connections = [values[f"driftloop_http_connections{{worker={n}}}"] for n in (0, 1)]
        assert min(connections) > 0
        assert sum(connections) == 25  # the one that asks is one of them
    answers = sum(caller.answers for caller in callers)
    assert sum(caller.broken for caller in callers) == 0

    for values in [await serving.metrics() for _ in range(8)]:  # each over its own connection
        counted = {name: value - before[name] for name, value in values.items()}
        assert counted[ANSWERED] == answers
        assert counted["driftloop_predict_rows_total{model=flights}"] == answers * 4
        assert counted["driftloop_predict_seconds_count{stage=total}"] == answers
        assert counted["driftloop_predict_seconds_bucket{le=+Inf,stage=total}"] == answers


async def test_every_worker_listens_on_both_ports(serving: Serving) -> None:
    for process in (psutil.Process(serving.process.pid), *serving.others()):
        listening = {
            line.laddr.port for line in process.net_connections() if line.status == "LISTEN"
        }
        assert {serving.port, serving.grpc} <= listening
    assert len(serving.others()) == 1


async def test_the_measurement_of_the_service_is_that_of_all_workers(
    serving: Serving, bus: Bus
) -> None:
    async with calling(serving.port, 24) as callers:
        await more(callers, 2)
    answers = (await serving.metrics())[ANSWERED]
    last: list[ServiceStats] = []

    async def told() -> bool:
        message = await bus.log.last("STATS", "stats.service.inference")
        if message is None:
            return False
        stat = codec.decode_stat(message.payload)
        assert isinstance(stat, ServiceStats)
        assert stat.pid == serving.process.pid
        last[:] = [stat]
        return stat.counters.get(ANSWERED) == answers

    await until(told, lambda: (answers, last))
    resident = [psutil.Process(serving.process.pid), *serving.others()]
    each = [process.memory_info().rss for process in resident]
    assert last[0].rss_bytes > 0.8 * sum(each)
    assert last[0].ready


async def test_a_worker_that_is_killed_breaks_its_own_connections_and_comes_back(
    serving: Serving,
) -> None:
    restarts = (await serving.metrics()).get(RESTARTS, 0)
    async with calling(serving.port, 24) as callers:
        await more(callers, 5)
        values = await serving.metrics()
        held = values["driftloop_http_connections{worker=1}"]
        (victim,) = serving.others()
        victim.kill()
        await more(callers, 20)
        await serving.ready()
        (successor,) = serving.others()
        assert successor.pid != victim.pid
        await more(callers, 5)
    broken = [caller.broken for caller in callers]
    assert 0 < sum(map(bool, broken)) <= held
    assert min(broken) == 0
    assert sum(caller.refused for caller in callers) == 0
    assert (await serving.metrics())[RESTARTS] == restarts + 1


async def test_what_a_worker_that_stopped_in_order_had_counted_stays_in_the_sums(
    serving: Serving,
) -> None:
    before = Counter(await serving.metrics())
    async with calling(serving.port, 24) as callers:
        await more(callers, 5)
    (leaver,) = serving.others()
    leaver.terminate()

    async def restarted() -> bool:
        return (await serving.metrics()).get(RESTARTS) == before[RESTARTS] + 1

    await until(restarted, serving.said)
    answers = sum(caller.answers for caller in callers)
    assert (await serving.metrics())[ANSWERED] == before[ANSWERED] + answers


async def test_sigterm_drains_all_workers(serving: Serving) -> None:
    processes = [psutil.Process(serving.process.pid), *serving.others()]
    before = serving.said().count("stopped")
    async with calling(serving.port, 24) as callers:
        await more(callers, 5)
        serving.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(serving.process.wait, DEADLINE)
    assert code == 0, serving.said()
    assert sum(caller.halves for caller in callers) == 0
    assert psutil.wait_procs(processes, timeout=0)[1] == []
    assert serving.said().count("stopped") == before + 2
    with socket.create_server(("127.0.0.1", serving.port)):
        """Nobody listens any more."""


async def test_the_death_of_worker_0_ends_all_and_it_can_be_started_again_at_once(
    serving: Serving,
) -> None:
    others = serving.others()
    serving.process.kill()
    serving.process.wait()
    serving.start()
    await serving.ready()
    _, alive = await asyncio.to_thread(psutil.wait_procs, others, DEADLINE)
    assert alive == []


async def test_the_stream_is_scored_once_by_all_workers_together(
    serving: Serving, bus: Bus
) -> None:
    messages = []
    for number in range(60):
        ids = [f"r{number}-{row}" for row in range(5)]
        times = pa.array(np.arange(5), pa.int64()).cast(batches.EVENT_TIME.type)
        keys, matrix = pa.nulls(5, pa.string()), batches.matrix_column(rows(5, number))
        schema = batches.valid_schema(3)
        batch = pa.RecordBatch.from_arrays([pa.array(ids), times, keys, matrix], schema=schema)
        subject, msg_id = subjects.rows("flights", "valid"), f"rows.valid:flights:{number}"
        message = batch_message(subject, batch, kind="rows.valid", source="t", msg_id=msg_id)
        messages.append(message)
    follow = bus.follow("SCORED", (subjects.scored("flights"),), 1)
    await bus.publish(messages)

    async def scored() -> bool:
        values = await serving.metrics()
        return values.get("driftloop_scored_rows_total{model=flights}", 0) >= 300

    await until(scored, serving.said)
    found: list[str] = []
    async with asyncio.timeout(DEADLINE):
        while len(set(found)) < 300:
            for delivered in await follow.read():
                ids = delivered.batch().column("event_id").to_pylist()
                found += [event_id for event_id in ids if event_id.startswith("r")]
    await follow.close()
    assert len(found) == 300
    assert (await serving.metrics())["driftloop_scored_rows_total{model=flights}"] == 300


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Somebody else who is willing to share a port."""
    with socket.create_server(("127.0.0.1", free_port()), reuse_port=True) as made:
        yield made


@pytest.mark.parametrize("which", ["port", "grpc"])
async def test_a_port_of_somebody_else_is_not_shared_and_told_once(
    broker: NatsServer, tmp_path: Path, stranger: socket.socket, which: str
) -> None:
    taken = stranger.getsockname()[1]
    made = Serving(broker.url, tmp_path / "inference.log")
    variable = {"port": "DRIFTLOOP_PORT", "grpc": "DRIFTLOOP_INFERENCE_GRPC_PORT"}[which]
    made._environment[variable] = str(taken)
    made.start()
    try:
        assert await asyncio.to_thread(made.process.wait, DEADLINE) == 1
    finally:
        made.end()
    assert made.said().count(f"cannot listen on 127.0.0.1:{taken}: Address already in use") == 1
    assert len(made.said().splitlines()) == 1


async def test_up_passes_the_users_variables_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_WORKERS", "2")
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_GRPC_PORT", str(free_port()))
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_PORT", "1")
    system = System(tmp_path, base_port=0, nats_port=0, services=("inference",))
    try:
        await system.start()
        child = system.children["inference"].process
        assert child is not None
        assert len(psutil.Process(child.pid).children()) == 1
        address, port = system.grpc.split(":")
        _, writer = await asyncio.open_connection(address, int(port))
        writer.close()
    finally:
        await system.stop()


async def test_up_names_a_misspelt_variable_before_anything_starts(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "driftloop.cli", "up", "--data", str(tmp_path / "data")),
        stdin=subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DRIFTLOOP_INFERENCE_WORKER": "2"},
    )
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert b"DRIFTLOOP_INFERENCE_WORKER: '2' is not a setting" in b" ".join(said.split())
    assert not (tmp_path / "data").exists()
