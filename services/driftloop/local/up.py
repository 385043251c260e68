"""`driftloop up`: everything on this machine until Ctrl-C."""

import asyncio
import logging
import signal
import time
from pathlib import Path

import msgspec
from rich.console import Console

from driftloop.bus.bus import Bus
from driftloop.contracts import requests
from driftloop.contracts.errors import DriftloopError
from driftloop.contracts.requests import Command, Done
from driftloop.local.system import System
from driftloop.modelspec import check
from driftloop.modelspec.spec import Spec

console = Console(stderr=True, highlight=False)


def run_up(data: Path, specs: list[Path], base_port: int, nats_port: int) -> int:
    """Start everything, register the specs, run until SIGINT or SIGTERM; returns the exit code."""
    logging.basicConfig(level="WARNING", format="%(message)s")
    checked = [check.load(path) for path in specs]
    return asyncio.run(_up(System(data, base_port=base_port, nats_port=nats_port), checked))


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
        await register(system.url, specs)
        _greet(system, time.monotonic() - started)
        await stop.wait()
        console.print("stopping")
    except (RuntimeError, DriftloopError, ConnectionError) as error:
        console.print(f"[red]error:[/] {error}")
        return 3
    finally:
        await system.stop()
    return 0


async def register(url: str, specs: list[Spec], by: str = "driftloop up") -> None:
    """Register specs with the registry."""
    bus = await Bus.open(url, "cli")
    try:
        for spec in specs:
            command = Command(command="register", by=by, spec=msgspec.msgpack.encode(spec))
            reply = await bus.ask(requests.command(spec.name), msgspec.msgpack.encode(command))
            console.print(msgspec.msgpack.decode(reply.payload, type=Done).text)
    finally:
        await bus.close()


def _greet(system: System, seconds: float) -> None:
    console.print(f"[green]ready[/] after {seconds:.1f} s; everything is kept in {system.data}")
    console.print(f"  console    {system.http('console')}")
    console.print(f"  ingest     {system.http('ingest')}/v1/models/<model>/rows")
    console.print(f"  inference  {system.http('inference')}/v1/models/<model>/predict")
    if system.grpc:
        console.print(f"  gRPC       {system.grpc} (Open Inference Protocol V2)")
    console.print(f"  NATS       {system.url}")
    console.print("Ctrl-C stops everything.")
