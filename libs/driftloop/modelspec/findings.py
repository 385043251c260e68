"""What is wrong with which rows: kept as masks, turned into text for the bad rows alone."""

import json
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
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
    if pa.types.is_temporal(values.type):  # Python cannot hold every time that Arrow can
        return [f"{field}: {_cut(str(v))}{end}" for v in values.cast(pa.string()).to_pylist()]
    return [f"{field}: {_cut(repr(value))}{end}" for value in values.to_pylist()]


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def rows_as_json(rows: pa.RecordBatch) -> list[str]:
    """Each row as JSON, for a person and a replay; NaN and infinity as Python writes them."""
    columns = [as_text(c) if pa.types.is_temporal(c.type) else c for c in rows.columns]
    if not columns:
        return ["{}"] * rows.num_rows
    texts = pa.RecordBatch.from_arrays(columns, rows.schema.names)
    return [
        _json(row)[:MOST_ROW_TEXT]
        for start in range(0, rows.num_rows, _CHUNK)  # bounds the Python objects alive at once
        for row in texts.slice(start, _CHUNK).to_pylist()
    ]


def _json(row: dict[str, Any]) -> str:
    try:
        text = orjson.dumps(row, default=str)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return _json_of_any(row)
    # orjson has no NaN and infinity, and writes null instead.
    if text.count(b"null") != list(row.values()).count(None):
        return _json_of_any(row)
    return text.decode()


def _json_of_any(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str, ensure_ascii=False, separators=(",", ":"))
