"""The measured part of the page about evidence, written between two marks of its prose."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.evidence.run import Part
from driftloop.local.bench.evidence.table import Cell, Table

BEGIN: Final = "<!-- measured: begin (written by `make bench-evidence`) -->"
END: Final = "<!-- measured: end -->"
TITLES: Final[Mapping[str, str]] = {
    "promotion": "Promotion",
    "alarms": "False alarms",
    "detection": "Detection and change points",
    "speed": "Speed and memory of drift",
    "estimates": "Performance without labels",
    "backtest": "The backtest",
}


def page(text: str, parts: Sequence[Part]) -> str:
    """The page `text` with the tables of `parts` between its marks; raises `InvalidInput`."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InvalidInput(f"page: no place for tables; accepted: lines {BEGIN!r} and {END!r}")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n{measured(parts)}\n{END}{tail}"


def measured(parts: Sequence[Part]) -> str:
    """All tables, in Markdown."""
    return "\n".join(line for part in parts for line in _part(part))


def cells(table: Table) -> list[list[str]]:
    """The rows of a table as texts: whole numbers with commas, others with three digits."""
    return [[_text(cell) for cell in row] for row in table.rows]


def _part(part: Part) -> Iterator[str]:
    yield from ("", f"### {TITLES[part.name]}", "")
    fewer = "" if part.scale == 1.0 else f" At a scale of {part.scale:g}, so with fewer runs."
    yield f"Measured on: {part.machine}.{fewer}"
    for table in part.tables:
        yield from ("", f"**{table.title}**", "")
        yield f"| {' | '.join(table.columns)} |"
        yield f"|{'|'.join(_rule(table, at) for at in range(len(table.columns)))}|"
        for row in cells(table):
            yield f"| {' | '.join(row)} |"
        if table.note:
            yield from ("", *textwrap.wrap(table.note, 100))


def _rule(table: Table, column: int) -> str:
    numbers = column and any(not isinstance(row[column], str) for row in table.rows)
    return "---:" if numbers else "---"


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    if isinstance(cell, int) or abs(cell) >= 1_000:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"
