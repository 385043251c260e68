"""`bench stages` and `bench chain`: how many rows a second each service and all of them take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftloop.cli import bench, output
from driftloop.cli.bench import DATA, Data, progress
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import Json

if TYPE_CHECKING:
    from driftloop.local.bench.chain.run import ChainResult
    from driftloop.local.bench.stages.run import StageResult

COMMANDS: Final = bench.commands
"""Those of `bench`, with the two of this module."""
Stages = Annotated[
    str,
    typer.Option(
        "--stage",
        help="With commas; of scoring, scoring-hgb, validation, feedback, drift, telemetry; "
        "or all.",
    ),
]
Batches = Annotated[int, typer.Option(min=1, help="Batches that wait in the log.")]
Rows = Annotated[int, typer.Option(min=1, max=16_384, help="Rows of a batch.")]
Repeats = Annotated[int, typer.Option(min=1, help="Runs of each server.")]
Only = Annotated[
    str,
    typer.Option("--only", metavar="NAME,...", help="No servers but those whose names begin so."),
]
Confirm = Annotated[
    float, typer.Option(min=1.0, help="Seconds for which the highest rate has to be kept up.")
]
Page = Annotated[
    Path, typer.Option("--page", help="File of the page; a JSON file stands beside it.")
]
STAGE_COLUMNS = ("server", "rows/s", "rows/s a core", "ratio", "NATS us a row", "RSS MB")
CHAIN_COLUMNS = ("load", "rows/s", "p50 ms", "p99 ms", "all read after s", "cores", "RSS MB")


@COMMANDS.command()
def stages(
    stage: Stages = "all",
    batches: Batches = 1_000,
    rows: Rows = 1_024,
    repeats: Repeats = 5,
    only: Only = "",
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Measure each service of the data plane alone, as it drains what waits in the log."""
    from driftloop.local.bench.stages.run import StageOptions, run_stages

    options = StageOptions(
        stages=stage,
        batches=batches,
        rows=rows,
        repeats=repeats,
        only=tuple(name.strip() for name in only.split(",") if name.strip()),
        folder=data,
    )
    try:
        with progress() as tell:
            results = run_stages(options, tell)
    except RuntimeError as error:
        raise Stop(Exit.NO, str(error)) from error
    if json:
        output.as_json(results)
        return
    for result in results:
        show_stage(result)


@COMMANDS.command()
def chain(
    rows: Rows = 1_024,
    confirm_seconds: Confirm = 60.0,
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Find the highest rate that all services together keep up, and the latency below it."""
    from driftloop.local.bench.chain.run import ChainOptions, run_chain

    options = ChainOptions(rows=rows, confirm_seconds=confirm_seconds, folder=data)
    try:
        with progress() as tell:
            result = run_chain(options, tell)
    except RuntimeError as error:
        raise Stop(Exit.NO, str(error)) from error
    if json:
        output.as_json(result)
    else:
        show_chain(result)


@COMMANDS.command("data")
def whole(
    page: Page,
    batches: Batches = 1_000,
    repeats: Repeats = 5,
    confirm_seconds: Confirm = 60.0,
    data: Data = DATA,
) -> None:
    """Measure stages and chain, and write a page about it, with all numbers in a JSON file."""
    import msgspec

    from driftloop.local.bench.chain.run import ChainOptions, run_chain
    from driftloop.local.bench.page import Measured, machine
    from driftloop.local.bench.page import page as written
    from driftloop.local.bench.stages.run import StageOptions, run_stages

    try:
        with progress() as tell:
            options = StageOptions(batches=batches, repeats=repeats, folder=data)
            results = run_stages(options, tell)
            found = run_chain(ChainOptions(confirm_seconds=confirm_seconds, folder=data), tell)
    except RuntimeError as error:
        raise Stop(Exit.NO, str(error)) from error
    for result in results:
        show_stage(result)
    show_chain(found)
    measured = Measured(machine=machine(), stages=results, chain=found)
    page.write_text(written(measured))
    page.with_suffix(".json").write_bytes(
        msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n"
    )


def show_stage(result: "StageResult") -> None:
    """The table of one stage."""
    from driftloop.local.bench.page import stage_cells

    output.say(f"{result.name}: {result.title}", "bold")
    output.table(STAGE_COLUMNS, stage_cells(result), STAGE_COLUMNS[1:])
    repeats = max(len(line.samples) for line in result.lines)
    output.note(f"medians of {repeats}; ratio: rows/s to that of {result.baseline}, paired")
    output.say("")


def show_chain(result: "ChainResult") -> None:
    """The table of the chain: the highest rate, and the latency at parts of it."""
    from driftloop.local.bench.page import chain_cells

    output.say("chain: ingest to telemetry, rows and their labels", "bold")
    output.table(CHAIN_COLUMNS, chain_cells(result), CHAIN_COLUMNS[1:])
    cores = ", ".join(f"{name} {used:.2f}" for name, used in result.highest.cores.items())
    output.note(f"latency: from sent to scored; cores at the highest rate: {cores}")


@COMMANDS.command()
def secured(
    rate: Annotated[float, typer.Option(min=1.0, help="Rows a second on the stream.")] = 15_000.0,
    seconds: Annotated[float, typer.Option(min=1.0, help="Seconds of each load.")] = 4.0,
    repeats: Repeats = 10,
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Measure what keys, rights, signatures and tokens cost, against an open system."""
    from driftloop.local.bench.secured import SecuredOptions, run_secured

    options = SecuredOptions(rate=rate, seconds=seconds, repeats=repeats, folder=data)
    try:
        with progress() as tell:
            result = run_secured(options, tell)
    except RuntimeError as error:
        raise Stop(Exit.NO, str(error)) from error
    ratios = result.ratios()
    if json:
        output.as_json({"turns": result, "ratios": ratios})
        return
    output.table(
        ("figure", "open", "secured", "ratio"),
        [
            (name, *(f"{result.middle(of, name):,.2f}" for of in ("open", "secured")), f"{r:.2f}")
            for name, r in ratios.items()
        ],
        right=("open", "secured", "ratio"),
    )
