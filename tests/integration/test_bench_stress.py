import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from driftloop.local.bench.bodies import Requests
from driftloop.local.bench.job import write_bodies
from driftloop.local.bench.run import Options
from driftloop.local.bench.stress import job, loadchecked, loadopen
from driftloop.local.bench.stress.job import Job, Phase, Tally, whole
from driftloop.local.bench.stress.results import StressResult
from driftloop.local.bench.stress.run import run_stress
from driftloop.local.bench.workloads import WORKLOADS
from tests.support.processes import driftloop

NOWHERE = "nats://127.0.0.1:1"
SHORT = Options(repeats=1, seconds=0.4, warm=0.2, swaps=12, swap_rate=20.0)

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="the load generator wrk is not on the PATH"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models are kept, made once for all tests."""
    return tmp_path_factory.mktemp("stress")


def stressed(name: str, folder: Path, **changes: Any) -> StressResult:
    """A short run of a stress workload."""
    workload = msgspec.structs.replace(WORKLOADS[name], model="", **changes)
    return run_stress(workload, "logreg", folder, SHORT, lambda _: None)


@needs_wrk
async def test_no_answer_is_mixed_up_while_the_champion_changes(folder: Path) -> None:
    short = ("--repeats", "1", "--seconds", "1", "--warm", "0", "--swaps", "12")
    command = ("bench", "serve", "--workload", "swaps", "--data", folder, *short)
    code, out, err = await driftloop(NOWHERE, *command, "--swap-rate", "20", "--json")
    assert code == 0, err
    (told,) = json.loads(out)["results"]
    lines = {line["condition"]: line for line in told["lines"]}
    assert list(lines) == ["steady", "swaps", "steady, wrk", "swaps, wrk"]
    assert lines["steady"]["figures"]["versions seen"] == 1
    swaps = lines["swaps"]
    assert swaps["figures"]["versions seen"] == 2
    assert swaps["counts"]["mixed up"] == swaps["counts"]["failed"] == 0
    assert swaps["counts"]["swaps asked"] == 12
    assert 0 < swaps["counts"]["done"] <= 12
    assert set(swaps["ratios"]) == {"p50 ms", "p99 ms"}
    assert "swaps: repeat 1 of 1, swaps, wrk" in err


@needs_wrk
@pytest.mark.slow
@pytest.mark.fault(26, "shadows misbehave under load; latency beside that without")
def test_shadows_that_misbehave_cost_rows_of_theirs_and_no_answer(folder: Path) -> None:
    made = stressed("shadows", folder)
    assert made.problems == []
    lines = {line.condition: line for line in made.lines}
    assert list(lines) == ["no shadow", "asleep", "slow", "raises", "leaks", "all three"]
    for name, line in lines.items():
        assert line.counts["failed"] == line.counts["mixed up"] == 0
        dropped = sum(n for what, n in line.counts.items() if what.startswith("rows dropped"))
        assert (dropped > 0) == (name != "no shadow"), f"{name}: {line.counts}"
        assert (line.figures["shadows' peak RSS MB"] > 0) == (name != "no shadow")


Answer = Callable[[int], bytes]
"""The whole response to the nth request."""


@contextlib.asynccontextmanager
async def serving(answer: Answer, pause: float = 0.0) -> AsyncIterator[int]:
    """A server that answers requests without a body, each after a pause; its port."""
    count = 0
    talks: set[asyncio.Task[None] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        talks.add(asyncio.current_task())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                count += 1
                said = answer(count - 1)
                await asyncio.sleep(pause)
                writer.write(said)
                if b"connection: close" in said or not said:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*filter(None, talks))


def response(status: int, body: bytes = b"", *lines: str) -> bytes:
    fields = "".join(f"{line}\r\n" for line in (*lines, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status} x\r\n{fields}\r\n".encode() + body


def of_version(version: int, p: float) -> bytes:
    told = {"model_version": str(version), "outputs": [{"name": "p", "data": [p, 1 - p]}]}
    return response(200, json.dumps(told).encode())


def task(folder: Path, port: int, **changes: Any) -> Job:
    """Two requests without a body; version 1 answers 0.2 and 0.4, version 2 0.6 and 0.8."""
    file, known = folder / "requests", folder / "expected.npy"
    write_bodies(file, whole("h", "/", Requests(headers={}, bodies=[b"", b""])))
    p = np.array([[0.2, 0.4], [0.6, 0.8]], np.float32).reshape(2, 2, 1, 1)
    np.save(known, np.concatenate([p, 1 - p], axis=3))
    made = Job(host="127.0.0.1", port=port, requests=str(file), expected=str(known), connections=1)
    return msgspec.structs.replace(made, **changes)


async def test_the_checking_client_finds_each_answer_of_another_version(tmp_path: Path) -> None:
    # Of four answers the third has the numbers of the other version.
    answers = [of_version(1, 0.2), of_version(2, 0.8), of_version(1, 0.6), of_version(1, 0.4)]
    async with serving(lambda n: answers[n % 4]) as port:
        tally = await job.run("loadchecked", task(tmp_path, port, seconds=0.2), Tally)
    asked = tally.answered + tally.wrong
    assert asked >= 4
    assert tally.wrong == (asked + 1) // 4
    assert tally.failed == 0
    assert set(tally.versions) == {1, 2}
    assert "not that of the version it names" in tally.problem


async def test_the_checking_client_counts_refusals_and_lost_connections(tmp_path: Path) -> None:
    answers = [of_version(1, 0.2), response(503, b"", "Retry-After: 1"), b""]
    async with serving(lambda n: answers[n]) as port:
        tally = await loadchecked.run(task(tmp_path, port, seconds=0.2))
    assert (tally.answered, tally.wrong, tally.failed) == (1, 0, 2)
    assert tally.statuses == {"request": {200: 1, 503: 1, 0: 1}}


async def test_the_open_client_keeps_its_rate_and_counts_by_phase(tmp_path: Path) -> None:
    phases = [Phase(seconds=0.2, rate=100.0), Phase(seconds=0.2, rate=200.0)]
    answers = [of_version(1, 0.2), response(503, b"", "Retry-After: 1")]
    async with serving(lambda n: answers[n % 2]) as port:
        given = task(tmp_path, port, connections=8, phases=phases)
        first, second = await job.run("loadopen", given, list[Tally])
    for tally, asked in ((first, 20), (second, 40)):
        assert tally.status(200, 503) + tally.unsent == asked
        assert tally.failed == 0
        assert sum(one.refused for one in tally.slices) == tally.status(503)
    assert len(first.slices) >= 2


async def test_a_refusal_without_the_time_to_come_again_is_a_failure(tmp_path: Path) -> None:
    async with serving(lambda _: response(503)) as port:
        given = task(tmp_path, port, phases=[Phase(seconds=0.1, rate=50.0)])
        (tally,) = await loadopen.run(given)
    assert tally.failed == tally.status(503) > 0


async def test_what_is_due_while_every_connection_waits_is_not_sent(tmp_path: Path) -> None:
    async with serving(lambda _: of_version(1, 0.2), pause=0.3) as port:
        given = task(tmp_path, port, connections=2, phases=[Phase(seconds=0.2, rate=100.0)])
        (tally,) = await loadopen.run(given)
    assert tally.status(200) + tally.unsent == 20
    assert tally.unsent > 0
    assert tally.p50_ms > 100.0, "latency does not count from when a request was due"


async def test_a_connection_that_the_server_closes_is_opened_again(tmp_path: Path) -> None:
    def closing(_: int) -> bytes:
        return response(400, b"no", "connection: close")

    async with serving(closing) as port:
        kinds = ["one", "two"]
        given = task(tmp_path, port, expected="", kinds=kinds, connections=2)
        given = msgspec.structs.replace(given, phases=[Phase(seconds=0.3, rate=50.0)])
        (tally,) = await loadopen.run(given)
    assert tally.failed == 0
    assert set(tally.statuses) == {"one", "two"}
    assert tally.status(400) > 2


async def test_a_client_that_cannot_connect_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"loadchecked: .*[Cc]onnect"):
        await job.run("loadchecked", task(tmp_path, 1, seconds=0.1), Tally)
