"""The page about the speed of the data plane, written from what a run measured."""

import platform
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from driftloop.local.bench.chain.run import POISONED, SPIKE, ChainPoint, ChainResult
from driftloop.local.bench.stages.run import StageResult

TOP: Final = """\
# How fast the data plane is

Rows come in, column batches travel: no service calls Python for a row or a value. What is left is
the work of Arrow, numpy, onnxruntime, River and ClickHouse, and what NATS takes to store and
deliver. `make bench-data` measured this and wrote this page
([how](../how-to/measure-the-data-plane.md)); your machine gives other numbers, and ratios much
like these.
"""
STAGES: Final = """
## Each service alone

The log is filled while the service is stopped, then it is let go and timed until it has handled
all. *Rows/s* is by the clock, with the NATS server on the same machine; *rows/s a core* by the
CPU time of the service alone. `limit` is a loop of nats-py and onnxruntime written by hand for
this one thing, with the same batches and no checks, metrics, shadows or retries. Ours runs a
model in two threads where that pays, so by the clock it may be faster than the model on one. The
ratio is that of rows/s, paired.
"""
CHAIN: Final = """
## All services together

A producer sends rows at a rate through `ingest`, and the label of each row a second later;
`validation`, `inference`, `feedback`, `drift` and `telemetry` run beside it, and the NATS server,
all on this machine. A rate is kept up when nothing is refused and every service has read all
there is within three seconds of the last row. Latency is from a batch sent to its scored batch
heard.
"""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """All results of a run, and where it was."""

    machine: str
    stages: list[StageResult]
    chain: ChainResult


def machine() -> str:
    """This machine, in words."""
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    python = platform.python_version()
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, Python {python}"


def page(measured: Measured) -> str:
    """The page, in Markdown."""
    lines = [TOP, f"Measured on: {measured.machine}.", STAGES.rstrip("\n"), ""]
    for stage in measured.stages:
        lines += [f"### {stage.name}: {stage.title}", "", *_stage(stage), ""]
    lines += [CHAIN.lstrip("\n").rstrip("\n"), "", *_chain(measured.chain), ""]
    return "\n".join(lines)


def stage_cells(stage: StageResult) -> list[list[str]]:
    """The table of a stage: server, rows/s, rows/s a core, ratio, NATS us a row, RSS MB."""
    rows = [
        [
            line.server,
            f"{line.rows_per_s:,.0f}",
            f"{line.rows_per_core_s:,.0f}",
            "-" if line.ratio is None else f"{line.ratio:.3g}",
            f"{line.nats_us_per_row:.2f}",
            f"{line.rss_mb:,.0f}",
        ]
        for line in stage.lines
    ]
    if stage.engine_rows_per_s is not None:
        rows.append(["onnxruntime alone", "-", f"{stage.engine_rows_per_s:,.0f}", "-", "-", "-"])
    return rows


def chain_cells(chain: ChainResult) -> list[list[str]]:
    """The table of the chain: load, rows/s, p50 and p99 ms, all read after s, cores, RSS MB."""
    points = {"highest rate": chain.highest}
    points |= {f"{share} of it": point for share, point in chain.latency.items()}
    if chain.poisoned is not None:
        points[f"{POISONED:.0%} of it, with bad input"] = chain.poisoned
    points[f"{SPIKE:g} times it offered, taken"] = chain.spike
    return [
        [
            name,
            f"{point.told.sent / point.seconds:,.0f}",
            f"{point.told.p50_ms:.1f}",
            f"{point.told.p99_ms:.1f}",
            f"{point.drain_seconds:.2f}",
            f"{sum(point.cores.values()):.2f}",
            f"{sum(point.megabytes.values()):,.0f}",
        ]
        for name, point in points.items()
    ]


def _stage(stage: StageResult) -> Iterator[str]:
    head = ["", "rows/s", "rows/s a core", "ratio", "CPU of NATS, us a row", "RSS MB"]
    yield from _table(head, stage_cells(stage))


def _chain(chain: ChainResult) -> Iterator[str]:
    head = ["", "rows/s", "p50 ms", "p99 ms", "all read after s", "CPU, cores", "RSS MB"]
    yield from _table(head, chain_cells(chain))
    used = sorted(chain.highest.cores.items(), key=lambda item: -item[1])
    each = ", ".join(f"{name} {cores:.2f}" for name, cores in used)
    yield ""
    producer = chain.highest.told.client_cores
    yield f"CPU at the highest rate, in cores: {each}; the producer {producer:.2f}."
    yield ""
    if chain.poisoned is not None:
        yield from textwrap.wrap(_poisoned(chain.poisoned), 100)
        yield ""
    yield from _spike(chain.spike, chain.highest)


def _poisoned(point: ChainPoint) -> str:
    told, good = point.told, point.told.sent - point.told.bad
    kept = "was kept up" if point.kept_up else "was not kept up"
    return (
        f"With bad input the rate {kept}: of {told.sent:,} rows {told.bad:,} broke the contract, "
        f"and {told.corrupt:,} batches beside them could not be read and were refused. Of the "
        f"{good:,} good rows {told.scored:,} were scored and {told.joined:,} joined with their "
        "labels."
    )


def _spike(spike: ChainPoint, highest: ChainPoint) -> Iterator[str]:
    told = spike.told
    each = ", ".join(
        f"{name} {most:,.0f} ({highest.megabytes.get(name, 0.0):,.0f})"
        for name, most in spike.megabytes.items()
    )
    text = (
        f"In the spike {spike.rate:,.0f} rows/s were offered for {spike.seconds:.0f} s, by a "
        f"producer that sends again what is refused. {told.sent:,} rows were taken, a batch was "
        f"told to come again {told.again:,} times, and in the end the producer was "
        f"{told.behind_seconds:.0f} s behind its schedule. {told.scored:,} rows were scored, "
        f"{told.joined:,} joined, and {spike.drain_seconds:.0f} s after the last every service had "
        f"read everything. Most memory of each process, MB, and at the highest rate: {each}."
    )
    yield from textwrap.wrap(text, 100)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
