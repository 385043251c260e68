"""The data contract a spec sets: rows as they came in, valid and quarantined rows out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.contracts.batches import (
    EVENT_TIME,
    QUARANTINED,
    Matrix,
    matrix_column,
    valid_schema,
)
from driftloop.modelspec import durations
from driftloop.modelspec.columns import encode_feature, to_event_time
from driftloop.modelspec.duplicates import repeated
from driftloop.modelspec.findings import Findings, Mask
from driftloop.modelspec.rows import as_text, plain
from driftloop.modelspec.rowtexts import rows_as_json
from driftloop.modelspec.spec import Feature, Spec
from driftloop.modelspec.usual import Usual, usual_texts, usual_times

MOST_ID: Final = 256

Counts = NDArray[np.int64]
"""Numbers of rows, batch by batch."""


class Checked(NamedTuple):
    """A batch after the check: `valid` + `quarantined` + `duplicates` rows are all that came in."""

    valid: pa.RecordBatch
    quarantined: pa.RecordBatch
    duplicates: int


class _Made(NamedTuple):
    """Valid and quarantined rows in order, and the mask of those that were bad."""

    valid: pa.RecordBatch
    quarantined: pa.RecordBatch
    bad: Mask

    def apart(self, counts: Counts, duplicates: Counts) -> list[Checked]:
        """What belongs to each of the batches, of `counts` rows here, that were put together."""
        before = np.concatenate([[0], np.cumsum(self.bad)])
        made, start = [], 0
        for end, twice in zip(np.cumsum(counts).tolist(), duplicates.tolist(), strict=True):
            first, last = int(before[start]), int(before[end])
            valid = self.valid.slice(start - first, end - start - (last - first))
            made.append(Checked(valid, self.quarantined.slice(first, last - first), twice))
            start = end
        return made


class Contract:
    """A spec compiled for checking: build it once, use it for every batch."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.schema = valid_schema(len(spec.features))
        earliest = datetime.fromisoformat(spec.limits.earliest)
        self._earliest = int(
            (earliest if earliest.tzinfo else earliest.replace(tzinfo=UTC)).timestamp() * 1000
        )
        self._future = durations.milliseconds(spec.limits.future)
        self._nothing = pa.RecordBatch.from_pylist([], schema=QUARANTINED)
        columns = spec.columns
        self._known = {columns.event_id, columns.event_time, columns.key, spec.target.name}
        self._known |= {f.name for f in spec.features}
        self._place = {feature.name: at for at, feature in enumerate(spec.features)}
        self._usual = Usual(spec)

    def features(self, rows: pa.RecordBatch) -> tuple[Matrix, Findings]:
        """Model input of shape (rows, features) and what is wrong with it.

        The values of a bad row mean nothing.
        """
        return self._features(plain(rows), self.spec.features)

    def _features(
        self, rows: pa.RecordBatch, features: Sequence[Feature]
    ) -> tuple[Matrix, Findings]:
        found = Findings(rows.num_rows)
        self._unknown_columns(rows, found)
        matrix = np.zeros((rows.num_rows, len(self.spec.features)), dtype=np.float32)
        names = set(rows.schema.names)
        for feature in features:
            column = rows.column(feature.name) if feature.name in names else None
            made = encode_feature(feature, column, rows.num_rows, found)
            matrix[:, self._place[feature.name]] = made
        return matrix, found

    def check(self, rows: pa.RecordBatch, now_ms: int) -> Checked:
        """Split `rows` by the contract; `now_ms` is the present in milliseconds since 1970."""
        return self.check_each([rows], now_ms)[0]

    def check_each(self, batches: Sequence[pa.RecordBatch], now_ms: int) -> list[Checked]:
        """The same for each of several batches of one schema, looked at as one: it costs less."""
        counts = np.array([batch.num_rows for batch in batches])
        rows = plain(batches[0] if len(batches) == 1 else pa.concat_batches(batches))
        again = self._again(rows, counts)
        if again is None:
            return self._made(rows, now_ms).apart(counts, np.zeros_like(counts))
        before = np.concatenate([[0], np.cumsum(again)])
        twice = np.diff(before[np.concatenate([[0], np.cumsum(counts)])])
        return self._made(rows.filter(pa.array(~again)), now_ms).apart(counts - twice, twice)

    def _made(self, rows: pa.RecordBatch, now_ms: int) -> "_Made":
        """Quickly what is clear, thoroughly the rows that are doubtful."""
        quick = self._usual.read(rows)
        clear = self._clear(rows, now_ms) if quick is not None else None
        if quick is None or clear is None:
            return self._thorough(rows, now_ms, self.spec.features)
        marked = bool(clear.any())
        doubtful = clear
        for values in quick.doubtful.values():
            doubtful |= values
        columns = self._columns(rows, quick.matrix)
        quarantined = self._nothing
        bad = doubtful
        if doubtful.any():
            at = np.flatnonzero(doubtful)
            some = [self.spec.features[place] for place in quick.doubtful]
            # What is good after all has its numbers already: they are read alike both ways.
            suspects = rows.take(pa.array(at))
            if marked:
                _, quarantined, bad[at] = self._looked(suspects, now_ms, some)
            else:
                quarantined, bad[at] = self._looked_at_features(suspects, some)
        return _Made(self._valid(columns, bad), quarantined, bad)

    def _valid(self, columns: Sequence[pa.Array], bad: Mask) -> pa.RecordBatch:
        """The rows that are not bad."""
        if bad.any():
            keep = pa.array(~bad)
            left = len(bad) - int(bad.sum())
            columns = [  # one by one: all at once takes twice as long
                c.slice(0, left) if c.null_count == len(bad) else c.filter(keep) for c in columns
            ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _clear(self, rows: pa.RecordBatch, now_ms: int) -> Mask | None:
        """Rows whose id, time or key is doubtful; None if one of these columns is unusual."""
        columns, names = self.spec.columns, rows.schema.names
        if columns.event_id not in names or columns.event_time not in names:
            return None
        if self.spec.unknown_columns == "reject" and not self._known.issuperset(names):
            return None
        ids = usual_texts(rows.column(columns.event_id), MOST_ID)
        late = now_ms + self._future
        times = usual_times(rows.column(columns.event_time), self._earliest, late)
        if ids is None or times is None:
            return None
        if columns.key and columns.key in names:
            keys = rows.column(columns.key)
            long = usual_texts(keys, MOST_ID, needed=False)
            if long is None:
                return None
            ids |= long
        return ids | times

    def _columns(self, rows: pa.RecordBatch, matrix: Matrix) -> list[pa.Array]:
        """The columns of valid rows, of a batch of which some rows may be bad."""
        columns, names = self.spec.columns, rows.schema.names
        keyed = columns.key and columns.key in names
        keys = rows.column(columns.key) if keyed else pa.nulls(rows.num_rows, pa.string())
        ids = rows.column(columns.event_id)
        if ids.null_count:
            ids = ids.fill_null("")
        return [ids, rows.column(columns.event_time), keys, matrix_column(matrix)]

    def _thorough(self, rows: pa.RecordBatch, now_ms: int, features: Sequence[Feature]) -> "_Made":
        """Every column by itself; of features only these."""
        columns, quarantined, bad = self._looked(rows, now_ms, features)
        return _Made(self._valid(columns, bad), quarantined, bad)

    def _looked(
        self, rows: pa.RecordBatch, now_ms: int, features: Sequence[Feature]
    ) -> tuple[list[pa.Array], pa.RecordBatch, Mask]:
        """The columns of valid rows, of bad ones too; the bad rows with reasons; which they are."""
        matrix, found = self._features(rows, features)
        ids = self._event_ids(rows, found)
        times = self._event_times(rows, now_ms, found)
        keys = self._keys(rows, found)
        quarantined = self._quarantine(rows, ids, times, found)
        return [ids, times, keys, matrix_column(matrix)], quarantined, found.bad

    def _looked_at_features(
        self, rows: pa.RecordBatch, features: Sequence[Feature]
    ) -> tuple[pa.RecordBatch, Mask]:
        """The same of rows whose id, time and key are good."""
        columns = self.spec.columns
        _, found = self._features(rows, features)
        ids, times = rows.column(columns.event_id), rows.column(columns.event_time)
        return self._quarantine(rows, ids, times, found), found.bad

    def _unknown_columns(self, rows: pa.RecordBatch, found: Findings) -> None:
        if self.spec.unknown_columns == "drop":
            return
        for name in rows.schema.names:
            if name not in self._known:
                given = rows.column(name).is_valid().to_numpy(zero_copy_only=False)
                accepted = ", ".join(f.name for f in self.spec.features)
                found.add(name, given, "is an unknown column", accepted, rows.column(name))

    def _again(self, rows: pa.RecordBatch, counts: Counts) -> Mask | None:
        """The rows whose id a row before them in their batch has; None if there are none."""
        name = self.spec.columns.event_id
        if name not in rows.schema.names or rows.num_rows < 2:
            return None
        return repeated(as_text(rows.column(name)), counts)

    def _event_ids(self, rows: pa.RecordBatch, found: Findings) -> pa.Array:
        name, accepted = (
            self.spec.columns.event_id,
            f"a text of at most {MOST_ID} characters, unique to the row",
        )
        if name not in rows.schema.names:
            found.add(name, _all(rows), "is missing", accepted)
            return pa.array([""] * rows.num_rows, pa.string())
        ids = as_text(rows.column(name)).fill_null("")
        lengths = pc.utf8_length(ids).to_numpy(zero_copy_only=False)
        found.add(name, lengths == 0, "is missing", accepted)
        found.add(name, lengths > MOST_ID, "is too long", accepted, ids)
        return ids

    def _event_times(self, rows: pa.RecordBatch, now_ms: int, found: Findings) -> pa.Array:
        name = self.spec.columns.event_time
        accepted = "an ISO 8601 time or milliseconds since 1970"
        if name not in rows.schema.names:
            found.add(name, _all(rows), "is missing", accepted)
            return pa.nulls(rows.num_rows, EVENT_TIME.type)
        raw = rows.column(name)
        times = to_event_time(raw)
        unread = (~times.is_valid().to_numpy(zero_copy_only=False)).astype(np.bool_)
        found.add(name, unread, "is not a time", accepted, raw)
        millis = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        early = ~unread & (millis < self._earliest)
        found.add(name, early, "is too early", f"from {self.spec.limits.earliest}", raw)
        late = millis > now_ms + self._future
        found.add(name, late, "is in the future", f"at most {self.spec.limits.future} ahead", raw)
        return times

    def _keys(self, rows: pa.RecordBatch, found: Findings) -> pa.Array:
        name = self.spec.columns.key
        if not name or name not in rows.schema.names:
            return pa.nulls(rows.num_rows, pa.string())
        keys = as_text(rows.column(name))
        long = pc.fill_null(pc.greater(pc.utf8_length(keys), MOST_ID), False)
        accepted = f"a text of at most {MOST_ID} characters"
        found.add(name, long.to_numpy(zero_copy_only=False), "is too long", accepted, keys)
        return keys

    def _quarantine(
        self, rows: pa.RecordBatch, ids: pa.Array, times: pa.Array, found: Findings
    ) -> pa.RecordBatch:
        if not found.bad.any():
            return self._nothing
        bad = rows
        if not found.bad.all():
            at = pa.array(np.flatnonzero(found.bad))
            bad, ids, times = rows.take(at), ids.take(at), times.take(at)
        return pa.RecordBatch.from_arrays(
            [
                ids,
                times,
                pa.array(found.reasons(), pa.string()),
                pa.array(rows_as_json(bad), pa.string()),
            ],
            schema=QUARANTINED,
        )


def _all(rows: pa.RecordBatch) -> Mask:
    return np.ones(rows.num_rows, dtype=np.bool_)
