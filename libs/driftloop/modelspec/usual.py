"""The quick way through a contract: whole batches of usual columns, and which rows are doubtful.

A row is doubtful when this way cannot tell that it is good; the contract then looks at it column by
column, and says what is wrong if anything is. Numbers of all features are compared in one block.
"""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.contracts.batches import EVENT_TIME, Matrix
from driftloop.modelspec.columns import UNSEEN
from driftloop.modelspec.findings import Mask
from driftloop.modelspec.spec import Feature, Spec

LARGEST: Final = float(np.finfo(np.float32).max)
MOST_KNOWN: Final = 64
"""Schemas that are known again."""


class Quick(NamedTuple):
    """The model input (rows, features); doubtful values, feature by feature; doubtful rows."""

    matrix: Matrix
    values: NDArray[np.bool_]
    """Of shape (features, rows)."""


class Usual:
    """A spec's features compiled for batches whose columns have the types they are to have."""

    def __init__(self, spec: Spec) -> None:
        self._features = spec.features
        self._categories = {
            at: pa.array(feature.categories, pa.string())
            for at, feature in enumerate(spec.features)
            if feature.type == "category"
        }
        self._low = np.array([[_low(f)] for f in spec.features])
        self._high = np.array([[_high(f)] for f in spec.features])
        self._nullable = np.array([[f.nullable] for f in spec.features])
        self._whole = [at for at, f in enumerate(spec.features) if f.type == "integer"]
        self._known: dict[pa.Schema, list[int] | None] = {}

    def read(self, rows: pa.RecordBatch) -> Quick | None:
        """The features of a batch; None if a column is not of a usual type."""
        places = self._places(rows.schema)
        if places is None:
            return None
        block = np.empty((len(places), rows.num_rows))
        for at, place in enumerate(places):
            block[at] = np.nan if place < 0 else self._numbers(at, rows.column(place))
        with np.errstate(invalid="ignore", over="ignore"):
            good = (block >= self._low) & (block <= self._high)
            for at in self._whole:
                good[at] &= block[at] == np.floor(block[at])
            missing = np.isnan(block)
            good |= missing & self._nullable
            return Quick(np.ascontiguousarray(block.T, np.float32), ~good)

    def _numbers(self, at: int, column: pa.Array) -> NDArray[np.float64]:
        """One column as numbers; a category that is not known is infinite, what is missing NaN."""
        values = self._categories.get(at)
        if values is not None:
            codes = pc.index_in(column, value_set=values)
            if codes.null_count == 0:
                return codes.to_numpy()  # type: ignore[no-any-return]  # pyarrow has no types
            made = codes.to_numpy(zero_copy_only=False)
            other = UNSEEN if self._features[at].unseen == "accept" else np.inf
            if column.null_count:
                given = column.is_valid().to_numpy(zero_copy_only=False)
                return np.where(np.isnan(made) & given, other, made)
            return np.where(np.isnan(made), other, made)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]  # as above

    def _places(self, schema: pa.Schema) -> list[int] | None:
        """The column of each feature, -1 for one that is not there; None if a type is unusual."""
        if schema not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[schema] = self._found(schema)
        return self._known[schema]

    def _found(self, schema: pa.Schema) -> list[int] | None:
        found = []
        for feature in self._features:
            at = schema.get_field_index(feature.name)
            if at >= 0 and not _usual(feature, schema.field(at).type):
                return None
            found.append(at)
        return found


def usual_times(column: pa.Array, earliest: int, latest: int) -> Mask | None:
    """Which of these times are doubtful; None for a column of another type than ours.

    `earliest` and `latest` are milliseconds since 1970.
    """
    if column.type != EVENT_TIME.type:
        return None
    ticks = column.cast(pa.int64()).fill_null(earliest - 1).to_numpy(zero_copy_only=False)
    doubtful: Mask = (ticks < earliest) | (ticks > latest)
    return doubtful


def usual_texts(column: pa.Array, most: int) -> Mask | None:
    """Which of these texts are missing, empty or perhaps longer than `most` characters."""
    if column.type != pa.string():
        return None
    _, offsets, _ = column.buffers()
    ends = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset)
    sizes = np.diff(ends)
    doubtful: Mask = (sizes == 0) | (sizes > most)
    if column.null_count:
        doubtful |= column.is_null().to_numpy(zero_copy_only=False)
    return doubtful


def _usual(feature: Feature, kind: pa.DataType) -> bool:
    types = pa.types
    if feature.type == "category":
        return bool(types.is_string(kind))
    if feature.type == "boolean":
        return bool(types.is_boolean(kind))
    return bool(types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind))


def _low(feature: Feature) -> float:
    if feature.type == "category":
        return UNSEEN
    low = -LARGEST if feature.min is None else max(feature.min, -LARGEST)
    return 0.0 if feature.type == "boolean" else low


def _high(feature: Feature) -> float:
    if feature.type == "category":
        return float(len(feature.categories) - 1)
    high = LARGEST if feature.max is None else min(feature.max, LARGEST)
    return 1.0 if feature.type == "boolean" else high
