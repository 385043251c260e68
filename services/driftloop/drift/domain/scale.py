"""Values into [0, 1] for ADWIN, by a reference window.

ADWIN assumes bounded input, and one huge value would poison it.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HUGE = 1e300
"""Larger numbers are taken for this one, so that differences stay finite."""


class Scale(Protocol):
    """Learned from a reference window; maps values into [0, 1], and means of those back."""

    def to_unit(self, values: Floats) -> Floats:
        """Values of shape (n,) in [0, 1]."""

    def from_unit(self, mean: float) -> float:
        """A mean of such values in the units a person knows."""


class Unit:
    """For values that are in [0, 1] as they are: losses, probabilities, indicators."""

    def to_unit(self, values: Floats) -> Floats:
        """The values, clipped."""
        return np.clip(values, 0.0, 1.0)

    def from_unit(self, mean: float) -> float:
        """The mean itself."""
        return mean


class Quantiles:
    """For numbers: the reference's 1 % and 99 % quantiles become 0 and 1; the rest is clipped."""

    def __init__(self, reference: Floats) -> None:
        low, high = np.quantile(np.clip(reference, -HUGE, HUGE), [0.01, 0.99])
        if not high > low:
            half = max(0.5, 1e-6 * abs(low))  # a constant so large that 0.5 more is the same number
            low, high = low - half, low + half
        self._low, self._width = float(low), float(high - low)

    def to_unit(self, values: Floats) -> Floats:
        """The values, scaled and clipped."""
        units = np.maximum(values, -HUGE)
        np.minimum(units, HUGE, out=units)
        units -= self._low
        units /= self._width
        np.maximum(units, 0.0, out=units)
        np.minimum(units, 1.0, out=units)
        return units

    def from_unit(self, mean: float) -> float:
        """The mean in the feature's own units."""
        return self._low + mean * self._width


class Frequencies:
    """For categories: a value becomes its share of the reference, so new shares move the mean."""

    def __init__(self, reference: Floats, categories: int) -> None:
        counts = np.bincount(reference.astype(np.int64) + 1, minlength=categories + 1)
        shares = counts / max(len(reference), 1)
        self._shares = shares / max(float(shares.max()), 1e-12)

    def to_unit(self, values: Floats) -> Floats:
        """The share of each value's category (codes from -1, unseen, up); the largest is 1."""
        codes = values.astype(np.int64) + 1
        return np.asarray(self._shares[np.clip(codes, 0, len(self._shares) - 1)], dtype=np.float64)

    def from_unit(self, mean: float) -> float:
        """The mean itself: a typicality between 0 and 1."""
        return mean
