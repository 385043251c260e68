"""`backtest`: what the loop would have done on a labelled file, for tuning a spec beforehand."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftloop.cli import output
from driftloop.contracts.errors import InvalidInput

if TYPE_CHECKING:
    from driftloop.local.backtest.grid import Changes
    from driftloop.local.backtest.report import Report as Told
    from driftloop.local.backtest.run import Backtest, Speed
    from driftloop.local.backtest.table import Labelled
    from driftloop.modelspec.spec import Spec

FLIGHTS: Final = "flights"
"""The word that stands for the demo's spec, and for its rows."""
USUAL_LABEL_TIME: Final = "label_time"

SpecFile = Annotated[
    str, typer.Argument(metavar="SPEC", help="A spec as TOML, or `flights`: that of the demo.")
]
DataFile = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]",
        help="Labelled rows as CSV, Parquet, NDJSON or Arrow, or `flights`: those of the demo.",
    ),
]
LabelTime = Annotated[
    str,
    typer.Option(
        "--label-time", metavar="COLUMN", help="When the label came; else `label_time`, if there."
    ),
]
LabelDelay = Annotated[
    str, typer.Option("--label-delay", metavar="2h", help="How long after its row a label comes.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Change a field of the spec; again for more."
    ),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="FIELD=VALUE,...",
        help="Compare values of a field; again for the product with those of others.",
    ),
]
Slice = Annotated[
    str,
    typer.Option(
        "--slice", metavar="3h", help="Event time played at once; else about 128 rows, at most 3h."
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=0, help="Only the first rows; 0 is all.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of the fits, in place of training.seed.")
]
Shuffle = Annotated[
    int | None,
    typer.Option("--shuffle", metavar="SEED", help="The control: rows dealt at random onto times."),
]
Phases = Annotated[
    int,
    typer.Option(
        "--phases",
        min=1,
        max=32,
        help="Periodic retraining so often, its fits a part of their space later each time.",
    ),
]
Report = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Where the report goes, as JSON.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Where the plot goes; one policy only."),
]


def backtest(
    spec: SpecFile,
    file: DataFile = None,
    label_time: LabelTime = "",
    label_delay: LabelDelay = "0s",
    change: Set = None,
    grid: Grid = None,
    slice_: Slice = "",
    rows: Rows = 0,
    seed: Seed = None,
    shuffle: Shuffle = None,
    phases: Phases = 1,
    json: Report = None,
    plot: Plot = None,
) -> None:
    """Replay a labelled file through the loop, and report what it would have done."""
    from driftloop.local.backtest import grid as grids
    from driftloop.local.backtest import table

    changes = _changes(change or [], grid or [], seed)
    if plot is not None and len(changes) > 1:
        raise InvalidInput(f"--plot: {len(changes)} policies; accepted: one, without --grid")
    base = _spec(spec)
    for one in changes:
        grids.changed(base, one)  # all that is wrong is said before the file is read
    slice_ms = _milliseconds("--slice", slice_) if slice_ else 0
    delay_ms = _milliseconds("--label-delay", label_delay)
    with output.err.status("Reading the rows"):
        given = _rows(grids.changed(base, changes[0]), spec, file, label_time, delay_ms)
    given = table.shuffled(given, base, shuffle) if shuffle is not None else given
    given = table.first(given, rows)
    from driftloop.local.backtest.run import Backtest

    with contextlib.closing(Backtest(given, slice_ms, phases)) as played:
        _tell(_play(base, played, len(given.times), changes, plot), json)


def _play(
    base: "Spec", played: "Backtest", rows: int, changes: list["Changes"], plot: Path | None
) -> list["Told"]:
    """The report of each policy; says how quick it was, and draws the one there is to draw."""
    from driftloop.local.backtest import plot as picture

    reports = []
    with _progress(rows, len(changes)) as tell:
        for done in played.run(base, changes, tell):
            reports.append(done.report)
            if plot is not None and done.compared is not None:
                picture.draw(done.spec, done.played, done.compared, plot)
    _say_speed(played.speed)
    return reports


def _tell(reports: list["Told"], json: Path | None) -> None:
    from driftloop.local.backtest import report

    if json is not None:
        json.write_bytes(report.encode(reports))
    if len(reports) == 1:
        report.show(reports[0], output.out)
    else:
        report.show_grid(reports, output.out)


def _changes(change: list[str], grid: list[str], seed: int | None) -> list["Changes"]:
    """The changes of each policy: what is set for all, and the product of the grid."""
    from driftloop.local.backtest import grid as grids

    fixed: Changes = {} if seed is None else {"training.seed": seed}
    for text in change:
        fixed |= grids.one(text)
    return [{**fixed, **one} for one in grids.product(grid)]


def _spec(name: str) -> "Spec":
    from driftloop.modelspec import check

    if _is_demo(name):
        from driftloop.local import demo

        return check.load(Path(str(demo.__file__)).with_name("flights.toml"))
    return check.load(Path(name))


def _is_demo(name: str) -> bool:
    return name == FLIGHTS and not Path(name).exists()


def _rows(
    spec: "Spec", of_spec: str, file: str | None, label_time: str, delay_ms: int
) -> "Labelled":
    from driftloop.local.backtest import table

    if file is None and not _is_demo(of_spec):
        raise InvalidInput("FILE: is missing; accepted: a file of labelled rows, or `flights`")
    if file is None or _is_demo(file):
        return table.flights()
    return read(spec, Path(file), label_time, delay_ms)


def read(spec: "Spec", file: Path, label_time: str, delay_ms: int) -> "Labelled":
    """The rows of a file with their labels and label times; raises `InvalidInput`."""
    import pyarrow as pa

    from driftloop.cli import prepare
    from driftloop.cli.files import read as batches_of
    from driftloop.cli.files import sha256
    from driftloop.contracts.batches import LABEL_TIME
    from driftloop.local.backtest.table import labelled

    raw = pa.Table.from_batches(batches_of(file)).combine_chunks()
    names = raw.column_names
    target, event_time = spec.target.name, spec.columns.event_time
    came = label_time or (USUAL_LABEL_TIME if USUAL_LABEL_TIME in names else "")
    for option, name in (("target.name", target), ("columns.event_time", event_time)):
        _there(option, name, names)
    if came:
        _there("--label-time", came, names)
    whole = raw.to_batches()[0]
    times = prepare.whole_numbers(whole.column(came)) if came else None
    without = raw.drop_columns([came]) if came else raw
    stamp = prepare.Stamp(prefix=sha256(file)[:16], now_ms=0)
    rows = pa.Table.from_batches(prepare.rows(without.to_batches(), spec, stamp))
    none = pa.nulls(len(whole), LABEL_TIME.type)
    return labelled(rows, spec, whole.column(target), none if times is None else times, delay_ms)


def _there(option: str, name: str, names: list[str]) -> None:
    if name not in names:
        raise InvalidInput(
            f"{option}: the file has no column {name!r}; accepted: {', '.join(names) or 'none'}"
        )


def _milliseconds(option: str, text: str) -> int:
    from driftloop.modelspec import durations

    try:
        return durations.milliseconds(text)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from error


@contextlib.contextmanager
def _progress(rows: int, policies: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, in a terminal."""
    if not sys.stderr.isatty():
        yield lambda policy, done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=output.err, transient=True) as bar:
        task = bar.add_task("Playing", total=rows * policies)

        def tell(policy: int, done: int) -> None:
            text = f"Policy {policy + 1} of {policies}" if policies > 1 else "Playing"
            bar.update(task, description=text, completed=policy * rows + done)

        yield tell


def _say_speed(speed: "Speed") -> None:
    output.note(
        f"{speed.rows:,} rows in {speed.wall:.1f} s and {speed.fitting:.1f} s of fits and gates: "
        f"{speed.rows / max(speed.wall, 1e-9):,.0f} rows/s without these "
        f"({speed.rows / max(speed.cpu, 1e-9):,.0f} a CPU second)"
    )
