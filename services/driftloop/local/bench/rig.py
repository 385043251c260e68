"""The servers of one workload: which there are, how each is started, and waiting for them."""

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench import bodies, ours
from driftloop.local.bench.bodies import NAMES
from driftloop.local.bench.load import Load
from driftloop.local.bench.models import Fitted
from driftloop.local.bench.targets import Address, Target, fits, given, peer
from driftloop.local.bench.workloads import Workload
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port

NAMES_OF: Final = {
    "wrk": ("ours", "naive", "ceiling"),
    "paced": ("ours", "naive", "ceiling"),
    "cold": ("ours", "naive", "ceiling"),
    "nats": ("ours", "faststream", "ceiling"),
    "grpc": ("ours", "ceiling"),
}
"""Servers of ours by the kind of the workload."""
KNOWN: Final = ("ours", "naive", "faststream", "ceiling")
START_SECONDS: Final = 30.0
UNREACHED: Final = (OSError, RuntimeError, http.client.HTTPException)
"""What a server that is not there yet, or never will be, gives."""


class Rig:
    """Makes the targets of workloads; `nats` runs already."""

    def __init__(self, model: Fitted, nats: NatsServer, folder: Path) -> None:
        self._model = model
        self._nats = nats
        self._folder = folder

    def targets(
        self, workload: Workload, only: tuple[str, ...], others: list[Target]
    ) -> list[Target]:
        """Servers of ours for a workload, and those of `others` that can take it.

        `only`: no other than these; empty is all, and "ours" all variants of ours.
        """
        names = (*workload.variants, *(() if workload.alone else NAMES_OF[workload.kind]))
        made = [self._made(name, workload) for name in dict.fromkeys(names)]
        made += [one for one in others if fits(one, workload)]
        wanted = (*only, *workload.variants) if "ours" in only else only
        return [one for one in made if not only or one.name in wanted]

    def _made(self, name: str, workload: Workload) -> Target:
        if name == "ours" or name in workload.variants:
            settings = workload.variants.get(name)
            model = self._model.name
            return ours.target(workload, model, self._nats, self._folder, name, settings)
        port, log = free_port(), self._folder / f"{name}.log"
        http_address = f"http://127.0.0.1:{port}"
        if name == "naive":
            address = Address(url=f"{http_address}/predict", encoding="rows")
            return Target(name, address, peer("naive", self._model.path, port), log=log)
        if name == "faststream":
            subject = "bench.faststream"
            address = Address(url=self._nats.url, encoding="msgpack", subject=subject)
            names = ",".join(NAMES)
            command = peer("nats_faststream", self._nats.url, subject, self._model.path, names)
            return Target(name, address, command, log=log)
        answer = self._folder / f"{workload.name}.answer"
        expected = self._model.expected(0, workload.rows)
        answer.write_bytes(bodies.constant(workload.encoding, self._model.name, expected))
        if workload.kind == "nats":
            subject = "bench.echo"
            address = Address(url=self._nats.url, encoding="msgpack", subject=subject)
            command = peer("nats_echo", self._nats.url, subject, answer)
        elif workload.kind == "grpc":
            address = Address(url=f"127.0.0.1:{port}", encoding="grpc")
            command = peer("grpc_constant", answer, port)
        else:
            address = Address(url=http_address, encoding="constant")
            command = peer("ceiling", answer, port)
        return Target(name, address, command, log=log, constant=True)


@contextlib.contextmanager
def running(targets: list[Target]) -> Iterator[None]:
    """The targets started, and ended or let go on whatever happens."""
    try:
        for target in targets:
            target.start()
        yield
    finally:
        for target in targets:
            target.stop()


def wait(load: Load, pause_seconds: float) -> None:
    """Ask until the server answers; raises `RuntimeError` with what it said last."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        load.target.check()
        try:
            load.ask(1)
        except UNREACHED as error:
            if time.monotonic() > deadline or not load.target.ours:
                raise RuntimeError(load.target.silent(error)) from error
            time.sleep(pause_seconds)
        else:
            return


def parsed(texts: tuple[str, ...]) -> list[Target]:
    """The servers somebody runs; raises `InvalidInput` for a name that is taken."""
    found: list[Target] = []
    for text in texts:
        target = given(text)
        if target.name in (*KNOWN, *(one.name for one in found)):
            raise InvalidInput(f"target: the name {target.name!r} is taken; accepted: another one")
        found.append(target)
    return found
