"""What is wrong with which rows of a batch, kept as masks and turned into text for the bad rows alone."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


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

    def add(self, field: str, rows: Mask, what: str, accepted: str, values: pa.Array | None = None) -> None:
        """Note that `field` is wrong on the rows where the mask is true; nothing is noted for an empty mask."""
        if rows.any():
            self._all.append(Finding(field, rows, what, accepted, values))
            self.bad |= rows

    def reasons(self) -> list[str]:
        """One text for each bad row, in row order; several problems are joined by '; '."""
        return ["; ".join(self._of(row)) for row in np.flatnonzero(self.bad).tolist()]

    def _of(self, row: int) -> Iterator[str]:
        for found in self._all:
            if found.rows[row]:
                shown = "" if found.values is None else f" {_show(found.values[row].as_py())}"
                yield f"{found.field}:{shown} {found.what}; accepted: {found.accepted}"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def rows_as_json(rows: pa.RecordBatch) -> list[str]:
    """Each row as a JSON object, for a person and for a replay; NaN and infinity as Python writes them."""
    plain: Callable[[object], str] = str
    return [json.dumps(row, default=plain) for row in rows.to_pylist()]
