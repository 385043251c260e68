"""The input plan: a spec compiled so that a whole micro-batch is checked in a few array operations.

The matrix is the model input: (rows, features) float32 in the order of the spec, a missing value as
NaN, a category as its position in the spec's list, a boolean as 0 or 1.
"""

import struct
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.columns import UNSEEN, accepted
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.spec import Feature, Registered

SHOWN: Final = 20
"""Bad rows told one by one; the rest is counted."""
MATRIX: Final = "X"
"""The input of the Open Inference Protocol that holds all features of a row side by side."""
_LARGEST: Final = float(np.finfo(np.float32).max)


class Plan:
    """What a model accepts, compiled from one revision of its spec; build it once, use it often."""

    def __init__(self, registered: Registered) -> None:
        self.spec = registered.spec
        self.revision = registered.revision
        self.contract = Contract(registered.spec)
        features = registered.spec.features
        self.names = tuple(feature.name for feature in features)
        self.width = len(features)
        self.has_matrix_name = MATRIX in self.names
        """Whether a feature has the name that else means the whole matrix."""
        self.class_texts = [msgspec.json.encode(text) for text in registered.spec.target.classes]
        """The classes as JSON."""
        self.class_bytes = [
            struct.pack("<I", len(text.encode())) + text.encode()
            for text in registered.spec.target.classes
        ]
        """The classes as the Open Inference Protocol has texts in binary data."""
        self.reader: Any = None
        """The reader of our own formats, made when the first request comes."""
        self.templates: dict[int, bytes] = {}
        """The fixed part of answers by version, for a protocol to fill in."""
        self._low = np.array([_low(f) for f in features], dtype=np.float32)
        self._high = np.array([_high(f) for f in features], dtype=np.float32)
        self._nullable = np.array([f.nullable for f in features], dtype=np.bool_)
        self._any_nullable = bool(self._nullable.any())
        self._any_finite = not self._any_nullable and all(
            f.type == "number" and f.min is None and f.max is None for f in features
        )
        self._whole = np.flatnonzero([f.type != "number" for f in features])

    def takes(self, numbers: list[float]) -> bool:
        """Whether it is clear from these numbers alone that `fits` is true of their matrix."""
        return self._any_finite and isfinite(sum(numbers))

    def fits(self, matrix: Matrix) -> bool:
        """Whether every value of `matrix` (rows, features) is one that the contract accepts."""
        # NaN and infinity survive a sum, so one pass clears a matrix whose values may be anything
        # finite. A sum that overflows is looked at closely.
        if self._any_finite:
            with np.errstate(over="ignore", invalid="ignore"):
                if isfinite(matrix.sum()):
                    return True
        return bool(self._good(matrix).all())

    def check(self, matrix: Matrix) -> None:
        """Raise `InvalidInput` that names row, feature and value of what `fits` refuses."""
        good = self._good(matrix)
        bad = np.flatnonzero(~good.all(axis=1)).tolist()
        if not bad:
            return
        told = [f"row {row}: {self._why(matrix[row], good[row])}" for row in bad[:SHOWN]]
        left = len(bad) - len(told)
        raise InvalidInput("\n".join([*told, f"and {left} more bad rows"] if left else told))

    def _good(self, matrix: Matrix) -> NDArray[np.bool_]:
        # A comparison with NaN is false, so a missing value is refused here and let in below.
        good: NDArray[np.bool_] = (matrix >= self._low) & (matrix <= self._high)
        if len(self._whole):
            part = matrix[:, self._whole]
            good[:, self._whole] &= part == np.floor(part)
        if self._any_nullable:
            good |= np.isnan(matrix) & self._nullable
        return good

    def _why(self, row: NDArray[np.float32], good: NDArray[np.bool_]) -> str:
        wrong = np.flatnonzero(~good).tolist()
        features = self.spec.features
        said = [f"{features[at].name}: {_shown(row[at])}" for at in wrong[:3]]
        told = [
            f"{text}; accepted: {_codes(features[at])}"
            for text, at in zip(said, wrong, strict=False)
        ]
        return "; ".join(told)


def unknown(what: str, name: object, known: Sequence[str]) -> str:
    """The text about a name that is none of the known ones."""
    shown = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    return f"{what}: {name!r:.80} is unknown; accepted: {shown}"


def _low(feature: Feature) -> float:
    if feature.type == "category":
        return UNSEEN if feature.unseen == "accept" else 0.0
    if feature.type == "boolean":
        return 0.0
    return -_LARGEST if feature.min is None else max(feature.min, -_LARGEST)


def _high(feature: Feature) -> float:
    if feature.type == "category":
        return float(len(feature.categories) - 1)
    if feature.type == "boolean":
        return 1.0
    return _LARGEST if feature.max is None else min(feature.max, _LARGEST)


def _shown(value: np.float32) -> str:
    if np.isnan(value):
        return "is missing (NaN)"
    return f"{float(value):.9g} is not accepted"


def _codes(feature: Feature) -> str:
    """What a number of the matrix may be: categories and booleans travel as codes there."""
    if feature.type == "category":
        low = "-1 (any other) or " if feature.unseen == "accept" else ""
        text = f"{low}the position in {accepted(feature).removesuffix(', or null')}"
        text = text.replace(" one of ", " ")
    elif feature.type == "boolean":
        text = "0 or 1"
    else:
        return accepted(feature).replace("or null", "or NaN")
    return f"{text}, or NaN" if feature.nullable else text
