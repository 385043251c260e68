"""`bench evidence`: how often verdicts and alarms are wrong, and how late they come."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftloop.cli import bench_data, output
from driftloop.cli.options import Json

if TYPE_CHECKING:
    from driftloop.local.bench.evidence.table import Table, Tell

COMMANDS: Final = bench_data.COMMANDS
"""Those of `bench`, with the one of this module."""
Page = Annotated[
    Path | None,
    typer.Option("--page", help="File whose tables are renewed; a JSON file stands beside it."),
]
Scale = Annotated[
    float,
    typer.Option(min=0.0001, max=1.0, help="Share of the runs: less is quicker, not as sure."),
]
Only = Annotated[
    str,
    typer.Option(
        "--only",
        metavar="NAME,...",
        help="Of promotion, alarms, detection, speed, estimates, backtest; the others stay.",
    ),
]


@COMMANDS.command()
def evidence(page: Page = None, scale: Scale = 1.0, only: Only = "", json: Json = False) -> None:
    """Measure promotion and drift alarms, and write the tables into the page about them."""
    from driftloop.local.bench.evidence import run
    from driftloop.local.bench.evidence.page import page as written

    if page is not None:
        written(page.read_text(), [])  # a page without a place for tables is said before all else
    now = []
    for name in run.chosen(only):
        with progress(name) as tell:
            part = run.measure(name, scale, tell)
        now.append(part)
        if page is not None:  # after each section, and read anew: one may take an hour
            kept = run.merged(run.kept(page.with_suffix(".json")), [part])
            run.keep(page.with_suffix(".json"), kept)
            page.write_text(written(page.read_text(), kept))
        if not json:
            for table in part.tables:
                show(table)
    if json:
        output.as_json(now)


def show(table: "Table") -> None:
    """One table for a person."""
    from driftloop.local.bench.evidence.page import cells

    output.say(table.title, "bold")
    output.table(table.columns, cells(table), table.columns[1:])
    output.note(table.note)
    output.say("")


@contextmanager
def progress(section: str) -> "Iterator[Tell]":
    """A bar in a terminal, else a line for each new text; both on standard error."""
    if not sys.stderr.isatty():
        said: set[str] = set()

        def line(text: str, share: float) -> None:
            if text not in said:
                output.note(f"{section}: {text} ({share:.0%})")
            said.add(text)

        yield line
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=output.err, transient=True) as bar:
        task = bar.add_task(section, total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)
