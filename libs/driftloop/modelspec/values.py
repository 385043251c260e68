"""A column as values of Python, for texts about single rows."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.modelspec.rows import as_text

_MANY: Final = 64
"""Times for which two kernels more are worth their while."""


def listed(column: pa.Array) -> list[Any]:
    """The values, None for null: what `to_pylist` makes, in a fraction of its time."""
    kind, types = column.type, pa.types
    values: list[Any]
    if types.is_string(kind) or types.is_boolean(kind):
        values = column.to_numpy(zero_copy_only=False).tolist()
    elif types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind):
        whole = column.null_count and types.is_integer(kind)  # null would make floats of them
        values = (column.fill_null(0) if whole else column).to_numpy(zero_copy_only=False).tolist()
        if column.null_count:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            for at in np.flatnonzero(missing).tolist():
                values[at] = None
    else:
        values = column.to_pylist()
    return values


def shown(column: pa.Array) -> pa.Array:
    """Times as texts, for Python cannot hold every time that Arrow can; others as they are."""
    kind = column.type
    if not pa.types.is_temporal(kind):
        return column
    if pa.types.is_timestamp(kind) and kind.tz == "UTC" and len(column) > _MANY:
        # Arrow writes times without a zone ten times as fast.
        texts = column.cast(pa.timestamp(kind.unit)).cast(pa.string())
        if not pc.any(pc.starts_with(texts, "<")).as_py():  # a time beyond what this way can write
            return pc.binary_join_element_wise(texts, "Z", "")
    return as_text(column)
