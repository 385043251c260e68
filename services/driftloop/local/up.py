"""`driftloop up`: everything on this machine until Ctrl-C."""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from driftloop.bus.bus import Bus
from driftloop.contracts import requests
from driftloop.contracts.errors import DriftloopError
from driftloop.contracts.requests import Command, Done
from driftloop.local.replicas import parse
from driftloop.local.system import GRPC_PORT, System
from driftloop.modelspec import check
from driftloop.modelspec.spec import Spec

console = Console(stderr=True, highlight=False)


def run_up(
    data: Path,
    specs: list[Path],
    base_port: int,
    nats_port: int,
    replicas: Sequence[str] = (),
    **options: Any,
) -> int:
    """Start everything, register the specs, run until SIGINT or SIGTERM; returns the exit code.

    `replicas` are texts as `inference=2`; `options` are further fields of `System`.
    """
    logging.basicConfig(level="WARNING", format="%(message)s")
    checked = [check.load(path) for path in specs]
    system = System(
        data, base_port=base_port, nats_port=nats_port, replicas=parse(replicas), **options
    )
    return asyncio.run(_up(system, checked))


async def _up(system: System, specs: list[Spec]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    started = time.monotonic()
    try:
        with console.status("starting NATS and the services"):
            starting = asyncio.create_task(system.start())
            await asyncio.wait(
                [starting, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
            )
        if stop.is_set():
            starting.cancel()
            return 0
        starting.result()
        async with system.bus() as bus:
            await register(bus, specs)
        _greet(system, time.monotonic() - started)
        await stop.wait()
        console.print("stopping")
    except (RuntimeError, DriftloopError, ConnectionError) as error:
        console.print(f"[red]error:[/] {error}")
        return 3
    finally:
        await system.stop()
    return 0


async def register(bus: Bus, specs: list[Spec], by: str = "driftloop up") -> None:
    """Register specs with the registry."""
    for spec in specs:
        command = Command(command="register", by=by, spec=msgspec.msgpack.encode(spec))
        reply = await bus.ask(requests.command(spec.name), msgspec.msgpack.encode(command))
        console.print(msgspec.msgpack.decode(reply.payload, type=Done).text)


def _greet(system: System, seconds: float) -> None:
    console.print(f"[green]ready[/] after {seconds:.1f} s; everything is kept in {system.data}")
    lines = [
        ("console", system.http("console")),
        ("ingest", f"{system.http('ingest')}/v1/models/<model>/rows"),
        ("inference", f"{system.http('inference')}/v1/models/<model>/predict"),
        ("gRPC", system.grpc and f"{system.grpc} (Open Inference Protocol V2)"),
        ("NATS", system.url),
        *((name, _address(system, name)) for name in system.further),
    ]
    width = max(len(name) for name, _ in lines)
    for name, address in lines:
        if address:
            console.print(f"  {name:<{width}}  {address}")
    console.print("Ctrl-C stops everything.")


def _address(system: System, name: str) -> str:
    """Where a further replica listens."""
    grpc = system.children[name].variables.get(GRPC_PORT)
    return system.http(name) + (f", gRPC 127.0.0.1:{grpc}" if grpc else "")
