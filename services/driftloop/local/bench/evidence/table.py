"""A table of the page about evidence, as measured."""

from collections.abc import Callable

import msgspec

Cell = str | int | float
Tell = Callable[[str, float], None]
"""Told what is measured, and which share of it is done (0 to 1)."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of cells under `columns`; `note` says how it was measured, with seeds."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
