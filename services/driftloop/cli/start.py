"""`up`, `demo` and `run`: start things."""

import importlib
from pathlib import Path
from typing import Annotated, Final

import typer

from driftloop.cli.exits import Exit, Stop
from driftloop.contracts.errors import InvalidInput

DATA: Final = Path(".driftloop")

Data = Annotated[Path, typer.Option(help="Folder of the logs, models and tables.")]
Specs = Annotated[
    list[Path] | None,
    typer.Option("--spec", metavar="FILE", help="Register this spec; again for more."),
]
PortBase = Annotated[
    int, typer.Option(min=1024, max=65_000, help="First of the services' HTTP ports.")
]
NatsPort = Annotated[int, typer.Option(min=1, max=65_535, help="Port of the embedded NATS server.")]


def up(
    data: Data = DATA,
    spec: Specs = None,
    port_base: PortBase = 8800,
    nats_port: NatsPort = 4222,
) -> None:
    """Start NATS and every service on this machine; Ctrl-C stops them."""
    from driftloop.local.up import run_up

    _end(run_up(data, list(spec or []), port_base, nats_port))


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep; else a fresh one that is removed.")
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="The control: the same rows in random order.")
    ] = False,
    rows: Annotated[int, typer.Option(min=0, help="Replay only the first rows; 0 is all.")] = 0,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Rows a second; 0 is as fast as it goes.")
    ] = 0.0,
    hold: Annotated[bool, typer.Option(help="Hold the clock while a model is fitted.")] = True,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("demo-report.json"),
    plot: Annotated[Path, typer.Option(help="Where the plot goes.")] = Path("demo-report.png"),
) -> None:
    """Replay a year of real flights through the running loop, and report what it did."""
    from driftloop.local.demo import Options, run_demo

    _end(
        run_demo(
            Options(
                data=data,
                shuffle=shuffle,
                rows=rows,
                speed=speed,
                hold=hold,
                report=report,
                plot=plot,
            )
        )
    )


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
