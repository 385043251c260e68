"""What is wrong with which rows: kept as masks, turned into text for the bad rows alone."""

import json
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.modelspec.rows import as_text

Mask = NDArray[np.bool_]

MOST_SHOWN: Final = 8
"""Problems of one row that are written out; the rest is counted."""
MOST_ROW_TEXT: Final = 16_384
"""Characters of a row as JSON; a longer one is cut."""
_CHUNK: Final = 256


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
        return [self._of(row) for row in np.flatnonzero(self.bad).tolist()]

    def _of(self, row: int) -> str:
        hits = [found for found in self._all if found.rows[row]]
        shown = [_reason(found, row) for found in hits[:MOST_SHOWN]]
        if len(hits) > MOST_SHOWN:
            shown.append(f"and {len(hits) - MOST_SHOWN} more problems")
        return "; ".join(shown)


def _reason(found: Finding, row: int) -> str:
    shown = "" if found.values is None else f" {_show(found.values[row])}"
    return f"{_cut(found.field)}:{shown} {found.what}; accepted: {found.accepted}"


def _show(value: pa.Scalar) -> str:
    if pa.types.is_temporal(value.type):  # Python cannot hold every time that Arrow can
        value = value.cast(pa.string())
        return _cut(str(value.as_py()))
    return _cut(repr(value.as_py()))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def rows_as_json(rows: pa.RecordBatch) -> list[str]:
    """Each row as JSON, for a person and a replay; NaN and infinity as Python writes them."""
    columns = [as_text(c) if pa.types.is_temporal(c.type) else c for c in rows.columns]
    if not columns:
        return ["{}"] * rows.num_rows
    texts = pa.RecordBatch.from_arrays(columns, rows.schema.names)
    return [
        json.dumps(row, default=str)[:MOST_ROW_TEXT]
        for start in range(0, rows.num_rows, _CHUNK)  # bounds the Python objects alive at once
        for row in texts.slice(start, _CHUNK).to_pylist()
    ]
