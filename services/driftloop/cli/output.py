"""How commands speak: tables and lines for people, JSON for scripts, errors in red."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE: Final = 200
"""Columns of a table that goes into a file or a pipe."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """A plain table; the columns in `right` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    out.print(made)


def say(text: str, style: str = "") -> None:
    """A line for a person; nothing in it is read as markup."""
    out.print(Text(text, style=style), soft_wrap=True)


def note(text: str) -> None:
    """A remark on standard error, out of the way of what scripts read."""
    err.print(Text(text, style="dim"), soft_wrap=True)


def fail(text: str) -> None:
    """One red line a problem, on standard error."""
    for part in text.splitlines():
        err.print(Text(part, style="red"), soft_wrap=True)


def raw(text: str) -> None:
    """Text exactly as it is, for scripts."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def as_json(value: Any, *, indent: int = 2) -> None:
    """A value as one JSON document; numbers that JSON cannot hold become null."""
    text = msgspec.json.encode(value)
    raw((msgspec.json.format(text, indent=indent) if indent else text).decode())


def age(seconds: float) -> str:
    """A span of time in its largest sensible unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def since(iso: str, now: datetime | None = None) -> float:
    """Seconds since an ISO 8601 time; 0 for an empty text."""
    if not iso:
        return 0.0
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(iso)).total_seconds()


def moment(iso: str) -> str:
    """An ISO 8601 time in UTC, to the second."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S}" if iso else ""
