"""The quick way through a contract: whole batches of usual columns, and which rows are doubtful.

A row is doubtful when this way cannot tell that it is good; the contract then looks at it column by
column, and says what is wrong if anything is. Of a feature's numbers the smallest and the largest
are compared with its bounds; only where one is outside is each number compared.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.contracts.batches import EVENT_TIME, Matrix
from driftloop.modelspec.columns import UNSEEN
from driftloop.modelspec.findings import Mask
from driftloop.modelspec.spec import Feature, Spec

Numbers = NDArray[Any]
"""Of shape (rows,), integers or floats."""

LARGEST: Final = float(np.finfo(np.float32).max)
MOST_KNOWN: Final = 64
"""Schemas that are known again."""


_PIECE: Final = 1_024
"""Rows turned at once: they stay in the cache of a core."""


class Quick(NamedTuple):
    """The model input (rows, features), and the doubtful rows of each feature that has some."""

    matrix: Matrix
    doubtful: dict[int, Mask]
    """By the place of the feature in the spec."""


class Usual:
    """A spec's features compiled for batches whose columns have the types they are to have."""

    def __init__(self, spec: Spec) -> None:
        self._features = spec.features
        self._categories = {
            at: pa.array(feature.categories, pa.string())
            for at, feature in enumerate(spec.features)
            if feature.type == "category"
        }
        self._bounds = [(_low(feature), _high(feature)) for feature in spec.features]
        self._known: dict[pa.Schema, list[int] | None] = {}

    def read(self, rows: pa.RecordBatch) -> Quick | None:
        """The features of a batch; None if a column is not of a usual type."""
        places = self._places(rows.schema)
        if places is None or not rows.num_rows:
            return None
        block = _empty(len(places), rows.num_rows)
        doubtful = {}
        with np.errstate(invalid="ignore", over="ignore"):
            for at, place in enumerate(places):
                if place < 0:
                    block[at] = np.nan
                    if not self._features[at].nullable:
                        doubtful[at] = np.ones(rows.num_rows, dtype=np.bool_)
                    continue
                column = rows.column(place)
                numbers = self._numbers(at, column)
                block[at] = numbers
                bad = self._doubtful(at, numbers, pa.types.is_floating(column.type))
                if bad is not None and bad.any():
                    doubtful[at] = bad
        return Quick(_turned(block), doubtful)

    def _doubtful(self, at: int, numbers: Numbers, fractions: bool) -> Mask | None:
        """Which of a feature's numbers are doubtful, NaN being missing; None if surely none is."""
        feature, (low, high) = self._features[at], self._bounds[at]
        whole = fractions and feature.type == "integer"
        # With NaN among the numbers the first pair tells the others', the second tells NaN.
        least, most = (np.fmin, np.fmax) if feature.nullable else (np.minimum, np.maximum)
        inside = float(least.reduce(numbers)) >= low and float(most.reduce(numbers)) <= high
        if inside and not whole:
            return None
        numbers = numbers.astype(np.float64, copy=False)
        good: Mask = (numbers >= low) & (numbers <= high)
        if whole:
            good &= numbers == np.floor(numbers)
        if feature.nullable:
            good |= np.isnan(numbers)
        return ~good

    def _numbers(self, at: int, column: pa.Array) -> Numbers:
        """One column as numbers; a category that is not known is infinite, what is missing NaN.

        Integers become float64, as the thorough way reads them, before they become float32.
        """
        values = self._categories.get(at)
        if values is not None:
            codes = pc.index_in(column, value_set=values)
            made: Numbers = codes.to_numpy(zero_copy_only=False)
            if codes.null_count == column.null_count:
                return made
            other = UNSEEN if self._features[at].unseen == "accept" else np.inf
            if column.null_count:
                given = column.is_valid().to_numpy(zero_copy_only=False)
                return np.where(np.isnan(made) & given, other, made)
            return np.where(np.isnan(made), other, made)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        numbers: Numbers = column.to_numpy(zero_copy_only=False)
        return numbers.astype(np.float64) if numbers.dtype.kind in "iu" else numbers

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


def _empty(rows: int, width: int) -> Matrix:
    """Room for a matrix in Arrow's memory, which keeps large blocks for the next batch."""
    room = pa.allocate_buffer(rows * width * np.float32().itemsize)
    made: Matrix = np.frombuffer(room, np.float32).reshape(rows, width)
    return made


def _turned(block: Matrix) -> Matrix:
    """The transposed matrix, in order of its rows."""
    made = _empty(block.shape[1], block.shape[0])
    for start in range(0, len(made), _PIECE):
        made[start : start + _PIECE] = block[:, start : start + _PIECE].T
    return made


def usual_times(column: pa.Array, earliest: int, latest: int) -> Mask | None:
    """Which of these times are doubtful; None for a column of another type than ours.

    `earliest` and `latest` are milliseconds since 1970.
    """
    if column.type != EVENT_TIME.type:
        return None
    ticks = column.cast(pa.int64()).fill_null(earliest - 1).to_numpy(zero_copy_only=False)
    doubtful: Mask = (ticks < earliest) | (ticks > latest)
    return doubtful


def usual_texts(column: pa.Array, most: int, *, needed: bool = True) -> Mask | None:
    """Which of these texts are perhaps longer than `most` characters or, if needed, missing.

    None for a column of another type.
    """
    if column.type != pa.string():
        return None
    _, offsets, _ = column.buffers()
    sizes = np.diff(np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset))
    doubtful: Mask = sizes > most
    if needed:
        doubtful |= sizes == 0
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
