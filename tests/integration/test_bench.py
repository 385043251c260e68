import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import psutil
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.requests import Reply, Request
from driftloop.contracts.errors import Reject
from driftloop.local.bench import bodies, job, processes
from driftloop.local.bench.job import Job
from driftloop.local.bench.models import Fitted, fitted
from driftloop.local.bench.targets import peer
from driftloop.local.bench.wire import METHOD
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.runtime.settings import environment_of_child
from tests.support.processes import COMMAND, driftloop

DEADLINE = 30.0
NOWHERE = "nats://127.0.0.1:1"
SHORT = ("--repeats", "1", "--seconds", "0.5", "--warm", "0", "--retries", "0")

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="the load generator wrk is not on the PATH"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model is kept, fitted once for all tests."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def model(folder: Path) -> Fitted:
    return fitted("logreg", folder)


async def bench(folder: Path, *arguments: str) -> tuple[int, Any, str]:
    """Exit code, the results by workload and server, and what was said on the way."""
    code, out, err = await driftloop(
        NOWHERE, "bench", "serve", "--json", "--data", folder, *SHORT, *arguments
    )
    results = json.loads(out)["results"] if out else []
    lines = {
        (result["workload"]["name"], line["target"]): line
        for result in results
        for line in result["lines"]
    }
    return code, lines, err


@needs_wrk
async def test_a_short_run_fills_the_table(folder: Path, model: Fitted) -> None:
    only = ("--only", "naive,ceiling")
    command = ("bench", "serve", "--data", folder, *SHORT, "--workload", "w1", *only)
    code, out, err = await driftloop(NOWHERE, *command)
    assert code == 0, err
    title, head, *rows = out.splitlines()
    assert title == "w1: HTTP, JSON, one row a request, 32 connections"
    assert head.split()[:4] == ["server", "requests/s", "rows/s", "ratio"]
    cells = {row.split()[0]: row.split() for row in rows if row.strip()}
    assert list(cells) == ["naive", "ceiling"]
    assert (cells["naive"][3], cells["naive"][9]) == ("1.00", "yes")
    assert cells["ceiling"][9] == "constant"
    assert float(cells["ceiling"][3]) > 1.0, "a constant answer was slower than a model's"
    assert "w1: repeat 1 of 1, ceiling" in err


async def test_low_cold_and_grpc_measure_what_they_are_for(folder: Path, model: Fitted) -> None:
    code, lines, err = await bench(folder, "--workload", "low,cold,grpc", "--only", "naive,ceiling")
    assert code == 0, err
    low = lines["low", "naive"]
    assert low["verified"] == "yes"
    assert 190 < low["median"]["requests_per_s"] < 210
    assert low["median"]["errors"] == 0
    assert lines["low", "ceiling"]["ratio"] == 1.0
    cold = lines["cold", "naive"]
    assert cold["median"]["first_answer_s"] > lines["cold", "ceiling"]["median"]["first_answer_s"]
    assert cold["median"]["rss_mb"] > 20
    assert lines["grpc", "ceiling"]["median"]["requests_per_s"] > 0


async def test_the_inference_service_answers_rightly_over_nats(folder: Path, model: Fitted) -> None:
    code, lines, err = await bench(folder, "--workload", "nats")
    assert code == 0, err
    verified = {server: line["verified"] for (_, server), line in lines.items()}
    assert verified == {"ours": "yes", "faststream": "yes", "ceiling": "constant"}
    for line in lines.values():
        assert line["median"]["requests_per_s"] > 0
        assert line["median"]["errors"] == 0
        assert line["median"]["cpu_us"] > 0


@needs_wrk
async def test_wrong_answers_are_not_measured(folder: Path, model: Fitted, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    wrong = 1.0 - model.expected(0, 1)
    answer.write_bytes(bodies.constant("v2", model.name, wrong))
    port = free_port()
    server = processes.start(peer("ceiling", answer, port), tmp_path / "log")
    try:
        target = f"liar=v2=http://127.0.0.1:{port}/={server.pid}"
        code, lines, _ = await bench(
            folder, "--workload", "w1", "--only", "liar,ceiling", "--target", target
        )
    finally:
        processes.stop(server)
    assert code == 1
    assert lines["w1", "liar"]["verified"] == "no"
    assert lines["w1", "liar"]["median"]["requests_per_s"] is None
    assert lines["w1", "ceiling"]["median"]["requests_per_s"] > 0


@needs_wrk
async def test_ctrl_c_ends_what_was_started_and_lets_go_on_what_was_not(
    folder: Path, model: Fitted, tmp_path: Path
) -> None:
    port = free_port()
    mine = processes.start(peer("naive", model.path, port), tmp_path / "log")
    target = f"mine=rows=http://127.0.0.1:{port}/predict={mine.pid}"
    load = ("--workload", "w1", "--seconds", "30", "--only", "mine,ceiling", "--target", target)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "bench", "serve", "--data", str(folder), *load,
        env=environment_of_child({"PYTHONPATH": os.pathsep.join(sys.path)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            await said(process.stderr, b"repeat 1 of 5, ceiling")
            # The run is under way, and `mine` is paused.
            await until(lambda: status(mine.pid) == psutil.STATUS_STOPPED)
            started = psutil.Process(process.pid).children(recursive=True)
            assert started
            process.send_signal(signal.SIGINT)
            await process.communicate()
        assert process.returncode == 130
        assert psutil.wait_procs(started, timeout=DEADLINE)[1] == []
        assert mine.poll() is None
        await until(lambda: status(mine.pid) != psutil.STATUS_STOPPED)
    finally:
        if process.returncode is None:
            process.kill()
        processes.stop(mine)


def status(pid: int) -> str:
    return psutil.Process(pid).status()


async def until(true: Callable[[], bool]) -> None:
    """Signals take effect a little later."""
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110  # the state of a process has no event
            await asyncio.sleep(0.01)


async def said(stream: asyncio.StreamReader, text: bytes) -> None:
    while text not in (line := await stream.readline()):
        assert line, f"the bench ended without saying {text!r}"


async def test_a_paused_server_does_nothing_and_then_goes_on(tmp_path: Path, model: Fitted) -> None:
    port = free_port()
    server = processes.start(peer("naive", model.path, port), tmp_path / "log")
    try:
        processes.pause(server.pid, paused=True)
        await until(lambda: status(server.pid) == psutil.STATUS_STOPPED)
        processes.pause(server.pid, paused=False)
        await until(lambda: status(server.pid) != psutil.STATUS_STOPPED)
        processes.pause(server.pid, paused=True)
    finally:
        processes.stop(server)
    assert server.returncode == -signal.SIGTERM


async def test_the_nats_client_counts_answers_and_refusals(
    nats_server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    async def answer(request: Request) -> Reply:
        asked = msgspec.msgpack.decode(request.payload)
        assert request.headers["content-type"] == "application/msgpack"
        if asked == 2:
            raise Reject("two is refused")
        return Reply(payload=request.payload * 2, headers={"kind": "doubled"})

    await bus.serve("bench.test", answer)
    file = tmp_path / "bodies"
    job.write_bodies(file, [msgspec.msgpack.encode(n) for n in range(4)])
    task = Job(
        address=nats_server.url,
        subject="bench.test",
        headers={"content-type": "application/msgpack"},
        bodies=str(file),
        in_flight=8,
        seconds=0.3,
    )
    asked = await asyncio.to_thread(job.ask, "loadnats", msgspec.structs.replace(task, ask=2))
    assert asked == [b"\x00\x00", b"\x01\x01"]
    with pytest.raises(RuntimeError, match="two is refused"):
        await asyncio.to_thread(job.ask, "loadnats", msgspec.structs.replace(task, ask=4))
    counts = await asyncio.to_thread(job.run, "loadnats", task)
    assert counts.errors >= task.in_flight // 8  # of the first calls alone, 8 are refused
    # One body in four is refused; the window may end within a turn.
    assert abs(counts.requests - 3 * counts.errors) <= 8
    assert 0 < counts.p50_ms <= counts.p99_ms


async def test_the_nats_client_says_that_nobody_answers(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    file = tmp_path / "bodies"
    job.write_bodies(file, [b"x"])
    task = Job(
        address=nats_server.url, subject="bench.nobody", bodies=str(file), in_flight=1, ask=1
    )
    with pytest.raises(RuntimeError, match="503"):
        await asyncio.to_thread(job.ask, "loadnats", task)


async def refuse_two(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    if request.endswith(b"2"):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "two is refused")
    return request * 2


@pytest.fixture
async def grpc_address() -> AsyncIterator[str]:
    """A gRPC server that answers twice what it was asked."""
    server = grpc.aio.server()
    _, service, method = METHOD.split("/")
    methods = {method: grpc.unary_unary_rpc_method_handler(refuse_two)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.mark.parametrize("size", [0, 9_000])
async def test_the_grpc_client_counts_answers_and_refusals(
    grpc_address: str, tmp_path: Path, size: int
) -> None:
    # 32 calls of 9,000 bytes are more than the server has room for at once.
    file = tmp_path / "bodies"
    job.write_bodies(file, [b"x" * size + str(n).encode() for n in range(4)])
    task = Job(address=grpc_address, bodies=str(file), in_flight=32, seconds=0.3)
    asked = await asyncio.to_thread(job.ask, "loadgrpc", msgspec.structs.replace(task, ask=2))
    assert asked == [2 * (b"x" * size + b"0"), 2 * (b"x" * size + b"1")]
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT: two is refused"):
        await asyncio.to_thread(job.ask, "loadgrpc", msgspec.structs.replace(task, ask=3))
    counts = await asyncio.to_thread(job.run, "loadgrpc", task)
    assert counts.errors >= task.in_flight // 8  # of the first calls alone, 8 are refused
    # One body in four is refused; calls end in another order than they begin in.
    assert abs(counts.requests - 3 * counts.errors) <= 4 * task.in_flight


def test_answers_survive_the_way_through_json() -> None:
    told = job.answered([bytes(range(256))])
    assert base64.b64decode(told.answers[0]) == bytes(range(256))
