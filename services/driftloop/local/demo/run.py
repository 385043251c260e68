"""`driftloop demo`: start everything, replay, report, stop everything."""

import asyncio
import json
import logging
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.local.demo import plot, report
from driftloop.local.demo.options import DemoOptions
from driftloop.local.demo.replay import Replay, Stalled
from driftloop.local.demo.view import View, plain
from driftloop.local.demo.watch import Watch
from driftloop.local.flights import load_flights
from driftloop.local.ports import require_free
from driftloop.local.system import System
from driftloop.local.up import register
from driftloop.modelspec import check
from driftloop.modelspec.spec import Spec

console = Console(highlight=False)

DRAIN_SECONDS = 60.0
DEFAULT_URL = "nats://127.0.0.1:4222"
PLAIN_SECONDS = 5.0
LIVE_SECONDS = 0.25
DURABLES = (
    ("ROWS", "telemetry-rows"),
    ("LABELS", "telemetry-labels"),
    ("SCORED", "telemetry-scored"),
    ("OUTCOMES", "telemetry-outcomes"),
    ("EVENTS", "telemetry-events"),
    ("DEAD", "telemetry-dead"),
)


def run_demo(options: DemoOptions) -> int:
    """The whole demo; returns the exit code: 0 if everything is accounted for."""
    logging.basicConfig(level="WARNING", format="%(message)s")
    try:
        _fresh(options.data)
        return asyncio.run(_main(options, _system(options.data)))
    except InvalidInput as error:
        console.print(f"[red]error:[/] {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def _fresh(folder: Path) -> None:
    """An empty folder for the demo; only what an earlier demo left is removed."""
    marker = folder / "demo"
    if marker.exists():
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput(
            f"data: {folder} holds other files; accepted: an empty folder, or that of a demo"
        )
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("The log and the tables of `driftloop demo`.\n")


def _system(folder: Path) -> System:
    """On the usual ports where they are free, so that `driftloop why flights` finds it."""
    system = System(folder)
    ports = [system.nats.port, *(child.port for child in system.children.values())]
    try:
        for port in ports:
            require_free("127.0.0.1", port, "a port", seconds=0.0)
    except RuntimeError:
        return System(folder, base_port=0, nats_port=0)
    return system


def flights_spec(options: DemoOptions) -> Spec:
    """The spec in `flights.toml` beside this file, with the first model's rows as asked for."""
    spec = check.load(Path(__file__).with_name("flights.toml"))
    training = msgspec.structs.replace(spec.training, min_rows=options.bootstrap_rows)
    return check.check(msgspec.structs.replace(spec, training=training))


async def _main(options: DemoOptions, system: System) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with console.status("starting NATS and nine services"):
            await system.start()
        console.print(f"nine services are ready; live console: {system.http('console')}")
        console.print(
            f"in another terminal: driftloop {_keys(system)}why flights{_url(system)}", style="dim"
        )
        return await replay(options, system)
    except asyncio.CancelledError:
        console.print("interrupted, stopping everything")
        return 130
    except (Stalled, RuntimeError, DriftloopError, ConnectionError) as error:
        console.print(f"[red]error:[/] {error}")
        return 3
    finally:
        await system.stop()


def _keys(system: System) -> str:
    """What they need to be told of keys, which are not in the usual folder."""
    return f"--keys {system.data / 'keys'} "


def _url(system: System) -> str:
    """What the commands need to be told, when the usual port was taken."""
    return "" if system.url == DEFAULT_URL else f" --url {system.url}"


async def replay(options: DemoOptions, system: System) -> int:
    """Replay through a running system and write the report; 0 if everything is accounted for."""
    spec = flights_spec(options)
    with console.status("reading 336,776 flights"):
        table = await asyncio.to_thread(load_flights, options.shuffle)
        table = table.slice(0, options.rows) if options.rows else table
    started = time.monotonic()
    async with system.bus() as bus:
        await register(bus, [spec], by="driftloop demo")
        watch = Watch(bus, spec.name)
        watching = asyncio.create_task(watch.follow())
        async with Client(system.url, key=system.key()) as client:
            player = Replay(client, watch, spec.name, table, options)
            await _play(player, watch, watching, system.http("console"))
        await _drained(bus, player, watch)
        made = report.build(
            progress=player.progress,
            watch=watch,
            found=await report.counts(bus, spec.name),
            seconds=time.monotonic() - started,
            champion=await _champion(bus, spec.name),
            usage=await asyncio.to_thread(system.usage),
        )
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    _write(options, watch, made)
    console.print(
        f"to look around: driftloop up --data {options.data}, then "
        f"driftloop {_keys(system)}why flights",
        soft_wrap=True,
    )
    return 0 if made["accounting_closes"] else 1


async def _play(player: Replay, watch: Watch, watching: asyncio.Task[None], url: str) -> None:
    playing = asyncio.create_task(player.run())
    try:
        show = _live if console.is_terminal else _lines
        await show(player, watch, {playing, watching}, url)
        if watching.done():
            watching.result()
        await playing
    finally:
        playing.cancel()


async def _live(player: Replay, watch: Watch, tasks: set[asyncio.Task[None]], url: str) -> None:
    """A view that is drawn anew until one of the tasks ends."""
    view = View(player.progress, watch, url)
    with Live(view, console=console, auto_refresh=False) as live:
        while not any(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=LIVE_SECONDS, return_when="FIRST_COMPLETED")
            live.refresh()


async def _lines(player: Replay, watch: Watch, tasks: set[asyncio.Task[None]], _: str) -> None:
    """A line every few seconds, where there is no terminal."""
    while not any(task.done() for task in tasks):
        await asyncio.wait(tasks, timeout=PLAIN_SECONDS, return_when="FIRST_COMPLETED")
        console.print(plain(player.progress, watch), soft_wrap=True)


async def _drained(bus: Bus, player: Replay, watch: Watch) -> None:
    """Wait until telemetry has written everything."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for stream, durable in DURABLES:
        while await bus.log.lag(stream, durable):
            if time.monotonic() > deadline:
                raise Stalled(f"telemetry has not written all of {stream}")
            await asyncio.sleep(0.1)


async def _champion(bus: Bus, model: str) -> dict[str, Any]:
    state = (await bus.models.read(model)).value
    if state is None or not state.champion:
        return {"version": 0, "sha256": ""}
    sha256 = state.versions[state.champion].manifest.model_sha256
    return {"version": state.champion, "sha256": sha256}


def _write(options: DemoOptions, watch: Watch, made: dict[str, Any]) -> None:
    options.report.write_text(json.dumps(made, indent=2) + "\n")
    report.show(made, console)
    console.print(f"report: {options.report}")
    if options.plot is not None and watch.quality.rows:
        plot.draw(watch, options.plot)
        console.print(f"picture: {options.plot}")
