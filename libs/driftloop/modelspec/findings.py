"""What is wrong with which rows: kept as masks, turned into text for the bad rows alone."""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.modelspec.values import listed, shown

Mask = NDArray[np.bool_]

MOST_SHOWN: Final = 8
"""Problems of one row that are written out; the rest is counted."""


class Finding(NamedTuple):
    """One problem of one column: the rows it hits, what is wrong and what would be accepted."""

    field: str
    rows: Mask
    what: str
    accepted: str
    values: pa.Array | None


class Findings:
    """All problems of a batch of `rows` rows."""

    def __init__(self, rows: int) -> None:
        self.bad: Mask = np.zeros(rows, dtype=np.bool_)
        self._all: list[Finding] = []

    def add(
        self, field: str, rows: Mask, what: str, accepted: str, values: pa.Array | None = None
    ) -> None:
        """Note that `field` is wrong on the rows where the mask is true, if there is one."""
        if rows.any():
            self._all.append(Finding(field, rows, what, accepted, values))
            self.bad |= rows

    def reasons(self) -> list[str]:
        """One text for each bad row, in row order; several problems are joined by '; '."""
        bad = np.flatnonzero(self.bad)
        place = np.cumsum(self.bad) - 1
        told: list[list[str]] = [[] for _ in range(len(bad))]
        more = np.zeros(len(bad), dtype=np.int64)
        for found in self._all:
            at = np.flatnonzero(found.rows)
            for row, text in zip(place[at].tolist(), _texts(found, at), strict=True):
                if len(told[row]) < MOST_SHOWN:
                    told[row].append(text)
                else:
                    more[row] += 1
        for row in np.flatnonzero(more).tolist():
            told[row].append(f"and {more[row]} more problems")
        return ["; ".join(texts) for texts in told]


def _texts(found: Finding, rows: NDArray[np.intp]) -> list[str]:
    """What is wrong on each of these rows."""
    field, end = _cut(found.field), f" {found.what}; accepted: {found.accepted}"
    if found.values is None:
        return [f"{field}:{end}"] * len(rows)
    values = found.values.take(pa.array(rows))
    if pa.types.is_temporal(values.type):
        return [f"{field}: {_cut(str(v))}{end}" for v in listed(shown(values))]
    return [f"{field}: {_cut(repr(value))}{end}" for value in listed(values)]


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
