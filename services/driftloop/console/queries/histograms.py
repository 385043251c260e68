"""Distributions of the numbers in an array column, of two sets of rows, counted by ClickHouse."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from driftloop.console.queries.past import Past, Row

CELLS: Final = 24
NAMES: Final = 30
"""Categories shown on their own; the rest of them are one."""
OTHERS: Final = "(others)"
UNSEEN: Final = "(unseen)"


class Column(NamedTuple):
    """A place in the array: its name and type, and the names of its values if they are codes."""

    name: str
    type: str
    names: tuple[str, ...] = ()


class Grid(NamedTuple):
    """Cells of equal width from `low` on; the outermost hold what lies beyond them, too."""

    low: float
    width: float
    cells: int

    @property
    def edges(self) -> list[float]:
        """The ends of the cells, one more than these."""
        return [self.low + self.width * at for at in range(self.cells + 1)]


class Shares(NamedTuple):
    """A distribution, as shares of all rows of either set; `edges` or `names` are empty."""

    column: Column
    edges: list[float]
    names: list[str]
    reference: list[float]
    now: list[float]
    missing: tuple[float, float]

    @property
    def distance(self) -> float:
        """Total variation distance; rows without a value are a cell, too."""
        pairs = [*zip(self.reference, self.now, strict=True), self.missing]
        return 0.5 * sum(abs(a - b) for a, b in pairs)


class Histograms(NamedTuple):
    """The distributions, and the rows of both sets."""

    shares: list[Shares]
    reference_rows: int
    now_rows: int


async def histograms(past: Past, columns: Sequence[Column], reference: str, now: str) -> Histograms:
    """Distributions of an array `x` that two statements select: a reference, and what is now."""
    source = f"SELECT 0 AS part, x FROM ({reference}) UNION ALL SELECT 1 AS part, x FROM ({now})"
    values = f"({source}) ARRAY JOIN x AS v, arrayEnumerate(x) AS at"
    looked = await past.ask(
        "SELECT part, at, count() AS n, countIf(isFinite(v)) AS given,"
        " minIf(v, isFinite(v)) AS least, maxIf(v, isFinite(v)) AS most,"
        " quantilesExactIf(0.01, 0.99)(v, isFinite(v)) AS ends"
        f" FROM {values} WHERE at <= {len(columns)} GROUP BY part, at"
    )
    grids = [_grid(column, _of(looked, at)) for at, column in enumerate(columns, 1)]
    counted = await past.ask(_counts(values, grids)) if looked else []
    rows = {(row["part"], row["at"]): row["n"] for row in looked}
    shares = [
        _shares(
            column, grids[at - 1], _of(counted, at), (rows.get((0, at), 0), rows.get((1, at), 0))
        )
        for at, column in enumerate(columns, 1)
    ]
    return Histograms(
        shares,
        *(
            max((n for (part, _), n in rows.items() if part == which), default=0)
            for which in (0, 1)
        ),
    )


def _of(rows: Iterable[Row], at: int) -> list[Row]:
    return [row for row in rows if row["at"] == at]


def _counts(values: str, grids: Sequence[Grid]) -> str:
    lows, widths, cells = (
        f"[{', '.join(map(repr, numbers))}]" for numbers in zip(*grids, strict=True)
    )
    return (
        f"SELECT part, at, toInt32(least(greatest(floor((toFloat64(v) - {lows}[at])"
        f" / {widths}[at]), 0), {cells}[at] - 1)) AS cell, count() AS n"
        f" FROM {values} WHERE isFinite(v) AND at <= {len(grids)} GROUP BY part, at, cell"
    )


def _grid(column: Column, looked: Sequence[Row]) -> Grid:
    """Where the cells of a column are: what is unseen (-1) and a cell a code, or equal widths."""
    if column.names:
        return Grid(-1.0, 1.0, len(column.names) + 1)
    given = [row for row in looked if row["given"]]
    if not given:
        return Grid(0.0, 1.0, 1)
    least, most = min(row["least"] for row in given), max(row["most"] for row in given)
    if column.type == "integer" and most - least < CELLS:
        return Grid(least - 0.5, 1.0, int(most - least) + 1)
    low, high = min(row["ends"][0] for row in given), max(row["ends"][1] for row in given)
    width = (high - low) / CELLS
    if not low + width > low:
        return Grid(low - 0.5, 1.0, 1)
    return Grid(low, width, CELLS)


def _shares(column: Column, grid: Grid, counted: Sequence[Row], rows: tuple[int, int]) -> Shares:
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    for row in counted:
        counts[row["part"], row["cell"]] = row["n"]
    both = [
        [counts[part, cell] / max(n, 1) for cell in range(grid.cells)]
        for part, n in enumerate(rows)
    ]
    given = [sum(n for (its, _), n in counts.items() if its == part) for part in (0, 1)]
    gone = ((rows[0] - given[0]) / max(rows[0], 1), (rows[1] - given[1]) / max(rows[1], 1))
    if not column.names:
        return Shares(column, grid.edges, [], both[0], both[1], gone)
    names, (reference, now) = _named([UNSEEN, *column.names], both)
    return Shares(column, [], names, reference, now, gone)


def _named(names: list[str], both: list[list[float]]) -> tuple[list[str], list[list[float]]]:
    """The names in their order, those that are rare as one, what is unseen only where it is."""
    weight = [a + b for a, b in zip(*both, strict=True)]
    shown = [at for at in range(len(names)) if at or weight[0]]
    if len(shown) > NAMES:
        often = sorted(shown, key=lambda at: -weight[at])[: NAMES - 1]
        shown = [at for at in shown if at in often]
        rest = [sum(its) - sum(its[at] for at in shown) for its in both]
        made = [[*(its[at] for at in shown), more] for its, more in zip(both, rest, strict=True)]
        return [*(names[at] for at in shown), OTHERS], made
    return [names[at] for at in shown], [[its[at] for at in shown] for its in both]
