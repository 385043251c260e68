"""The service under trouble, and the bench in the part of the registry."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
import numpy as np
import psutil

from driftloop.bus.bus import Bus
from driftloop.contracts.events import ModelPromoted, ShadowStarted
from driftloop.contracts.state import ModelState, Shadow
from driftloop.local.bench import bodies, ours, processes
from driftloop.local.bench.bodies import Rows
from driftloop.local.bench.job import write_bodies
from driftloop.local.bench.models import Fitted
from driftloop.local.bench.processes import Meter
from driftloop.local.bench.stress import job
from driftloop.local.bench.stress.counters import Counters, fetch, read
from driftloop.local.bench.stress.job import Job
from driftloop.local.bench.stress.results import Visit
from driftloop.local.bench.targets import Target
from driftloop.local.bench.workloads import Workload
from driftloop.local.nats import NatsServer

READY_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05
SAMPLE_SECONDS: Final = 0.1
QUIET_SECONDS: Final = 0.3
APART: Final = 20 * 1e-4
"""Least difference of the answers of any two versions to a row that is sent: no answer of one can
be taken for that of another.
"""


class Stage:
    """One model with its versions in one running service."""

    def __init__(self, bus: Bus, target: Target, workload: Workload, folder: Path) -> None:
        self.target = target
        self.workload = workload
        self.folder = folder
        self.state = ModelState(model="")
        self.swaps = 0
        address = urlsplit(target.address.url)
        self.host, self.port = address.hostname or "", address.port or 0
        self.path = address.path
        self._bus = bus
        self._told = 0

    async def register(self, model: str, artifacts: Sequence[bytes]) -> None:
        """Make the model known with these versions, the first as champion."""
        self.state = await ours.register(self._bus, model, artifacts)

    async def promote(self, version: int) -> None:
        """Make a version the champion: the state first, then the event."""
        previous = self.state.champion
        await self._write(champion=version)
        self.swaps += 1
        self._told += 1
        await self._bus.emit(
            ModelPromoted(
                model=self.state.model,
                run=f"bench-{self._told}",
                version=version,
                previous=previous,
                model_sha256=self.state.versions[version].manifest.model_sha256,
                reason="bench",
            )
        )

    async def shadow(self, versions: Sequence[int]) -> None:
        """Let exactly these versions answer beside the champion; returns when they are loaded."""
        self._told += 1
        run = f"bench-{self._told}"
        champion = self.state.champion
        shadows = tuple(
            Shadow(
                version=version,
                champion=champion,
                role="challenger",
                run=run,
                from_seq=0,
                started_id=f"{run}-{version}",
            )
            for version in versions
        )
        await self._write(shadows=shadows)
        for version in versions or (champion,):
            await self._bus.emit(
                ShadowStarted(
                    model=self.state.model,
                    run=f"{run}-{version}",
                    version=version,
                    champion=champion,
                    role="challenger",
                    from_seq=0,
                )
            )
        await self.until(lambda: len(self.shadows()) == len(versions), "shadows did not start")
        if versions:
            await self._quiet()

    def shadows(self) -> list[psutil.Process]:
        """The processes of shadows."""
        return processes.family(self.target.pid)[1:]

    async def counters(self) -> Counters:
        """What the service has counted."""
        return await read(f"http://{self.host}:{self.port}")

    async def logged(self) -> Counters:
        """The same, once nothing that was answered waits for the log any more."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            found = await self.counters()
            if not any(value for _, value in found.get("prediction_log_waiting_rows", [])):
                return found
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.target.name}: rows wait for the log still")
            await asyncio.sleep(LOOK_SECONDS)

    async def make_room(self) -> None:
        """Forget what was logged: nobody reads it, and a full log would be one more trouble."""
        await self.logged()
        await self._bus.connection.js.purge_stream("SCORED")

    async def warm(self, good: Job, seconds: float) -> None:
        """Load for so long before anything is measured."""
        if seconds > 0:
            task = msgspec.structs.replace(good, seconds=seconds)
            await job.run("loadchecked", task, job.Tally)

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for a condition; raises `RuntimeError` with `what` after a minute."""
        deadline = time.monotonic() + READY_SECONDS
        while not true():
            self.target.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.target.name}: {what} within {READY_SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS)

    def resident(self) -> float:
        """Resident MiB of the service without its shadows."""
        family = processes.family(self.target.pid)
        return float(family[0].memory_info().rss / 2**20) if family else 0.0

    async def _write(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        revision = (await self._bus.models.read(self.state.model)).revision
        await self._bus.models.write(self.state.model, self.state, revision)

    async def _quiet(self) -> None:
        """Wait until the shadows do nothing more: they have loaded, or were refused."""
        before, since = -1.0, time.monotonic()

        def quiet() -> bool:
            nonlocal before, since
            used = sum(_cpu(process) for process in self.shadows())
            if used != before:
                before, since = used, time.monotonic()
            return time.monotonic() - since > QUIET_SECONDS

        await self.until(quiet, "shadows did not come to rest")


@contextlib.asynccontextmanager
async def staged(
    workload: Workload,
    model: str,
    artifacts: Sequence[bytes],
    nats: NatsServer,
    folder: Path,
    settings: Mapping[str, str],
) -> AsyncIterator[Stage]:
    """A model with these versions in a service of its own; `nats` runs."""
    bus = await ours.opened(nats.url)
    target = ours.target(workload, model, nats, folder, more=settings)
    try:
        stage = Stage(bus, target, workload, folder)
        await stage.register(model, artifacts)
        target.start()
        ready = f"http://{stage.host}:{stage.port}/readyz"
        await stage.until(lambda: _answers(ready), "is not ready")
        yield stage
    finally:
        target.stop()
        await bus.close()


T = TypeVar("T")
U = TypeVar("U")


async def together(load: Coroutine[Any, Any, T], beside: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Both results; an error of `beside` is told when `load` has ended."""
    task = asyncio.create_task(beside)
    try:
        return await load, await task
    finally:
        task.cancel()


class Watch:
    """Samples memory during a visit, and the CPU that others took."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.peak = self.shadows = 0.0
        """Highest resident MiB seen: of the service, and of all its shadows together."""
        self._meter = Meter(stage.target.pid)
        self._task = asyncio.create_task(self._sample())

    async def end(self, visit: Visit) -> Visit:
        """Stop; the visit says whether others took the CPU."""
        self._task.cancel()
        usage = await asyncio.to_thread(self._meter.read)
        return msgspec.structs.replace(visit, disturbed=usage.disturbed)

    async def _sample(self) -> None:
        while True:
            self.peak = max(self.peak, self._stage.resident())
            there = sum(_resident(process) for process in self._stage.shadows())
            self.shadows = max(self.shadows, there / 2**20)
            await asyncio.sleep(SAMPLE_SECONDS)


def chosen_rows(versions: Sequence[Fitted], requests: int, rows: int) -> tuple[Rows, job.Expected]:
    """Rows to send (requests, rows, features), and the answers of each version to them.

    All have a negative first feature, on which the faulty models act, and the versions' answers to
    each lie `APART`. Raises `RuntimeError` if there are too few.
    """
    answers = np.stack([version.answers for version in versions])
    gaps = np.diff(np.sort(answers[:, :, 0], axis=0), axis=0)
    apart = (gaps > APART).all(axis=0)
    at = np.flatnonzero(apart & (versions[0].rows[:, 0] < -0.01))[: requests * rows]
    if len(at) < requests * rows:
        raise RuntimeError(f"rows: {len(at)} of {requests * rows} tell the versions apart")
    picked = versions[0].rows[at].reshape(requests, rows, -1)
    return picked, answers[:, at].reshape(len(versions), requests, rows, -1)


def rightly(stage: Stage, rows: Rows, expected: job.Expected, name: str = "good") -> Job:
    """A job of the workload's requests whose answers are looked into."""
    made = bodies.requests("v2", stage.state.model, list(rows))
    file, known = stage.folder / f"{name}.requests", stage.folder / f"{name}.npy"
    write_bodies(file, job.whole(f"{stage.host}:{stage.port}", stage.path, made))
    np.save(known, expected)
    return Job(
        host=stage.host,
        port=stage.port,
        requests=str(file),
        expected=str(known),
        connections=stage.workload.in_flight,
    )


def _answers(address: str) -> bool:
    try:
        fetch(address)
    except OSError:
        return False
    return True


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        used = process.cpu_times()
        return float(used.user + used.system)
    return 0.0


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
