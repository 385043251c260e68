"""`driftloop` as a person starts it, and the processes that are part of a system."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx
import psutil

from driftloop.local.ports import free_port, require_free
from driftloop.runtime.settings import BASE_PORT, PORTS, SERVICES, environment_of_child

START_SECONDS = 60.0
COMMAND = (sys.executable, "-m", "driftloop.cli")


def services_of(url: str) -> list[psutil.Process]:
    """Every process that was started for the system of this broker: services and their children."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DRIFTLOOP_NATS_URL") == url:
                found.append(process)
    return found


class Up:
    """`driftloop up` in a session of its own, as in a terminal of its own."""

    def __init__(self, data: Path, specs: list[Path], base: int = 0, nats_port: int = 0) -> None:
        self.data = data
        self.base = base or free_port(together=len(SERVICES))
        self.nats_port = nats_port or free_port()
        self.url = f"nats://127.0.0.1:{self.nats_port}"
        self.keys = str(data.resolve() / "keys")
        self._specs = specs

    def http(self, service: str) -> str:
        """Address of a service's HTTP side."""
        return f"http://127.0.0.1:{self.base + PORTS[service] - BASE_PORT}"

    def start(self) -> Self:
        """Start it; it takes some seconds until it is ready."""
        self.data.mkdir(parents=True, exist_ok=True)
        ports = ["--port-base", str(self.base), "--nats-port", str(self.nats_port)]
        specs = [part for path in self._specs for part in ("--spec", str(path))]
        with (self.data / "up.log").open("ab") as out:
            self._began = out.tell()
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--data", str(self.data), *ports, *specs],
                env=environment_of_child({"PYTHONPATH": os.pathsep.join(sys.path)}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self

    async def ready(self) -> None:
        """Wait until it says that it is ready."""
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything" not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(0.05)

    def said(self) -> str:
        """What it has printed since it was started."""
        return (self.data / "up.log").read_bytes()[self._began :].decode()

    def processes(self) -> list[psutil.Process]:
        """It and all it has started."""
        itself = psutil.Process(self.process.pid)
        return [itself, *itself.children(recursive=True)]

    def ctrl_c(self) -> None:
        """SIGINT to the whole foreground group, as a terminal sends it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Whatever happened, leave nothing behind."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.process.kill()
        self.process.wait()


def left(processes: list[psutil.Process], seconds: float) -> list[str]:
    """What still runs of `processes` after so many seconds at most."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    found = []
    for process in alive:
        # One that has ended, and that nobody has asked for its exit code yet, does not run.
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one of these
            found.append(" ".join(process.cmdline()))
    return found


def taken(up: Up) -> list[int]:
    """The ports of a system on which somebody listens."""
    found: list[int] = []
    for port in (up.nats_port, *(up.base + PORTS[name] - BASE_PORT for name in SERVICES)):
        try:
            require_free("127.0.0.1", port, "port", seconds=0.0)
        except RuntimeError:
            found.append(port)
    return found


async def unready(up: Up) -> dict[str, str]:
    """The services that are not ready, and why."""
    found: dict[str, str] = {}
    async with httpx.AsyncClient() as http:
        for name in SERVICES:
            answer = await http.get(f"{up.http(name)}/readyz")
            if answer.status_code != 200:
                found[name] = answer.text
    return found


async def driftloop(url: str, *arguments: str | Path, keys: str = "") -> tuple[int, str, str]:
    """Run a command: exit code, standard output and standard error."""
    at = {"DRIFTLOOP_NATS_URL": url, **({"DRIFTLOOP_KEYS": keys} if keys else {})}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        stdout=pipe,
        stderr=pipe,
        env=environment_of_child({"PYTHONPATH": os.pathsep.join(sys.path), **at}),
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()
