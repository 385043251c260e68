"""Three real NATS servers on loopback that keep each stream three times."""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.errors import Error as NatsError

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.local.nats import binary
from driftloop.local.ports import free_port
from driftloop.runtime.serve import die_with_parent

CONFIG = """\
server_name: {name}
listen: "127.0.0.1:{port}"
max_payload: 8388608
jetstream {{
  store_dir: {store}
  sync_interval: "{sync}"
}}
cluster {{
  name: driftloop
  listen: "127.0.0.1:{route}"
  routes: [{routes}]
}}
"""
READY_SECONDS = 30.0


@dataclass
class Node:
    """One server of a cluster."""

    name: str
    folder: Path
    port: int = field(default_factory=free_port)
    route: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process."""
        with (self.folder / "nats.log").open("ab") as out:
            self.process = subprocess.Popen(
                [binary(), "-c", str(self.folder / "nats.conf")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
            )

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after some seconds."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.kill()


class Cluster:
    """Three nodes; `urls` is what `DRIFTLOOP_NATS_URL` says."""

    def __init__(self, folder: Path, sync: str = "2m") -> None:
        self.nodes = [Node(f"n{at}", folder / f"n{at}") for at in (1, 2, 3)]
        self.urls = ",".join(node.url for node in self.nodes)
        for node in self.nodes:
            node.folder.mkdir(parents=True)
            routes = ", ".join(
                f'"nats://127.0.0.1:{other.route}"' for other in self.nodes if other is not node
            )
            (node.folder / "nats.conf").write_text(
                CONFIG.format(
                    name=node.name,
                    port=node.port,
                    store=json.dumps(str(node.folder / "jetstream")),
                    sync=sync,
                    route=node.route,
                    routes=routes,
                )
            )

    def node(self, name: str) -> Node:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == name)

    async def start(self) -> None:
        """Start all, and wait until they have agreed on who leads."""
        for node in self.nodes:
            node.start()
        await self.agreed()

    async def agreed(self) -> None:
        """Wait until JetStream answers at each server that runs."""
        deadline = time.monotonic() + READY_SECONDS
        for node in self.nodes:
            while node.process is not None and node.process.poll() is None:
                with contextlib.suppress(NatsError, OSError, asyncio.TimeoutError):
                    nc = await nats.connect(node.url, allow_reconnect=False, connect_timeout=1)
                    try:
                        await nc.jetstream(timeout=1.0).account_info()
                        break
                    finally:
                        await nc.close()
                assert time.monotonic() < deadline, (node.folder / "nats.log").read_text()[-2000:]
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        """End all."""
        for node in self.nodes:
            node.stop()

    async def leader(self, bus: Bus, stream: str) -> Node:
        """The node that leads a stream now."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(NatsError):
                info = await bus.connection.js.stream_info(stream)
                if info.cluster is not None and info.cluster.leader:
                    return self.node(info.cluster.leader)
            assert time.monotonic() < deadline, f"nobody leads {stream}"
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def cluster(folder: Path, sync: str = "2m") -> AsyncIterator[tuple[Cluster, Bus]]:
    """A started cluster with all streams, three times each, and a bus that reads them."""
    made = Cluster(folder, sync)
    try:
        await made.start()
        layout = Layout(replicas=3, log_gb=1.0)
        bus = await Bus.open(made.urls, "test", layout=layout)
        try:
            yield made, bus
        finally:
            await bus.close()
    finally:
        made.stop()
