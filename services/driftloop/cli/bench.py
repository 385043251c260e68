"""`bench serve`: how fast inference answers, beside peers under the same load."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.text import Text

from driftloop.cli import output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import Json

if TYPE_CHECKING:
    from driftloop.local.bench.run import Options, Result, Tell
    from driftloop.local.bench.samples import Line
    from driftloop.local.bench.stress.results import StressResult

commands = typer.Typer(no_args_is_help=True, help="Measure on this machine.")

Workloads = Annotated[
    str,
    typer.Option(
        "--workload",
        help="With commas; of w1, w2, w2-binary, w2-arrow, nats, grpc, low, cold, workers, log, "
        "swaps, swaps-cold, shadows, overload, hostile.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="logreg, rf or hgb.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="How long a run is measured.")]
Warm = Annotated[float, typer.Option(min=0.0, help="Seconds of load before each run.")]
Repeats = Annotated[int, typer.Option(min=1, help="Runs of each server.")]
Retries = Annotated[
    int, typer.Option(min=0, help="Repetitions, at most, of a run that other processes disturbed.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME=STYLE=URL[=PID]",
        help="A server that runs already; again for more. STYLE: v2, rows, instances, named.",
    ),
]
Only = Annotated[
    str, typer.Option("--only", metavar="NAME,...", help="No other servers than these.")
]
Baseline = Annotated[
    str, typer.Option("--baseline", metavar="NAME", help="The server that ratios are to.")
]
Swaps = Annotated[int, typer.Option(min=1, help="Changes of the champion in swaps.")]
SwapRate = Annotated[float, typer.Option(min=0.1, help="Changes of the champion a second.")]
Data = Annotated[Path, typer.Option(help="Folder of the fitted models.")]

DATA = Path(".driftloop/bench")
LOADED = (
    "server", "requests/s", "rows/s", "ratio", "p50 ms", "p99 ms", "CPU us", "RSS MB",
    "errors", "verified", "disturbed",
)  # fmt: skip
COLD = ("server", "first answer s", "ratio", "RSS MB", "verified")
LEFT = ("server", "verified", "disturbed")
CLIENT_FULL = 0.95
"""Cores of a load client above which it may have been the limit."""


@commands.callback()
def bench() -> None:
    """Measure on this machine."""


@commands.command()
def serve(
    workload: Workloads = "w1",
    model: Model = "logreg",
    seconds: Seconds = 5.0,
    warm: Warm = 1.0,
    repeats: Repeats = 5,
    retries: Retries = 2,
    target: Targets = None,
    only: Only = "",
    baseline: Baseline = "",
    swaps: Swaps = 1_000,
    swap_rate: SwapRate = 17.0,
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Measure the inference service beside peers, under the same load in the same run."""
    from driftloop.local.bench.run import Options, run_bench

    options = Options(
        workloads=workload,
        model=model,
        seconds=seconds,
        warm=warm,
        repeats=repeats,
        retries=retries,
        targets=tuple(target or ()),
        only=tuple(name.strip() for name in only.split(",") if name.strip()),
        baseline=baseline,
        swaps=swaps,
        swap_rate=swap_rate,
        folder=data,
    )
    try:
        with progress() as tell:
            results = run_bench(options, tell)
    except RuntimeError as error:
        raise Stop(Exit.NO, str(error)) from error
    _print(options, results, json=json)
    if any(result.problems for result in results):
        raise Stop(Exit.NO)


def _print(options: "Options", results: list["Result | StressResult"], *, json: bool) -> None:
    from driftloop.local.bench.run import Result

    if json:
        told = msgspec.to_builtins(options, enc_hook=str)
        output.as_json({"options": told, "results": results})
    else:
        for result in results:
            if isinstance(result, Result):
                show(result)
            else:
                show_stress(result)


@contextmanager
def progress() -> Iterator["Tell"]:
    """A line that changes in a terminal, else a line for each step; both on standard error."""
    if not sys.stderr.isatty():
        yield output.note
        return
    # The spinner stands still: what it would take is missing from what is measured.
    with output.err.status("", refresh_per_second=1) as status:
        yield lambda text: status.update(Text(text))


def show(result: "Result") -> None:
    """The table of one workload, and what has to be said about it."""
    workload = result.workload
    cold = workload.kind == "cold"
    output.say(f"{workload.name}: {workload.title}", "bold")
    columns = COLD if cold else LOADED
    rows = [(_cold if cold else _loaded)(one) for one in result.lines]
    output.table(columns, rows, [name for name in columns if name not in LEFT])
    told = {"requests_per_s": "requests/s", "p50_ms": "p50", "first_answer_s": "first answer"}
    repeats = max(one.samples for one in result.lines)
    what = told[workload.compared]
    output.note(f"medians of {repeats}; ratio: {what} to that of {result.baseline}, paired")
    for one in result.lines:
        if (one.median.client_cores or 0.0) > CLIENT_FULL and not cold:
            output.note(f"{one.target}: the load client took a whole core; it may be the limit")
    for problem in result.problems:
        output.fail(problem)
    output.say("")


def show_stress(result: "StressResult") -> None:
    """Steady and stressed figures side by side, and what has to be said about them."""
    workload, lines = result.workload, result.lines
    output.say(f"{workload.name}: {workload.title}", "bold")
    rows = [
        [name, *(_number(one.figures.get(name), ",.4g") for one in lines)]
        for name in _names([one.figures for one in lines])
    ]
    rows += [
        [f"{name.split()[0]} ratio", *(_number(one.ratios.get(name), ".2f") for one in lines)]
        for name in _names([one.ratios for one in lines])
    ]
    rows += [
        [name, *(_number(one.counts.get(name), ",d") for one in lines)]
        for name in _names([one.counts for one in lines])
    ]
    rows.append(["disturbed", *(f"{one.disturbed} of {one.samples}" for one in lines)])
    columns = ("", *(one.condition for one in lines))
    output.table(columns, rows, columns[1:])
    for name, value in result.totals.items():
        output.say(f"{name}: {value:,.1f}")
    steady = ", ".join(dict.fromkeys(one.of for one in lines if one.of))
    output.note(f"medians of {lines[0].samples}, counts added up; ratio: to {steady}, paired")
    for problem in result.problems:
        output.fail(problem)
    output.say("")


def _names(parts: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


def _loaded(one: "Line") -> list[str]:
    found = one.median
    return [
        one.target,
        _number(found.requests_per_s, ",.0f"),
        _number(found.rows_per_s, ",.0f"),
        _number(one.ratio, ".2f"),
        _number(found.p50_ms, ".3f"),
        _number(found.p99_ms, ".3f"),
        _number(found.cpu_us, ",.1f"),
        _number(found.rss_mb, ",.0f"),
        str(found.errors),
        one.verified,
        f"{one.disturbed} of {one.samples}" if one.disturbed else "",
    ]


def _cold(one: "Line") -> list[str]:
    found = one.median
    return [
        one.target,
        _number(found.first_answer_s, ".2f"),
        _number(one.ratio, ".2f"),
        _number(found.rss_mb, ",.0f"),
        one.verified,
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
