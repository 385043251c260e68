"""Runs the sections of the bench about evidence, and keeps what they measured in a JSON file."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.evidence.table import Table, Tell
from driftloop.local.bench.page import machine

NAMES: Final = ("promotion", "alarms", "detection", "speed", "estimates", "backtest")
"""The sections in the order of the page, each a module here with a function `tables`."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of one section, and where and at which scale they were measured."""

    name: str
    machine: str
    scale: float
    tables: tuple[Table, ...]


def sections() -> tuple[str, ...]:
    """The sections that there are."""
    return tuple(name for name in NAMES if find_spec(f"{__package__}.{name}") is not None)


def chosen(only: str) -> tuple[str, ...]:
    """The sections named with commas in `only`, all if it is empty; raises `InvalidInput`."""
    there = sections()
    names = {name.strip() for name in only.split(",") if name.strip()}
    for name in sorted(names - set(there)):
        raise InvalidInput(f"only: {name!r} is not a section; accepted: {', '.join(there)}")
    return tuple(name for name in there if not names or name in names)


def measure(name: str, scale: float, tell: Tell) -> Part:
    """Run one section; `scale` 1.0 is the whole measurement, less does fewer runs."""
    tables: Callable[[float, Tell], Iterator[Table]]
    tables = import_module(f"{__package__}.{name}").tables
    return Part(name=name, machine=machine(), scale=scale, tables=tuple(tables(scale, tell)))


def kept(file: Path) -> list[Part]:
    """What was measured before; nothing if there is no file yet."""
    return msgspec.json.decode(file.read_bytes(), type=list[Part]) if file.exists() else []


def merged(before: Sequence[Part], now: Sequence[Part]) -> list[Part]:
    """The parts in the order of the page, each as last measured."""
    known = {part.name: part for part in (*before, *now)}
    return [known[name] for name in NAMES if name in known]


def keep(file: Path, parts: Sequence[Part]) -> None:
    """Write the parts for the next run and for the page."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(parts), indent=1) + b"\n")
