"""The stages, the servers that are compared at each, and when a server is done."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing
from driftloop.contracts import subjects
from driftloop.local.bench.stages import feeds
from driftloop.local.bench.stress import counters
from driftloop.local.bench.targets import peer

MODEL: Final = "bench"
LIMIT_ANSWERS: Final = "scored.limit.0"
ROW_ANSWERS: Final = "scored.rows.0"
SINGLE: Final = "rows.rows.valid.0"
"""Where single rows wait for FastStream."""


class Size(NamedTuple):
    """How many batches wait, and the rows of each."""

    batches: int
    rows: int


class Server(NamedTuple):
    """Who drains the log: a service of ours, or a script of `peers` with these arguments."""

    name: str
    command: Callable[[str, Path], tuple[str, ...]]
    """Of the address of NATS and the file of the model."""
    feed: Callable[[str, Size, str], Iterator[Outgoing]]
    """What it finds: of the model, the size and the run."""
    handled: "Handled"
    size: Size | None = None
    """Where it is so slow that less has to do."""
    service: bool = False


class Handled(NamedTuple):
    """How to tell what is done: rows since the log was emptied, asked every `pause` seconds."""

    rows: Callable[[Bus, str], Awaitable[int]]
    """Of the bus, and the address of the server's `/metrics`."""
    pause: float


class Stage(NamedTuple):
    """One step of the data plane."""

    name: str
    title: str
    model: str
    servers: tuple[Server, ...]
    baseline: str


def stages(size: Size) -> list[Stage]:
    """All of them."""
    rows = size.rows
    return [
        *(
            Stage(name, title, model, _scorers(rows), "limit")
            for name, title, model in (
                ("scoring", "bus to bus, logistic regression", "logreg"),
                ("scoring-hgb", "bus to bus, HistGradientBoosting, 100 trees", "hgb"),
            )
        ),
        Stage(
            "validation",
            "the flights of the demo: numbers, integers, categories, nulls",
            "",
            tuple(
                _ours("validation", feed, _messages(rows, "rows.*.valid.*", "ROWS"))._replace(
                    name=name
                )
                for name, feed in (
                    ("ours: good rows", partial(_received, 0.0, 0)),
                    ("ours: 1 % bad rows", partial(_received, feeds.BAD_SHARE, 0)),
                    ("ours: and 1 corrupt in 1000", partial(_received, feeds.BAD_SHARE, 1_000)),
                )
            ),
            "ours: good rows",
        ),
        Stage("feedback", "rows joined with their labels", "",
              (_ours("feedback", _pairs, _counted("outcomes_rows_total")),), "ours"),
        Stage("drift", "e-detectors on every feature and the prediction", "logreg",
              (_ours("drift", _scored, _counted("drift_rows_total")),), "ours"),
        Stage("telemetry", "scored rows into chDB", "",
              (_ours("telemetry", _scored, _counted("telemetry_rows_total")),), "ours"),
    ]  # fmt: skip


def _scorers(rows: int) -> tuple[Server, ...]:
    scored = subjects.scored(MODEL)
    return (
        _ours("inference", _valid, _messages(rows, scored, "SCORED")),
        Server(
            "limit",
            lambda url, model: peer(
                "score_limit", url, model, "ROWS", subjects.rows(MODEL, "valid"), LIMIT_ANSWERS
            ),
            _valid,
            _messages(rows, LIMIT_ANSWERS, "SCORED"),
        ),
        Server(
            "faststream, a row a message",
            lambda url, model: peer("score_faststream", url, model, "ROWS", SINGLE, ROW_ANSWERS),
            lambda model, size, run: feeds.single(SINGLE, size.batches, run),
            _messages(1, ROW_ANSWERS, "SCORED"),
            Size(20_000, 1),
        ),
    )


def _ours(
    service: str, feed: Callable[[str, Size, str], Iterator[Outgoing]], handled: Handled
) -> Server:
    command = (sys.executable, "-m", f"driftloop.{service}")
    return Server("ours", lambda url, model: command, feed, handled, service=True)


def _received(bad: float, corrupt: int, model: str, size: Size, run: str) -> Iterator[Outgoing]:
    return feeds.received(model, *size, run, bad, corrupt)


def _valid(model: str, size: Size, run: str) -> Iterator[Outgoing]:
    return feeds.valid(model, *size, run)


def _scored(model: str, size: Size, run: str) -> Iterator[Outgoing]:
    return feeds.scored(model, *size, run)


def _pairs(model: str, size: Size, run: str) -> Iterator[Outgoing]:
    yield from feeds.scored(model, *size, run)
    yield from feeds.labels(model, *size, run)


def _messages(rows: int, subject: str, stream: str) -> Handled:
    """By the messages of a subject, `rows` rows each."""

    async def handled(bus: Bus, _: str) -> int:
        return rows * await bus.log.messages(stream, subject)

    return Handled(handled, 0.01)


def _counted(name: str) -> Handled:
    """By a counter of the service."""

    async def handled(_: Bus, base: str) -> int:
        found = await counters.read(base)
        return round(sum(value for _, value in found.get(name, [])))

    return Handled(handled, 0.1)  # to ask takes time of the service
