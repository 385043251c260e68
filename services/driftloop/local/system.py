"""All of Driftloop on one machine: NATS, then each service as child processes, watched.

This is the deployment diagram as code: `LAYOUT` names every service and the port it listens on.
Where a service has several replicas, that is the port of the first; the others take free ones.
"""

import asyncio
import contextlib
import fcntl
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import psutil

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.bus.rights import ADMIN, CLIENT, OPERATOR
from driftloop.contracts.errors import InvalidInput
from driftloop.inference.settings import InferenceSettings
from driftloop.local.child import Child, wait
from driftloop.local.nats import NatsServer, check_sync
from driftloop.local.passed_on import passed_on
from driftloop.local.ports import free_port, is_free, require_free
from driftloop.local.readiness import unready
from driftloop.local.replicas import checked, name_of
from driftloop.local.watcher import watch
from driftloop.runtime.serve import die_with_parent, usage
from driftloop.runtime.settings import (
    BASE_PORT,
    PORTS,
    PREFIX,
    SERVICES,
    environment_of_child,
    load,
)

log = logging.getLogger(__name__)

LAYOUT: Final[dict[str, int]] = {name: PORTS[name] - BASE_PORT for name in SERVICES}
GRPC_PLACE: Final = len(LAYOUT)
"""Where inference speaks gRPC, after the base port, unless the user says or the port is taken."""
GRPC_PORT: Final = f"{PREFIX}INFERENCE_GRPC_PORT"
LOG_GB: Final = f"{PREFIX}NATS_LOG_GB"
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 7.0
NATS_STOP_SECONDS: Final = 1.5
MOST_LOG_GB: Final = 30.0
LEAST_LOG_GB: Final = 0.5
MOST_STARTS: Final = 5
"""A service that ends so often without being ready will not be: its log says why."""


@dataclass
class System:
    """NATS and the services, in the folder `data`. A port of 0 means any free one.

    The user's variables go on to the services; see `passed_on`. `environment` wins over them.
    Each service has a key of its own in `data/keys`, and the rights of its part; with
    `secure` false NATS is open to whoever can reach it.
    `replicas` is how many there are of a service, one unless it is named. Raises `InvalidInput`
    that names a variable no service accepts, or a service that cannot have so many replicas.
    """

    data: Path
    base_port: int = BASE_PORT
    nats_port: int = 4222
    environment: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = SERVICES
    replicas: Mapping[str, int] = field(default_factory=dict)
    secure: bool = True
    sync: str = ""
    """See `Shared.nats_sync`; empty is what the user's variables say."""
    hang_seconds: float = 30.0
    """A service that has not answered for so long is killed and started again; 0 is never."""

    def __post_init__(self) -> None:
        """Read the user's variables, and choose the ports."""
        self._passed_on, self._left_out = passed_on()
        if self.base_port and is_free("127.0.0.1", self.base_port + GRPC_PLACE):
            self._passed_on.setdefault(GRPC_PORT, str(self.base_port + GRPC_PLACE))
        self._inference = load(
            InferenceSettings, "inference", {**self._passed_on, **self.environment}
        )
        self.keys = str((self.data / "keys").resolve()) if self.secure else ""
        nats_port = self.nats_port or free_port()
        sync = check_sync(self.sync or self._inference.nats_sync)
        self.nats = NatsServer(
            self.data / "nats", port=nats_port, sync_interval=sync, keys=self.keys
        )
        self.children: dict[str, Child] = {}
        self._place(checked(self.replicas))
        self._watcher: asyncio.Task[None] | None = None
        self._lock: IO[str] | None = None

    def _place(self, replicas: Mapping[str, int]) -> None:
        """Name every replica and give it its ports."""
        if replicas.get("inference", 1) > 1 and self._inference.model_control:
            raise InvalidInput(
                f"model_control: true with {replicas['inference']} replicas of inference would "
                "reach one of them; accepted: false, or 1 replica"
            )
        known = {self.base_port + place for place in range(GRPC_PLACE + 1)}
        self._ports = {self.nats.port, self._inference.grpc_port, *known}
        for service in self.services:
            for number in range(1, replicas.get(service, 1) + 1):
                first = self.base_port + LAYOUT[service] if self.base_port else 0
                port = first if first and number == 1 else self._free_port()
                variables: dict[str, str] = {}
                if service == "inference" and number > 1 and self._inference.grpc_port > 0:
                    variables[GRPC_PORT] = str(self._free_port())
                name = name_of(service, number)
                self.children[name] = Child(name, service, port, variables)

    def _free_port(self) -> int:
        """A free port that nothing else here is going to use."""
        while (port := free_port()) in self._ports:
            continue
        self._ports.add(port)
        return port

    @property
    def url(self) -> str:
        """Address of the NATS server."""
        return self.nats.url

    def http(self, name: str) -> str:
        """Address of the HTTP door of a service, or of one of its further replicas."""
        child = self.children[name]
        given = {**self._passed_on, **self.environment}
        tls = given.get(
            f"{PREFIX}{child.service.upper()}_TLS_CERT", given.get(f"{PREFIX}TLS_CERT", "")
        )
        return f"{'https' if tls else 'http'}://127.0.0.1:{child.port}"

    @property
    def grpc(self) -> str:
        """Address of inference over gRPC, empty if it has none that is known."""
        port = self._inference.grpc_port
        return f"127.0.0.1:{port}" if port > 0 else ""

    @property
    def further(self) -> list[str]:
        """Names of the replicas beyond the first of each service."""
        return [name for name, child in self.children.items() if name != child.service]

    async def start(self) -> None:
        """Start everything, wait until it is ready; raises `RuntimeError` naming what is not."""
        (self.data / "logs").mkdir(parents=True, exist_ok=True)
        self._own_folder()
        for variable in self._left_out:
            log.warning("%s: not passed on: whoever starts the services decides it", variable)
        for child in self.children.values():
            await _free(child.port, f"the port of {child.name}")
        await self._free_grpc()
        await self.start_nats()
        await self._provision()
        for child in self.children.values():
            self.launch(child)
        self._watcher = asyncio.create_task(watch(self))
        await self.ready()

    async def _free_grpc(self) -> None:
        port, what = self._inference.grpc_port, GRPC_PORT
        if port in (self.nats.port, *(child.port for child in self.children.values())):
            raise RuntimeError(f"{what}: {port} has another use here; accepted: another one")
        if port > 0:
            await _free(port, what)

    def _own_folder(self) -> None:
        """Two systems in one folder would write over each other's logs."""
        self._lock = (self.data / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what = f"data: {self.data} is in use by another running system"
            raise RuntimeError(f"{what}; accepted: a folder of its own") from error

    async def start_nats(self) -> None:
        """Start NATS and wait until it listens."""
        await _free(self.nats.port, "the port of NATS")
        self.nats.launch()
        await asyncio.to_thread(self.nats.wait)

    async def _provision(self) -> None:
        """Make the streams and buckets as the admin, whose key no service has."""
        log_gb = float({**self._passed_on, **self.environment}.get(LOG_GB) or self._log_gb())
        layout = Layout(log_gb=log_gb)
        bus = await Bus.open(self.url, "up", layout=layout, keys=self.keys, user=ADMIN)
        await bus.close()

    @contextlib.asynccontextmanager
    async def bus(self, user: str = OPERATOR) -> AsyncIterator[Bus]:
        """A connection for whoever started this, with the rights of a user."""
        bus = await Bus.open(self.url, "local", keys=self.keys, user=user)
        try:
            yield bus
        finally:
            await bus.close()

    def key(self, user: str = CLIENT) -> str:
        """The file of a user's key; empty where NATS is open."""
        return f"{self.keys}/{user}.nk" if self.keys else ""

    async def ready(self, limit: float = READY_SECONDS) -> None:
        """Wait until every service says that it is ready."""
        deadline = time.monotonic() + limit
        waiting = dict.fromkeys(self.children, "not asked yet")
        while waiting:
            for name in list(waiting):
                reason = await asyncio.to_thread(unready, self.http(name))
                if reason is None:
                    del waiting[name]
                else:
                    waiting[name] = reason
            hopeless = [n for n in waiting if self.children[n].starts > MOST_STARTS]
            if hopeless or (waiting and time.monotonic() > deadline):
                said = "; ".join(f"{name}: {waiting[name]}" for name in hopeless or waiting)
                after = "several starts" if hopeless else f"{limit:g} s"
                raise RuntimeError(f"not ready after {after}: {said}; see {self.data / 'logs'}")
            if waiting:
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """SIGTERM to all, then SIGKILL to what is left after some seconds; NATS goes last."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        for child in self.children.values():
            child.terminate()
        await asyncio.to_thread(wait, list(self.children.values()), STOP_SECONDS)
        for child in self.children.values():
            child.end_group()
        await asyncio.to_thread(self.nats.stop, NATS_STOP_SECONDS)
        if self._lock is not None:
            self._lock.close()

    def usage(self) -> dict[str, tuple[float, float]]:
        """Resident MiB now and CPU seconds since the first start, by replica and for `nats`."""
        found: dict[str, tuple[float, float]] = {}
        for child in self.children.values():
            child.measure()
            found[child.name] = (child.usage[0] / 2**20, child.cpu_before + child.usage[1])
        if self.nats.process is not None and self.nats.alive():
            rss, cpu = usage(psutil.Process(self.nats.process.pid))
            found["nats"] = (rss / 2**20, cpu)
        return found

    def _log_gb(self) -> float:
        """Room for the streams: at most half of what is free, and what they hold already."""
        held = sum(f.stat().st_size for f in (self.data / "nats").rglob("*") if f.is_file())
        free = shutil.disk_usage(self.data).free
        return min(MOST_LOG_GB, max(LEAST_LOG_GB, (free / 2 + held) / 2**30))

    def launch(self, child: Child) -> None:
        """Start one replica's process."""
        environment = environment_of_child(
            {
                LOG_GB: f"{self._log_gb():.2f}",
                **self._passed_on,
                f"{PREFIX}NATS_URL": self.url,
                f"{PREFIX}KEYS": self.keys,
                f"{PREFIX}PORT": str(child.port),
                f"{PREFIX}TELEMETRY_PATH": str(self.data / "clickhouse"),
                **self.environment,
                **child.variables,
            }
        )
        with (self.data / "logs" / f"{child.name}.log").open("ab") as out:
            child.process = subprocess.Popen(
                [sys.executable, "-m", f"driftloop.{child.service}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        child.starts += 1
        child.started = time.monotonic()


async def _free(port: int, what: str) -> None:
    await asyncio.to_thread(require_free, "127.0.0.1", port, what)
