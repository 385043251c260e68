import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import uvloop
from prometheus_client import REGISTRY

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.contracts import batches, subjects
from driftloop.inference.handlers import Scoring
from driftloop.inference.session import Session
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.shadow import Limits, Shadow
from driftloop.inference.shadowing import turns
from driftloop.inference.shadows import LATE_IN_A_ROW, ShadowAnswers, begin, finish
from driftloop.inference.versions import Versions
from driftloop.modelspec.spec import Registered
from tests.support.tiny_models import Matrix, classifier, manifest, rows, spec, state

SPEC = spec()
COMMAND = (sys.executable, str(Path(__file__).with_name("shadow_child.py")))
QUICK = Limits(first_pause=0.01, last_pause=0.05, hopeless_pause=0.05, watch_seconds=0.02)
DEADLINE = 30.0
FAR = 60.0


def numbered(first: float, count: int = 3) -> Matrix:
    """Rows that can be told from all others: their first column counts on from `first`."""
    matrix = np.zeros((count, 3), np.float32)
    matrix[:, 0] = first + np.arange(count)
    return matrix


def answers_to(matrix: Matrix) -> Matrix:
    return np.stack([matrix[:, 0], 1 - matrix[:, 0]], axis=1)


def count(name: str, reason: str) -> float:
    labels = {"model": "flights", "reason": reason}
    return REGISTRY.get_sample_value(f"driftloop_{name}_total", labels) or 0.0


def ended(reason: str) -> float:
    return count("shadow_processes_ended", reason)


async def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


async def ask(shadows: list[Shadow], matrix: Matrix, limit: float = FAR) -> ShadowAnswers:
    deadline = asyncio.get_running_loop().time() + limit
    return await finish(begin(shadows, SPEC, matrix), SPEC, len(matrix), deadline)


async def answers(shadow: Shadow, matrix: Matrix) -> None:
    """The shadow answers these rows, and no others."""
    ((_, made),) = await ask([shadow], matrix)
    assert made is not None
    np.testing.assert_array_equal(made, answers_to(matrix))


@contextlib.asynccontextmanager
async def shadowed(
    *words: str, limits: Limits = QUICK, first: int = 5
) -> AsyncIterator[list[Shadow]]:
    """Shadows that do what the words say, up and running; versions from `first` on."""
    made = [
        Shadow(manifest(first + at, b""), said.encode(), limits, COMMAND)
        for at, said in enumerate(words)
    ]
    try:
        await until(lambda: all(s.state == "up" for s in made), "the shadows did not start")
        yield made
    finally:
        for shadow in made:
            shadow.close()
        await asyncio.gather(*(shadow.ended() for shadow in made))


async def test_a_model_answers_in_another_process_as_it_does_in_this_one() -> None:
    model = classifier()
    shadow = Shadow(manifest(5, model.onnx), model.onnx)
    session = Session(model.onnx, 3, 2)
    for seed, number in enumerate((3, 1, 0, 20_000)):  # the first is kept while it starts
        matrix = rows(number, seed)
        ((version, made),) = await ask([shadow], matrix)
        assert version == 5
        assert made is not None
        np.testing.assert_array_equal(made, session.run(matrix))
    shadow.close()
    await shadow.ended()


async def test_a_process_is_small_of_low_rank_and_knows_no_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRIFTLOOP_NATS_URL", "nats://user:password@host")
    model = classifier()
    shadow = Shadow(manifest(5, model.onnx), model.onnx)
    assert (await ask([shadow], rows(100)))[0][1] is not None
    process = psutil.Process(shadow.pid)
    assert process.nice() == 10
    assert process.memory_info().rss < 70 << 20
    assert score_of(shadow.pid) == 1_000
    assert not [name for name in process.environ() if name.startswith("DRIFTLOOP_")]
    shadow.close()
    await shadow.ended()
    assert not process.is_running()


def score_of(pid: int) -> int:
    """How gladly the kernel kills a process when memory runs out; 1,000 is first of all."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """A process on each core that leaves no time to spare."""
    code = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    made = {
        core: subprocess.Popen((sys.executable, "-c", code)) for core in os.sched_getaffinity(0)
    }
    try:
        for core, process in made.items():
            os.sched_setaffinity(process.pid, {core})
        yield
    finally:
        for process in made.values():
            process.kill()
            process.wait()


async def test_a_shadow_gives_way_to_all_others_and_has_its_turn_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = classifier()
    shadow = Shadow(manifest(5, model.onnx), model.onnx, QUICK)
    deadline = time.monotonic() + DEADLINE
    with monkeypatch.context() as patched:  # any machine has time to spare
        patched.setattr(turns, "QUIET", 0.0)
        patched.setattr(turns, "ENOUGH", 0.0)
        while not shadow.pid or os.sched_getscheduler(shadow.pid) != os.SCHED_IDLE:
            assert time.monotonic() < deadline, "it does not give way"
            await ask([shadow], rows(100), 0.05)
            await asyncio.sleep(0.01)
    first, before = shadow.pid, ended("starved")
    assert len(os.sched_getaffinity(first)) == 1
    with busy_cores():
        deadline = time.monotonic() + DEADLINE
        while ended("starved") == before:
            assert time.monotonic() < deadline, "it starves"
            await ask([shadow], rows(20_000), 0.05)
            await asyncio.sleep(0.01)
        deadline = time.monotonic() + DEADLINE
        while (await ask([shadow], rows(100)))[0][1] is None:
            assert time.monotonic() < deadline, "it does not answer"
            await asyncio.sleep(0.01)
        assert os.sched_getscheduler(shadow.pid) == os.SCHED_OTHER
    shadow.close()
    await shadow.ended()


def test_shadows_work_in_the_loop_that_the_service_has() -> None:
    async def main() -> None:
        async with shadowed("killed") as (shadow,):
            assert await ask([shadow], numbered(-1)) == [(5, None)]
            await until(lambda: shadow.state == "up", "it was not started again")
            await answers(shadow, numbered(1, 30_000))

    uvloop.run(main())


def delivered(number: int, matrix: Matrix) -> Delivered:
    """Valid rows as they come off the stream."""
    ids = [f"{number}-{row}" for row in range(len(matrix))]
    columns = [
        pa.array(ids),
        pa.array([0] * len(ids), batches.EVENT_TIME.type),
        pa.array([None] * len(ids), pa.string()),
        batches.matrix_column(matrix),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=batches.valid_schema(3))
    return Delivered(
        subject=subjects.rows("flights", "valid"),
        payload=batches.encode(batch),
        headers={},
        stream="ROWS",
        seq=number,
    )


@pytest.mark.fault(26, "shadows sleep, die, lie and leak beside the stream")
async def test_the_stream_is_answered_whatever_the_shadows_do(bus: Bus) -> None:
    model, said = classifier(), {2: b"killed", 3: b"sleeps 1", 4: b"answers"}
    store = Artifacts(bus)
    for data in (model.onnx, *said.values()):
        await store.put(data)
    await bus.specs.write("flights", Registered(spec=SPEC, revision=1, by="t", at=0.0), 0)
    manifests = [manifest(1, model.onnx), *(manifest(v, data) for v, data in said.items())]
    await bus.models.write("flights", state(1, *manifests, shadows=(2, 3, 4)), 0)
    versions = Versions(bus, store, InferenceSettings(), COMMAND)
    shadows = (await versions.of("flights")).shadows
    await until(lambda: all(s.state == "up" for s in shadows), "the shadows did not start")
    scoring = Scoring(bus, versions, shadow_seconds=0.25)
    told = {2: 0, 3: 0, 4: 0}
    for number in range(1, 41):
        matrix = numbered(-1 if number == 5 else 100 * number)
        (scored,) = await scoring.score([delivered(number, matrix)])
        made = batches.decode(scored.payload)
        mine = batches.matrix_of(made.column("answer"))
        np.testing.assert_allclose(mine, model.answers(matrix), atol=1e-5)
        for version in told:
            column = made.column(f"shadow_v{version}")
            if column.null_count == 0:
                told[version] += 1
                np.testing.assert_array_equal(batches.matrix_of(column), answers_to(matrix))
        await until(lambda: shadows[0].state == "up", "it was not started again")
    assert told[3] == 0
    assert told[2] > 0
    assert told[4] > 0
    await versions.close()


def test_the_process_imports_none_of_the_services_libraries() -> None:
    code = """
        import sys
        import driftloop.inference.session, driftloop.inference.shadowing.child
        print(sorted({"asyncio", "fastapi", "nats", "onnx", "pyarrow"} & set(sys.modules)))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


async def test_a_shadow_that_sleeps_is_late_then_asked_but_not_waited_for() -> None:
    async with shadowed("sleeps 1") as (shadow,):
        late, busy = (count("shadow_dropped_rows", why) for why in ("late", "busy"))
        for at in range(LATE_IN_A_ROW):
            assert await ask([shadow], numbered(at), limit=0.01) == [(5, None)]
            assert await ask([shadow], numbered(at)) == [(5, None)], "a busy one was waited for"
            await until(lambda: not shadow.busy, "it never became free")
        deadline = asyncio.get_running_loop().time() + FAR
        assert await ask([shadow], numbered(7)) == [(5, None)]
        assert asyncio.get_running_loop().time() < deadline, "a late shadow was waited for"
        assert count("shadow_dropped_rows", "late") - late == 3 * (LATE_IN_A_ROW + 1)
        assert count("shadow_dropped_rows", "busy") - busy == 3 * LATE_IN_A_ROW


async def test_a_late_shadow_is_waited_for_again_once_it_was_in_time(tmp_path: Path) -> None:
    async with shadowed(f"waits {tmp_path}") as (shadow,):
        for number in range(LATE_IN_A_ROW):
            assert await ask([shadow], numbered(number), limit=0.01) == [(5, None)]
            (tmp_path / str(number)).touch()
            await until(lambda: not shadow.busy, "it did not answer")
        assert shadow.late == LATE_IN_A_ROW
        assert await ask([shadow], numbered(50)) == [(5, None)]
        (tmp_path / "50").touch()  # long before the deadline of that batch
        await until(lambda: shadow.late == 0, "it was in time and is not waited for")
        (tmp_path / "60").touch()
        await answers(shadow, numbered(60))


async def test_a_run_that_raises_costs_its_own_answers_only() -> None:
    async with shadowed("raises") as (shadow,):
        failed, pid = count("shadow_dropped_rows", "failed"), shadow.pid
        assert await ask([shadow], numbered(-1)) == [(5, None)]
        await answers(shadow, numbered(4))
        assert count("shadow_dropped_rows", "failed") - failed == 3
        assert shadow.pid == pid


@pytest.mark.parametrize(("word", "reason"), [("narrow", "shape"), ("nan", "not_finite")])
async def test_answers_that_are_of_no_use_are_dropped(word: str, reason: str) -> None:
    async with shadowed(word) as (shadow,):
        before = count("shadow_dropped_rows", reason)
        assert await ask([shadow], numbered(1)) == [(5, None)]
        assert count("shadow_dropped_rows", reason) - before == 3


ENDS = [
    ("killed", "crashed"),
    ("segfaults", "crashed"),
    ("lies", "protocol"),
    ("floods", "protocol"),
]


@pytest.mark.parametrize(("word", "reason"), ENDS)
@pytest.mark.fault(26, "a shadow dies, or lies")
async def test_a_process_that_dies_or_lies_is_counted_and_started_again(
    word: str, reason: str
) -> None:
    async with shadowed(word) as (shadow,):
        before, pid = ended(reason), shadow.pid
        down = count("shadow_dropped_rows", "down")
        assert await ask([shadow], numbered(-1)) == [(5, None)]
        assert count("shadow_dropped_rows", "down") - down == 3
        await until(lambda: shadow.state == "up", "it was not started again")
        assert ended(reason) - before == 1
        assert shadow.pid != pid
        assert not psutil.pid_exists(pid)
        await answers(shadow, numbered(4))


@pytest.mark.fault(26, "a shadow hangs")
async def test_a_process_that_hangs_is_ended() -> None:
    limits = Limits(hopeless_pause=0.01, run_seconds=0.05, watch_seconds=0.02)
    async with shadowed("sleeps 60", limits=limits) as (shadow,):
        before = ended("hung")
        assert await ask([shadow], numbered(1)) == [(5, None)]
        await until(lambda: shadow.state == "up", "it was not started again")
        assert ended("hung") - before == 1


@pytest.mark.fault(26, "a shadow leaks memory")
async def test_a_process_that_leaks_is_ended_at_its_limit_and_answers_again() -> None:
    limits = Limits(megabytes=150, hopeless_pause=0.01, watch_seconds=0.01)
    async with shadowed("leaks", limits=limits) as (shadow,):
        before, pid = ended("memory"), shadow.pid
        for number in range(1_000):
            await ask([shadow], numbered(number))
            if ended("memory") > before:
                break
        assert ended("memory") - before == 1
        await until(lambda: shadow.state == "up", "it was not started again")
        assert shadow.pid != pid
        await answers(shadow, numbered(1))


async def test_a_run_that_wants_all_memory_at_once_fails() -> None:
    async with shadowed("huge") as (shadow,):
        before = count("shadow_dropped_rows", "failed")
        assert await ask([shadow], numbered(-1)) == [(5, None)]
        assert count("shadow_dropped_rows", "failed") - before == 3
        await answers(shadow, numbered(1))


async def test_of_three_at_once_the_good_one_is_not_touched_by_the_others() -> None:
    async with shadowed("answers", "raises", "killed", first=11) as shadows:
        crashed = ended("crashed")
        for number in range(1, 31):
            matrix = numbered(-1 if number % 10 == 0 else 100 * number)
            (_, good), (_, raising), (_, dying) = await ask(shadows, matrix)
            assert good is not None
            np.testing.assert_array_equal(good, answers_to(matrix))
            assert (raising is None) == (number % 10 == 0)
            if dying is not None:
                np.testing.assert_array_equal(dying, answers_to(matrix))
            await until(lambda: shadows[2].state == "up", "it was not started again")
        assert ended("crashed") - crashed == 3


async def test_a_model_that_is_refused_is_told_and_tried_again_later() -> None:
    shadow = Shadow(manifest(9, b""), b"no model", QUICK)
    before = ended("refused")
    await until(lambda: ended("refused") - before >= 2, "it was not refused twice")
    assert await ask([shadow], numbered(1), limit=0.0) == [(9, None)]
    shadow.close()
    await shadow.ended()


async def test_a_command_that_cannot_be_started_costs_answers_only(tmp_path: Path) -> None:
    shadow = Shadow(manifest(9, b""), b"", QUICK, (str(tmp_path / "nothing"),))
    before = ended("failed")
    await until(lambda: ended("failed") - before >= 2, "it was not tried twice")
    shadow.close()
    await shadow.ended()


async def test_a_closed_shadow_takes_nothing_and_whoever_waits_is_told(tmp_path: Path) -> None:
    async with shadowed(f"waits {tmp_path}") as (shadow,):
        waiting = asyncio.create_task(ask([shadow], numbered(1)))
        await until(lambda: shadow.busy, "it did not begin")
        pid = shadow.pid
        shadow.close()
        assert await waiting == [(5, None)]
        assert shadow.begin(numbered(2)) is None
        await shadow.ended()
        assert not psutil.pid_exists(pid)


def test_a_process_dies_with_its_service(tmp_path: Path) -> None:
    code = f"""
        import asyncio
        from driftloop.inference.shadow import Shadow
        from tests.integration.test_shadows import COMMAND, QUICK, numbered
        from tests.support.tiny_models import manifest

        async def main():
            shadow = Shadow(manifest(5, b""), b"waits {tmp_path}", QUICK, COMMAND)
            while shadow.state != "up":
                await asyncio.sleep(0.01)
            shadow.begin(numbered(1))
            print(shadow.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    gone, _ = psutil.wait_procs([child], timeout=DEADLINE)
    assert gone == [child], "it outlived the service in the middle of a run"
