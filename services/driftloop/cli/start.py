"""`up`, `demo` and `run`: start things."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from driftloop.cli.exits import Exit, Stop
from driftloop.contracts.errors import InvalidInput

DATA: Final = Path(".driftloop")
SEED: Final = 2013
"""Seed of the shuffled control, so that it is the same control each time."""

Data = Annotated[Path, typer.Option(help="Folder of the logs, models and tables.")]
Specs = Annotated[
    list[Path] | None,
    typer.Option("--spec", metavar="FILE", help="Register this spec; again for more."),
]
PortBase = Annotated[
    int, typer.Option(min=1024, max=65_000, help="First of the services' HTTP ports.")
]
NatsPort = Annotated[int, typer.Option(min=1, max=65_535, help="Port of the embedded NATS server.")]
Replicas = Annotated[
    list[str] | None,
    typer.Option(
        "--replicas",
        metavar="SERVICE=COUNT",
        help="Start so many of a service: ingest, validation, inference, feedback or drift; again"
        " for more.",
    ),
]

Sync = Annotated[
    str,
    typer.Option(
        metavar="always|2m|10s",
        help="How often NATS flushes to the disk; always is before it acknowledges. 2m unless"
        " DRIFTLOOP_NATS_SYNC says otherwise.",
    ),
]
Hang = Annotated[
    float,
    typer.Option(
        min=0, help="Kill and start again a service that has not answered for so long; 0: never."
    ),
]

OpenBroker = Annotated[
    bool,
    typer.Option("--open-broker", help="No keys: whoever reaches NATS may do everything."),
]

Shuffle = Annotated[bool, typer.Option("--shuffle", help="The control: rows in random order.")]
Rows = Annotated[int | None, typer.Option(min=0, help="Only the first rows; 0 is all.")]
DemoData = Annotated[Path | None, typer.Option(help="Folder of the log; kept to look around.")]
Report = Annotated[Path | None, typer.Option(help="Where the report goes.")]
Plot = Annotated[Path | None, typer.Option(help="Where the plot goes.")]
Hold = Annotated[bool | None, typer.Option(help="Hold the replay while a model is made.")]
Slice = Annotated[float | None, typer.Option(min=0.1, help="Hours of event time sent at once.")]
InFlight = Annotated[int | None, typer.Option(min=1, help="Labelled rows under way at most.")]
Bootstrap = Annotated[int | None, typer.Option(min=100, help="Labelled rows before a first model.")]


def up(
    data: Data = DATA,
    spec: Specs = None,
    port_base: PortBase = 8800,
    nats_port: NatsPort = 4222,
    replicas: Replicas = None,
    sync: Sync = "",
    hang_seconds: Hang = 30.0,
    open_broker: OpenBroker = False,
) -> None:
    """Start NATS and every service on this machine; Ctrl-C stops them."""
    from driftloop.local.up import run_up

    given = list(spec or []), port_base, nats_port, list(replicas or [])
    _end(run_up(data, *given, sync=sync, hang_seconds=hang_seconds, secure=not open_broker))


def demo(
    shuffle: Shuffle = False,
    rows: Rows = None,
    data: DemoData = None,
    report: Report = None,
    plot: Plot = None,
    hold: Hold = None,
    slice_hours: Slice = None,
    in_flight: InFlight = None,
    bootstrap_rows: Bootstrap = None,
) -> None:
    """Replay a year of real flights through the running loop, and report what it did."""
    from driftloop.local.demo.options import DemoOptions
    from driftloop.local.demo.run import run_demo

    said = {
        "shuffle": SEED if shuffle else None,
        "rows": rows,
        "data": data,
        "report": report,
        "plot": plot,
        "hold": hold,
        "slice_hours": slice_hours,
        "in_flight": in_flight,
        "bootstrap_rows": bootstrap_rows,
    }
    given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    _end(run_demo(DemoOptions(**given)))


def run(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")],
) -> None:
    """Run one service in this process, with settings from the environment."""
    from driftloop.runtime.serve import main
    from driftloop.runtime.settings import SERVICES

    if service not in SERVICES:
        raise InvalidInput(
            f"SERVICE: {service!r} is not a service; accepted: {', '.join(SERVICES)}"
        )
    main(importlib.import_module(f"driftloop.{service}.app").SERVICE)


def _end(code: int) -> None:
    if code:
        raise Stop(Exit(code) if code in set(Exit) else Exit.NO)
