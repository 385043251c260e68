"""Pytest plugin of the fault suite: its options, its seed, and the table of what became of each.

A test that shows a fault is marked `@pytest.mark.fault(12, "what is done")`, and reports what it
did by the fixture `record`. Those that are also marked `slow` run only when asked for: by
`--faults`, by `--fault 12`, or by naming their file or folder.
"""

import json
import random
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

SEED = 2013
COUNT = 46
"""Faults in the list; `tests/faults/README.md` tells them."""
COLUMNS = (
    "fault",
    "what is done",
    "injections",
    "rows in flight",
    "lost",
    "counted twice",
    "refused",
    "seconds to recover",
)
_PROPERTY = "fault line"


class Line(msgspec.Struct, kw_only=True):
    """One line of the table; None is for what does not apply."""

    fault: int
    title: str
    injections: int = 0
    """How often the fault was brought about."""
    rows: int | None = None
    """Rows and labels that were sent meanwhile, or were on their way."""
    lost: int | None = None
    """Of these, acknowledged to the producer and not found."""
    doubled: int | None = None
    """Of these, counted more than once."""
    refused: int | None = None
    """What was sent and was told to be refused, as it has to be."""
    seconds: float | None = None
    """From the fault, or from its end, until all was as before; the longest."""
    passed: bool = True


class Table(msgspec.Struct, kw_only=True):
    """All lines of one run."""

    seed: int
    date: str
    complete: bool
    """Every test of the suite ran, and passed."""
    lines: list[Line]


class Record(Protocol):
    """Reports what a test did; called more than once, it adds up."""

    def __call__(
        self,
        *,
        injections: int = 1,
        rows: int | None = None,
        lost: int | None = None,
        doubled: int | None = None,
        refused: int | None = None,
        seconds: float | None = None,
        fault: int | None = None,
    ) -> None:
        """`fault` says which, where a test is marked with several; else it is of all of them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "fault suite")
    group.addoption("--seed", type=int, default=None, help="what random moments are made from")
    group.addoption("--faults", action="store_true", help="run the slow tests of faults too")
    group.addoption("--fault", default="", metavar="N[,N]", help="run the tests of these faults")
    group.addoption("--table", default="", metavar="FILE", help="write the table as JSON")
    group.addoption(
        "--away-seconds", type=float, default=30.0, help="how long ClickHouse and NATS are away"
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.option.seed, config.option.faults = config.workerinput["faults"]
        return
    option = config.option
    if option.seed is None:
        # A random one where faults are what is asked for; else the tests are the same each time.
        option.seed = secrets.randbelow(1_000_000) if option.faults else SEED
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    option.faults = option.faults or bool(option.fault) or named
    config.pluginmanager.register(_Report(config), "fault-report")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What was decided here after the options were read holds for xdist's processes too."""
    node.workerinput["faults"] = node.config.option.seed, node.config.option.faults


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.option.seed}"


def pytest_itemcollected(item: pytest.Item) -> None:
    for number, _ in _faults_of(item):
        item.extra_keyword_matches.add(f"fault_{number}")  # for `-k fault_12`


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = {int(number) for number in config.option.fault.split(",") if number}
    kept: list[pytest.Item] = []
    out: list[pytest.Item] = []
    for item in items:
        faults = _faults_of(item)
        if faults:
            item.user_properties.append(("faults", faults))
        left = bool(faults) and item.get_closest_marker("slow") and not config.option.faults
        other = wanted and not wanted & {number for number, _ in faults}
        (out if left or other else kept).append(item)
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = kept


def _faults_of(item: pytest.Item) -> list[tuple[int, str]]:
    return [(mark.args[0], mark.args[1]) for mark in item.iter_markers("fault")]


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run: `--seed`, else a random one that is printed."""
    return int(request.config.option.seed)


@pytest.fixture
def rng(request: pytest.FixtureRequest, seed: int) -> random.Random:
    """Random moments of one test: the same ones for the same seed, whatever else runs."""
    print(f"--seed {seed}")  # noqa: T201  # pytest shows it when the test fails
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Report one line of the table; see `Record`."""
    marks = _faults_of(request.node)

    def made(*, fault: int | None = None, **counts: Any) -> None:
        for number, title in marks:
            if fault in (None, number):
                line = Line(fault=number, title=title, **({"injections": 1} | counts))
                request.node.user_properties.append((_PROPERTY, msgspec.to_builtins(line)))

    return made


class _Report:
    """Gathers the lines of all processes, prints them and writes them down."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lines: dict[tuple[int, str], Line] = {}
        self._whole = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = list(report.user_properties)
        faults = [tuple(fault) for name, given in properties if name == "faults" for fault in given]
        if report.failed:
            self._whole = False
        if report.when != "call" and not (report.failed and report.when == "setup"):
            return
        said = [msgspec.convert(p, Line) for name, p in properties if name == _PROPERTY]
        told = {line.fault for line in said}
        # Who tells nothing has brought its fault about once.
        said += [Line(fault=n, title=title, injections=1) for n, title in faults if n not in told]
        for line in said:
            self._add(msgspec.structs.replace(line, passed=report.passed))

    def _add(self, line: Line) -> None:
        key = (line.fault, line.title)
        before = self._lines.get(key)
        self._lines[key] = line if before is None else summed(before, line)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        option = self._config.option
        if option.table:
            asked = option.fault or option.keyword or session.exitstatus != 0
            whole = not asked and {line.fault for line in self._lines.values()} == set(
                range(1, COUNT + 1)
            )
            table = Table(
                seed=option.seed,
                date=f"{datetime.now(UTC):%Y-%m-%d}",
                complete=whole and self._whole,
                lines=self.lines,
            )
            text = json.dumps(msgspec.to_builtins(table), indent=1) + "\n"
            Path(option.table).write_text(text)

    @property
    def lines(self) -> list[Line]:
        """In the order of the faults."""
        return [self._lines[key] for key in sorted(self._lines)]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._lines:
            return
        if self._config.option.faults:
            terminalreporter.section("faults")
            for row in plain(self.lines):
                terminalreporter.line(row)
        else:
            terminalreporter.line("The slow tests of faults were left out; `make faults` runs all.")
        terminalreporter.line(f"seed: {self._config.option.seed}")


def summed(one: Line, other: Line) -> Line:
    """Two lines of one title as one."""

    def both(a: int | None, b: int | None) -> int | None:
        return a if b is None else b if a is None else a + b

    longest = [s for s in (one.seconds, other.seconds) if s is not None]
    return Line(
        fault=one.fault,
        title=one.title,
        injections=one.injections + other.injections,
        rows=both(one.rows, other.rows),
        lost=both(one.lost, other.lost),
        doubled=both(one.doubled, other.doubled),
        refused=both(one.refused, other.refused),
        seconds=max(longest) if longest else None,
        passed=one.passed and other.passed,
    )


def cells(lines: Iterable[Line]) -> list[tuple[str, ...]]:
    """The table as texts, without its head; empty for what does not apply."""
    return [
        (
            f"{line.fault}",
            line.title + ("" if line.passed else " FAILED"),
            *(
                "" if count is None else f"{count:,}"
                for count in (line.injections, line.rows, line.lost, line.doubled, line.refused)
            ),
            "" if line.seconds is None else f"{line.seconds:.1f}",
        )
        for line in lines
    ]


def plain(lines: Iterable[Line]) -> list[str]:
    """The table for a terminal."""
    table = [COLUMNS, *cells(lines)]
    widths = [max(len(row[at]) for row in table) for at in range(len(COLUMNS))]
    return [
        "  ".join(
            text.ljust(width) if at == 1 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
