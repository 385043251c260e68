"""A label as it was sent, into the number that travels: its class's index, or the value itself."""

import math
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.modelspec.spec import Spec

Floats = NDArray[np.float64]

PLAIN: Final = r"^[+-]?[0-9]{1,15}([.][0-9]{1,15})?$"
"""How nearly all numbers are written. Arrow reads these as Python does; Python reads the others."""


class LabelCodec:
    """Turns label texts into numbers by a spec."""

    def __init__(self, spec: Spec) -> None:
        self._classes = pc.SetLookupOptions(pa.array(spec.target.classes, pa.string()))
        self._regression = not spec.target.classes
        self.accepted = ", ".join(spec.target.classes) or "a finite number"

    def numbers(self, labels: pa.StringArray) -> Floats:
        """One number a label, NaN for a label that is not accepted."""
        if not self._regression:
            at = pc.call_function("index_in", [labels], self._classes)
            known: Floats = at.to_numpy(zero_copy_only=False).astype(np.float64)  # null is NaN
            return known
        plain = pc.match_substring_regex(labels, PLAIN).fill_null(False)
        read = pc.if_else(plain, labels, None).cast(pa.float64()).fill_null(math.nan)
        numbers: Floats = np.array(read.to_numpy(zero_copy_only=False))
        others = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
        if len(others):
            texts = labels.take(pa.array(others)).to_pylist()
            numbers[others] = [_number(text) for text in texts]
        return numbers


def _number(label: str | None) -> float:
    try:
        value = float(label or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
