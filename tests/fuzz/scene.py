"""The system under fire: the real services as processes on a real broker, watched.

The broker is open: what the rights of users keep from the streams comes in here as well. A process
that dies is a fault; it is started again to find others.
"""

import asyncio
import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
import psutil
from nats.aio.client import Client as Nats

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts import requests
from driftloop.contracts.requests import Command, Done
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.modelspec.check import check
from driftloop.runtime.serve import die_with_parent, usage
from driftloop.runtime.settings import SERVICES, environment_of_child
from tests.fuzz.case import CONTROL, SECONDS, TARGET
from tests.fuzz.http import Http, framed
from tests.support.serving import (
    CLASSES,
    Row,
    matrix_of_rows,
    mixed,
    mixed_rows,
    mixed_spec,
    register,
    serve_mixed,
)
from tests.support.telemetry import ask

_TRACEBACK: Final = rb"Traceback \(most recent call last\):\n(?:[ |+].*\n|\n)*.*"
WRONG: Final = re.compile(
    rb"%b(?:\n\n(?:During|The above).*\n\n%b)*|.*bug while handling.*|.*internal error.*"
    rb"|.*never retrieved.*|.*Fatal Python error.*|.*could not be heard.*"
    % (_TRACEBACK, _TRACEBACK)
)
"""What no service says whatever it is sent."""
HARMLESS: Final = (b"; the handler is closed",)
"""Ends of what uvicorn says when a client hangs up while its answer is written."""
GROWTH_MB: Final = {"telemetry": 1_000.0, "inference": 500.0}
"""What a process may grow by: its bounded buffers, and what its allocators keep of them."""
OTHER_GROWTH_MB: Final = 300.0
ROWS: Final[list[Row]] = [
    {**row, "size": row["size"] or "small", "wind": row["wind"] or 0.0} for row in mixed_rows(3, 1)
]
MOST_DEATHS: Final = 3
DATA_GB: Final = 4
"""Of each process: a fault that eats memory is not to take the machine."""
CLICKHOUSE_GB: Final = 32
"""chDB reserves far more than it uses."""
READY_SECONDS: Final = 180.0
NOW_MS: Final = 1_704_067_200_000


class Scene:
    """All services, each a process; `folder` keeps their logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {service: free_port() for service in SERVICES}
        self.grpc_port = free_port()
        self.http = Http()
        self.busy = 0
        self._server = NatsServer(folder / "nats", port=0)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._read: dict[str, int] = dict.fromkeys(SERVICES, 0)
        self._before: dict[str, float] = {}
        self._goods = 0
        self._deaths: dict[str, int] = {}
        self.lost: set[str] = set()
        """Services that died so often that they are not started any more."""

    async def __aenter__(self) -> Self:
        """Start all, and wait until they are ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server.start()
        self.nats_pid = self._server.process.pid if self._server.process else 0
        self.bus = await Bus.open(self._server.url, "fuzz", layout=Layout(log_gb=2.0))
        self.nc: Nats = self.bus.connection.nc
        await serve_mixed(self.bus, name=CONTROL)
        await serve_mixed(self.bus, 0, 0, name=TARGET)
        await register(self.bus, check(mixed_spec("bare")))
        for service in SERVICES:
            self._start(service)
        await asyncio.gather(*map(self._ready, SERVICES))
        self.right = mixed().answers(ROWS)
        self.artifacts = Artifacts(self.bus)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all."""
        await self.http.close()
        await self.bus.close()
        await asyncio.to_thread(self._stop)
        self._server.stop()

    async def restarted(self) -> list[str]:
        """End all services and start them again; those that are not ready after that."""
        await self.http.close()
        await asyncio.to_thread(self._stop)
        for service in SERVICES:
            self._start(service)
        ready = await asyncio.gather(*map(self._ready, SERVICES), return_exceptions=True)
        return [str(problem)[-2_000:] for problem in ready if problem is not None]

    def _stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            process.kill()
            process.wait()

    def _start(self, service: str) -> None:
        settings = {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DRIFTLOOP_NATS_URL": self._server.url,
            "DRIFTLOOP_NATS_LOG_GB": "2.0",
            "DRIFTLOOP_PORT": str(self.ports[service]),
            "DRIFTLOOP_TELEMETRY_PATH": str(self.folder / "clickhouse"),
            "DRIFTLOOP_TELEMETRY_QUERY_SECONDS": "5",
            "DRIFTLOOP_INFERENCE_GRPC_PORT": str(self.grpc_port),
            "DRIFTLOOP_INFERENCE_MODEL_CONTROL": "true",
        }
        with self._log(service).open("ab") as out:
            self._processes[service] = subprocess.Popen(
                [sys.executable, "-m", f"driftloop.{service}"],
                env=environment_of_child(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=partial(_begun, CLICKHOUSE_GB if service == "telemetry" else DATA_GB),
            )

    def _log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    async def _ready(self, service: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        request = framed("GET", "/readyz", (), b"")
        while True:
            said = self._log(service).read_text(errors="replace")[-2_000:]
            assert self._processes[service].poll() is None, f"{service}: {said}"
            assert time.monotonic() < deadline, f"{service} is not ready: {said}"
            with contextlib.suppress(OSError):
                if (await self.http.ask(self.ports[service], request)).status == 200:
                    return
            await asyncio.sleep(0.1)

    def trouble(self) -> list[str]:
        """What has gone wrong in the processes since the last look."""
        found: list[str] = []
        for name, process in list(self._processes.items()):
            if process.poll() is not None and name not in self.lost:
                last = self._last_words(name)
                found.append(f"{name} died with exit code {process.returncode}: {last}")
                self._deaths[name] = self._deaths.get(name, 0) + 1
                if self._deaths[name] < MOST_DEATHS:  # to find what else there is
                    self._start(name)
                else:
                    self.lost.add(name)
        for service in SERVICES:
            with self._log(service).open("rb") as log:
                log.seek(self._read[service])
                said = log.read()
            self._read[service] += len(said)
            hits = [hit for hit in WRONG.finditer(said) if not hit[0].endswith(HARMLESS)]
            found += [f"{service} says: {_shown(hit)}" for hit in hits[:5]]
        return found

    def _last_words(self, service: str) -> str:
        return self._log(service).read_text(errors="replace")[-1_500:]

    def resident(self) -> dict[str, float]:
        """Resident MiB of each process and its children."""
        found: dict[str, float] = {}
        for name, process in self._processes.items():
            with contextlib.suppress(psutil.Error):
                found[name] = usage(psutil.Process(process.pid))[0] / 2**20
        with contextlib.suppress(psutil.Error):
            found["nats"] = usage(psutil.Process(self.nats_pid))[0] / 2**20
        return found

    def warmed(self) -> None:
        """From now on memory may grow by so much and no more."""
        self._before = self.resident()

    def growth(self) -> dict[str, tuple[float, float]]:
        """Resident MiB at `warmed` and now."""
        return {n: (self._before.get(n, now), now) for n, now in self.resident().items()}

    def grown(self) -> list[str]:
        """The processes whose memory has grown beyond their bound."""
        return [
            f"{name}: grew from {before:.0f} to {now:.0f} MiB"
            for name, (before, now) in self.growth().items()
            if name != "nats" and now - before > GROWTH_MB.get(name, OTHER_GROWTH_MB)
        ]

    async def good(self) -> list[str]:
        """A good request at each door; what is wrong with the answers."""
        found: list[str] = []
        for asking in (self._rows, self._predict, self._v2, self._console, self._sql, self._order):
            try:
                async with asyncio.timeout(SECONDS):
                    problem = await asking()
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                found.append(f"a good request, {asking.__name__.strip('_')}: {problem}")
        return found

    async def _post(self, service: str, path: str, body: Any) -> tuple[int, bytes]:
        """Post, and again while the door says that it is busy."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        head = (("content-type", "application/json"),)
        while True:
            answer = await self.http.ask(self.ports[service], framed("POST", path, head, data))
            if answer.status != 503 or "retry-after" not in answer.headers:
                return answer.status, answer.body
            self.busy += 1
            await asyncio.sleep(0.2)

    async def _rows(self) -> str:
        rows = [
            {"event_id": f"good-{self._goods + at}", "event_time": NOW_MS, **row}
            for at, row in enumerate(ROWS)
        ]
        status, body = await self._post("ingest", f"/v1/models/{CONTROL}/rows", rows)
        if status != 202 or msgspec.json.decode(body)["accepted"] != len(rows):
            return f"{status} {body[:300]!r}"
        self._goods += len(rows)
        return ""

    async def _predict(self) -> str:
        status, body = await self._post(
            "inference", f"/v1/models/{CONTROL}/predict", {"rows": ROWS}
        )
        if status != 200:
            return f"{status} {body[:300]!r}"
        told = [[p[c] for c in CLASSES] for p in msgspec.json.decode(body)["probabilities"]]
        return "" if np.allclose(told, self.right, atol=1e-4) else f"wrong: {told}"

    async def _v2(self) -> str:
        data = matrix_of_rows(ROWS).ravel().tolist()
        tensor = {"name": "X", "shape": [3, 6], "datatype": "FP32", "data": data}
        path = f"/v2/models/{CONTROL}/infer"
        status, body = await self._post("inference", path, {"inputs": [tensor]})
        if status != 200:
            return f"{status} {body[:300]!r}"
        told = np.reshape(msgspec.json.decode(body)["outputs"][1]["data"], (3, 3))
        return "" if np.allclose(told, self.right, atol=1e-4) else f"wrong: {told}"

    async def _console(self) -> str:
        answer = await self.http.ask(self.ports["console"], framed("GET", "/api/state", (), b""))
        fine = answer.status == 200 and CONTROL.encode() in answer.body
        return "" if fine else f"{answer.status} {answer.body[:300]!r}"

    async def _sql(self) -> str:
        status, body = await self._post("telemetry", "/v1/sql", {"sql": "SELECT 40 + 2 AS n"})
        fine = status == 200 and msgspec.json.decode(body)["rows"] == [{"n": 42}]
        return "" if fine else f"{status} {body[:300]!r}"

    async def _order(self) -> str:
        spec = msgspec.msgpack.encode(check(mixed_spec(CONTROL)))
        command = Command(command="register", by="fuzz", spec=spec)
        reply = await self.bus.ask(
            requests.command(CONTROL), msgspec.msgpack.encode(command), timeout=SECONDS
        )
        done = msgspec.msgpack.decode(reply.payload, type=Done)
        return "" if "unchanged" in done.text else done.text

    async def settled(self, seconds: float) -> str:
        """Whether every good row was scored by its champion and is in ClickHouse, once."""
        sql = (
            "SELECT count() AS n, countIf(version = 1) AS v FROM scored FINAL"
            f" WHERE model = '{CONTROL}' AND startsWith(event_id, 'good-')"
        )
        deadline = time.monotonic() + seconds
        found: Any = None
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                found = (await ask(self.bus, sql))[0]
                if found == {"n": self._goods, "v": self._goods}:
                    return ""
            await asyncio.sleep(0.2)
        return f"of {self._goods} good rows ClickHouse has {found} after {seconds:g} s"


def limit_data(gigabytes: int) -> None:
    """Bound what this process, and what it starts, can allocate."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = gigabytes << 30
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _begun(gigabytes: int) -> None:
    die_with_parent()
    limit_data(gigabytes)


def _shown(hit: re.Match[bytes]) -> str:
    """What was said with the lines before it; of a long traceback the ends."""
    said = hit.string[max(0, hit.start() - 300) : hit.end()].decode(errors="replace")
    return said if len(said) < 6_000 else f"{said[:1_000]}\n...\n{said[-5_000:]}"
