"""Runs one service in this process: settings, logs, bus, HTTP, signals, drain."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time

import psutil
import uvloop

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts.errors import DriftloopError
from driftloop.contracts.stats import ServiceStats
from driftloop.runtime import logs, metrics
from driftloop.runtime.http import HttpServer, Problem, operations
from driftloop.runtime.service import S, Service, Wired, first_end
from driftloop.runtime.settings import Shared, load

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
LAST_SECONDS = 15
CONNECT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # looked up before a fork, where little is safe to do


def main(service: Service[S]) -> None:
    """Run the service until SIGTERM or SIGINT; the process's exit code says how it ended."""
    try:
        settings = load(service.settings, service.name)
    except DriftloopError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    logs.configure(service.name, settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise SystemExit(runner.run(_run(service, settings)))


def die_with_parent() -> None:
    """Ask the kernel (Linux) for a SIGTERM when the parent dies, so that no service is left."""
    with contextlib.suppress(OSError, AttributeError):
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def _run(service: Service[S], settings: S) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.time()
    try:
        bus = await _connect(service.name, settings, stop)
    except ConnectionError as error:
        log.error("%s", error)
        return 3
    wired = await service.wire(settings, bus)
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    sampler = asyncio.create_task(_sample(service.name, settings, bus, started, wired))
    problem = _problem(bus, wired, tasks)
    http = HttpServer(operations(service.name, problem, wired.http), settings.host, settings.port)
    try:
        await http.start()
        await bus.start()
        where, took = f"http://{settings.host}:{settings.port}", time.time() - started
        log.info("ready on %s after %.1f s", where, took)
        failed = await first_end(tasks, stop)
    except OSError as error:
        failed = error
    if failed is None and bus.connection.nc.is_closed:
        failed = ConnectionError("the connection to NATS is closed for good")
    if failed is not None:
        log.error("stopping: %s", failed, exc_info=None if isinstance(failed, OSError) else failed)
    sampler.cancel()
    await _drain(bus, wired, http, tasks)
    return 1 if failed is not None else 0


async def _connect(name: str, settings: Shared, stop: asyncio.Event) -> Bus:
    """Open the bus, patiently: at start-up the broker may come after us."""
    deadline = time.monotonic() + CONNECT_SECONDS
    layout = Layout(replicas=settings.nats_replicas, log_gb=settings.nats_log_gb)
    while True:
        try:
            return await Bus.open(settings.nats_url, name, on_closed=stop.set, layout=layout)
        except (ConnectionError, TimeoutError, OSError) as error:
            if stop.is_set() or time.monotonic() > deadline:
                raise ConnectionError(str(error)) from error
            log.info("waiting for the bus: %s", error)
            await asyncio.sleep(0.5)


def _problem(bus: Bus, wired: Wired, tasks: list[asyncio.Task[None]]) -> Problem:
    def problem() -> str:
        ended = [t.get_name() for t in tasks if t.done()]
        if ended:
            return f"background task ended: {', '.join(ended)}"
        return bus.connection.problem() or wired.problem()

    return problem


async def _sample(name: str, settings: Shared, bus: Bus, started: float, wired: Wired) -> None:
    """Publish this process's memory, CPU and counters every now and then."""
    process = psutil.Process()
    url = f"http://{settings.host}:{settings.port}"
    while True:
        rss, cpu = usage(process)
        reason = bus.connection.problem() or wired.problem()
        stat = ServiceStats(
            about=name,
            pid=os.getpid(),
            url=url,
            started=started,
            ready=not reason,
            reason=reason,
            rss_bytes=rss,
            cpu_seconds=cpu,
            counters=metrics.values(),
        )
        with contextlib.suppress(Exception):
            await bus.stat(stat)
        await asyncio.sleep(settings.stats_seconds)


def usage(process: psutil.Process) -> tuple[int, float]:
    """Resident bytes of a process and its children, and CPU seconds of both since its start."""
    rss, times = process.memory_info().rss, process.cpu_times()
    cpu = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            rss += child.memory_info().rss
            cpu += sum(child.cpu_times()[:2])
    return rss, cpu


async def _drain(bus: Bus, wired: Wired, http: HttpServer, tasks: list[asyncio.Task[None]]) -> None:
    """Finish what is under way, within `DRAIN_SECONDS`."""
    signal.alarm(LAST_SECONDS)  # ends the process if a library does not let go of the event loop
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            bus.stopping.set()
            await http.stop()
            if tasks:
                await asyncio.wait(tasks, timeout=DRAIN_SECONDS / 2)
            if wired.close is not None:
                await wired.close()
            await bus.close()
    except TimeoutError:
        log.warning("drain took longer than %.0f s", DRAIN_SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    log.info("stopped")
