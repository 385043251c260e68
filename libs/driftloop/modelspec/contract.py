"""The data contract a spec sets: rows as they came in, valid and quarantined rows out, a batch at a time."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import (
    EVENT_ID,
    EVENT_TIME,
    QUARANTINED,
    Matrix,
    matrix_column,
    valid_schema,
)
from driftloop.modelspec import durations
from driftloop.modelspec.columns import encode_feature, to_event_time
from driftloop.modelspec.findings import Findings, Mask, rows_as_json
from driftloop.modelspec.spec import Spec


class Checked(NamedTuple):
    """A batch after the check: `valid` + `quarantined` + `duplicates` rows are all that came in."""

    valid: pa.RecordBatch
    quarantined: pa.RecordBatch
    duplicates: int


class Contract:
    """A spec compiled for checking: build it once, use it for every batch."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.schema = valid_schema(len(spec.features))
        earliest = datetime.fromisoformat(spec.limits.earliest)
        self._earliest = int((earliest if earliest.tzinfo else earliest.replace(tzinfo=UTC)).timestamp() * 1000)
        self._future = durations.milliseconds(spec.limits.future)
        columns = spec.columns
        self._known = {columns.event_id, columns.event_time, columns.key, spec.target.name}
        self._known |= {f.name for f in spec.features}

    def features(self, rows: pa.RecordBatch) -> tuple[Matrix, Findings]:
        """Model input of shape (rows, features) and what is wrong with it; a bad row's values mean nothing."""
        found = Findings(rows.num_rows)
        self._unknown_columns(rows, found)
        matrix = np.empty((rows.num_rows, len(self.spec.features)), dtype=np.float32)
        names = set(rows.schema.names)
        for at, feature in enumerate(self.spec.features):
            column = rows.column(feature.name) if feature.name in names else None
            matrix[:, at] = encode_feature(feature, column, rows.num_rows, found)
        return matrix, found

    def check(self, rows: pa.RecordBatch, now_ms: int) -> Checked:
        """Split `rows` by the contract; `now_ms` is the present (milliseconds since 1970) for the time sanity check."""
        rows, duplicates = self._without_duplicates(rows)
        matrix, found = self.features(rows)
        ids = self._event_ids(rows, found)
        times = self._event_times(rows, now_ms, found)
        quarantined = self._quarantine(rows, ids, times, found)
        keep = pa.array(~found.bad)
        columns = [ids, times, self._keys(rows), matrix_column(matrix)]
        valid = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        return Checked(valid if not found.bad.any() else valid.filter(keep), quarantined, duplicates)

    def _unknown_columns(self, rows: pa.RecordBatch, found: Findings) -> None:
        if self.spec.unknown_columns == "drop":
            return
        for name in rows.schema.names:
            if name not in self._known:
                given = rows.column(name).is_valid().to_numpy(zero_copy_only=False)
                accepted = ", ".join(f.name for f in self.spec.features)
                found.add(name, given, "is an unknown column", accepted, rows.column(name))

    def _without_duplicates(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        name = self.spec.columns.event_id
        if name not in rows.schema.names or rows.num_rows < 2:
            return rows, 0
        encoded = rows.column(name).dictionary_encode()
        if len(encoded.dictionary) + encoded.null_count == rows.num_rows or encoded.null_count:
            return rows, 0
        _, first = np.unique(encoded.indices.to_numpy(zero_copy_only=False), return_index=True)
        return rows.take(pa.array(np.sort(first))), rows.num_rows - len(first)

    def _event_ids(self, rows: pa.RecordBatch, found: Findings) -> pa.Array:
        name = self.spec.columns.event_id
        if name not in rows.schema.names:
            found.add(name, _all(rows), "is missing", "a text that is unique to the row")
            return pa.array([""] * rows.num_rows)
        ids = rows.column(name).cast(pa.string())
        empty = pa.compute.fill_null(pa.compute.equal(ids, ""), True)
        found.add(name, empty.to_numpy(zero_copy_only=False), "is missing", "a text that is unique to the row")
        return ids.fill_null("")

    def _event_times(self, rows: pa.RecordBatch, now_ms: int, found: Findings) -> pa.Array:
        name = self.spec.columns.event_time
        accepted = "an ISO 8601 time or milliseconds since 1970"
        if name not in rows.schema.names:
            found.add(name, _all(rows), "is missing", accepted)
            return pa.array(np.zeros(rows.num_rows, dtype="datetime64[ms]"), EVENT_TIME.type)
        raw = rows.column(name)
        times = to_event_time(raw)
        unread = (~times.is_valid().to_numpy(zero_copy_only=False)).astype(np.bool_)
        found.add(name, unread, "is not a time", accepted, raw)
        times = times.fill_null(pa.scalar(0, EVENT_TIME.type))
        millis = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
        early = ~unread & (millis < self._earliest)
        found.add(name, early, "is too early", f"from {self.spec.limits.earliest}", raw)
        late = millis > now_ms + self._future
        found.add(name, late, "is in the future", f"at most {self.spec.limits.future} ahead", raw)
        return times

    def _keys(self, rows: pa.RecordBatch) -> pa.Array:
        name = self.spec.columns.key
        if not name or name not in rows.schema.names:
            return pa.nulls(rows.num_rows, pa.string())
        return rows.column(name).cast(pa.string())

    def _quarantine(self, rows: pa.RecordBatch, ids: pa.Array, times: pa.Array, found: Findings) -> pa.RecordBatch:
        at = pa.array(np.flatnonzero(found.bad))
        bad = rows.take(at)
        return pa.RecordBatch.from_arrays(
            [
                ids.take(at),
                times.take(at),
                pa.array(found.reasons(), pa.string()),
                pa.array(rows_as_json(bad), pa.string()),
            ],
            schema=QUARANTINED.remove(0).insert(0, EVENT_ID),
        )


def _all(rows: pa.RecordBatch) -> Mask:
    return np.ones(rows.num_rows, dtype=np.bool_)
