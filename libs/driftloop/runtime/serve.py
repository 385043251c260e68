"""Runs one service in this process: settings, logs, bus, HTTP, signals, drain."""

import asyncio
import contextlib
import ctypes
import gc
import importlib.metadata
import logging
import os
import signal
import sys
import time
from typing import NamedTuple

import psutil
import uvloop
from starlette.types import ASGIApp

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.stats import ServiceStats
from driftloop.runtime import consumers, logs, metrics, traces, workers
from driftloop.runtime.access import Access
from driftloop.runtime.http import HttpServer, Problem, operations
from driftloop.runtime.http1 import Http1Server, tls_context
from driftloop.runtime.memory import keep_freed
from driftloop.runtime.niceness import be_nice, let_session_be_nice
from driftloop.runtime.ports import require_unshared
from driftloop.runtime.service import Hot, S, Service, Wired, first_end
from driftloop.runtime.settings import Shared, load
from driftloop.runtime.without import do_without
from driftloop.runtime.worker_line import State
from driftloop.runtime.workers import Alone, Joined

log = logging.getLogger(__name__)

VERSION = importlib.metadata.version("driftloop")
DRAIN_SECONDS = 10.0
LAST_SECONDS = 15
GC_OBJECTS = 20_000
CONNECT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
FULL = metrics.reading("bus_full_refusals", "Messages of this process that a full stream refused")
DENIED = metrics.reading(
    "bus_denied", "What the broker has refused this process for want of rights"
)
FORGED = metrics.reading(
    "bus_forged_messages", "Events and state that were not signed by their owner, and not used"
)
READY = metrics.gauge("ready", "Whether the service can do its work (1) or not (0)")
BUILD = metrics.gauge("build_info", "Always 1; the version is a label", ["version"])
_LIBC = ctypes.CDLL(None)  # looked up before a fork, where little is safe to do


def main(service: Service[S]) -> None:
    """Run the service until SIGTERM or SIGINT; the process's exit code says how it ended."""
    joined = workers.joined()
    try:
        settings = load(service.settings, service.name)
    except DriftloopError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    do_without(service.unused)
    name = f"{service.name}/{joined.number}" if joined else service.name
    logs.configure(name, settings.log_level, settings.log_format)
    try:
        traces.configure(service.name, settings.traces_url, settings.traces_ratio)
    except DriftloopError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    if joined:
        die_with_parent()
    be_nice(settings.nice)
    keep_freed()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise SystemExit(runner.run(_run(service, settings, joined)))


def die_with_parent() -> None:
    """Ask the kernel (Linux) for a SIGTERM when the parent dies, so that no service is left."""
    with contextlib.suppress(OSError, AttributeError):
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class _Running(NamedTuple):
    """What one process of a service has running."""

    name: str
    settings: Shared
    url: str
    started: float
    bus: Bus
    wired: Wired
    tasks: list[asyncio.Task[None]]
    crew: Alone
    http: HttpServer | Http1Server


async def _run(service: Service[S], settings: S, joined: Joined | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.time()
    try:
        if joined is None and service.workers(settings) > 1:
            await require_unshared(settings.host, service.ports(settings))
        bus = await _connect(service.name, settings, stop)
        wired = await service.wire(settings, bus)
        running = _running(service, settings, joined, bus, wired, started)
    except InvalidInput as error:  # in a file that a setting names
        log.error("%s", error)
        return 2
    except OSError as error:
        log.error("%s", error)
        return 3 if isinstance(error, ConnectionError) else 1
    failed = await _serve(running, stop, samples=joined is None)
    if failed is None and bus.connection.nc.is_closed:
        failed = ConnectionError("the connection to NATS is closed for good")
    if failed is not None:
        log.error("stopping: %s", failed, exc_info=None if isinstance(failed, OSError) else failed)
    await _drain(running)
    return 1 if failed is not None else 0


def _running(
    service: Service[S],
    settings: S,
    joined: Joined | None,
    bus: Bus,
    wired: Wired,
    started: float,
) -> _Running:
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    access = wired.access
    if access is None:
        access = Access(bus, settings)
        tasks.append(asyncio.create_task(access.run()))
    problem = _problem(bus, wired, access, tasks)
    FULL.read = lambda: bus.connection.stored.refused
    DENIED.read = lambda: bus.connection.denials
    FORGED.read = lambda: bus.connection.forged
    READY.set_function(lambda: 0 if problem() else 1)
    BUILD.labels(VERSION).set(1)
    consumers.listen()
    several = service.workers(settings) > 1

    def own() -> State:
        return State(problem=problem(), note=wired.note(), families=metrics.snapshot())

    crew = workers.place(joined, service.workers(settings), own)
    told = crew.told if several else None
    app = operations(service.name, problem, access, wired.http, told, wired.note)
    http = http_server(app, settings, wired.hot, reuse_port=several)
    url = f"{'https' if settings.tls_cert else 'http'}://{settings.host}:{settings.port}"
    return _Running(service.name, settings, url, started, bus, wired, tasks, crew, http)


async def _serve(its: _Running, stop: asyncio.Event, *, samples: bool) -> BaseException | None:
    """Listen until `stop`, or until something fails, which is returned."""
    watching: list[asyncio.Task[None]] = []
    if samples:
        nice = let_session_be_nice(its.settings.nice)
        watching = [asyncio.create_task(t) for t in (_sample(its), consumers.watch(its.bus), nice)]
    try:
        await its.http.start()
        await its.bus.start()
        _spare_collector()
        log.info("ready on %s after %.1f s", its.url, time.time() - its.started)
        return await first_end([*its.tasks, its.crew.start()], stop)
    except OSError as error:
        return error
    finally:
        for task in watching:
            task.cancel()


def _spare_collector() -> None:
    """Leave what was made at the start out of Python's search for cycles, and search less often.

    Nearly all that a batch makes is freed by reference counts at once; with the usual threshold of
    700 objects the search took a twentieth of the CPU of a busy validation (perf, a sampled run).
    """
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, *gc.get_threshold()[1:])


def http_server(
    app: ASGIApp, settings: Shared, hot: Hot | None, *, reuse_port: bool = False
) -> HttpServer | Http1Server:
    """The HTTP server: uvicorn, or ours for a service with hot routes."""
    tls = tls_context(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    if hot is None:
        return HttpServer(app, settings.host, settings.port, reuse_port=reuse_port, tls=tls)
    return Http1Server(
        app,
        settings.host,
        settings.port,
        router=hot.router,
        limits=hot.limits,
        tls=tls,
        reuse_port=reuse_port,
        cors=hot.cors,
        compress=hot.compress,
    )


async def _connect(name: str, settings: Shared, stop: asyncio.Event) -> Bus:
    """Open the bus, patiently: at start-up the broker may come after us."""
    deadline = time.monotonic() + CONNECT_SECONDS
    layout = Layout(replicas=settings.nats_replicas, log_gb=settings.nats_log_gb)
    while True:
        try:
            return await Bus.open(
                settings.nats_url,
                name,
                on_closed=stop.set,
                layout=layout,
                keys=settings.keys,
                ca=settings.nats_ca,
            )
        except (ConnectionError, TimeoutError, OSError) as error:
            if stop.is_set() or time.monotonic() > deadline:
                raise ConnectionError(str(error)) from error
            log.info("waiting for the bus: %s", error)
            await asyncio.sleep(0.5)


def _problem(bus: Bus, wired: Wired, access: Access, tasks: list[asyncio.Task[None]]) -> Problem:
    def problem() -> str:
        ended = [t.get_name() for t in tasks if t.done()]
        if ended:
            return f"background task ended: {', '.join(ended)}"
        return bus.connection.problem() or access.problem() or wired.problem()

    return problem


async def _sample(its: _Running) -> None:
    """Publish the service's memory, CPU and counters every now and then.

    Worker 0 does it for all: the others are its children, whose memory and CPU count as its own.
    """
    process = psutil.Process()
    while True:
        rss, cpu = usage(process)
        state = await its.crew.told()
        stat = ServiceStats(
            about=its.name,
            pid=os.getpid(),
            url=its.url,
            started=its.started,
            ready=not state.problem,
            reason=state.problem or state.note,
            rss_bytes=rss,
            cpu_seconds=cpu,
            counters={name: n for name, n in metrics.values(state.families).items() if n},
            version=VERSION,
        )
        with contextlib.suppress(Exception):
            await its.bus.stat(stat)
        await asyncio.sleep(its.settings.stats_seconds)


def usage(process: psutil.Process) -> tuple[int, float]:
    """Resident bytes of a process and its children, and CPU seconds of both since its start."""
    rss, times = process.memory_info().rss, process.cpu_times()
    cpu = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            rss += child.memory_info().rss
            cpu += sum(child.cpu_times()[:4])  # with those it has waited for
    return rss, cpu


async def _drain(its: _Running) -> None:
    """Finish what is under way, within `DRAIN_SECONDS`; the workers do the same meanwhile."""
    signal.alarm(LAST_SECONDS)  # ends the process if a library does not let go of the event loop
    its.crew.stop()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            its.bus.stopping.set()
            await its.http.stop()
            if its.tasks:
                await asyncio.wait(its.tasks, timeout=DRAIN_SECONDS / 2)
            if its.wired.close is not None:
                await its.wired.close()
            await its.bus.close()
            await its.crew.ended()
    except TimeoutError:
        log.warning("drain took longer than %.0f s", DRAIN_SECONDS)
    for task in its.tasks:
        task.cancel()
    await asyncio.gather(*its.tasks, return_exceptions=True)
    await asyncio.to_thread(traces.close)
    log.info("stopped")
