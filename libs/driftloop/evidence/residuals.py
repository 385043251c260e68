"""Block means into numbers that are standard normal while nothing changes."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence.arrays import FloatArray

MOST_PERSISTENT: Final = 0.98
"""Largest coefficient between neighbouring blocks."""
NOTABLE: Final = 1.5
"""Standard errors below which a coefficient between neighbouring blocks is taken for none."""
LEAST: Final = 0.25
"""Variance of a block mean of unit scores that is taken for granted, times the rows of a block."""
TINY: Final = 1e-12


class Tails(NamedTuple):
    """How heavy the tails of each direction's rows are, upwards and downwards: shape (n,) each.

    The scale s of a sub-Poisson bound exp((e^(s b) - 1 - s b) / s^2) on the moment generating
    function of a standardised row; 0 is normal, less is lighter. `shares` says which directions are
    shares of rows: theirs follow from the share.
    """

    up: FloatArray
    down: FloatArray
    shares: NDArray[np.bool_]


class Residuals(NamedTuple):
    """Standardised residuals of blocks and their tails, each shape (blocks, directions)."""

    z: FloatArray
    up: FloatArray
    down: FloatArray


class RecursiveResiduals:
    """One-step-ahead forecast errors of block means, each studentised by what was known before it.

    For blocks that are independent and normal with an unknown constant mean and variance these are
    independent and exactly standard normal, however many there are (recursive residuals, Brown,
    Durbin and Evans 1975, JRSS-B 37; Student's t is mapped to the normal by Wallace 1959, Annals of
    Mathematical Statistics 30). So no reference is frozen with the error of its estimate.
    Neighbouring blocks may depend on each other: each mean is forecast from the one before (an
    autoregression of order one, where its coefficient is notable).

    The mean of a share has at least the variance of a binomial count with one success and one
    failure more than were seen. State is six numbers a direction.
    """

    def __init__(self, block: int, tails: Tails) -> None:
        """Take rows a block, and the tails of each direction's rows."""
        self.block = block
        self.tails = tails
        count = tails.up.size
        self.blocks = np.zeros(count)
        self.sums = np.zeros((3, count))
        self.last = np.zeros(count)
        self.origin = np.zeros(count)
        """Sums are of differences from this, the mean of the reference: so nothing cancels out."""

    @property
    def state(self) -> tuple[NDArray[Any], ...]:
        """All numbers that are kept; `restore` takes them back."""
        return (self.blocks, self.sums, self.last, self.origin, *self.tails)

    def restore(self, state: tuple[NDArray[Any], ...]) -> None:
        """Go on from there; raises ValueError for numbers of other directions."""
        for mine, kept in zip(self.state, state, strict=True):
            mine[:] = kept

    def begin(self, at: NDArray[np.intp], tails: Tails, means: FloatArray) -> None:
        """Forget directions `at`, and learn them from block means, shape (blocks, len(at))."""
        for mine, new in zip(self.tails, tails, strict=True):
            mine[at] = new
        self.blocks[at] = len(means)
        self.origin[at] = means.mean(axis=0)
        means = means - self.origin[at]
        self.sums[0, at] = means.sum(axis=0)
        self.sums[1, at] = np.square(means).sum(axis=0)
        self.sums[2, at] = (means[1:] * means[:-1]).sum(axis=0)
        self.last[at] = means[-1]

    def ahead(self, means: FloatArray) -> Residuals:
        """Residuals of further blocks, `means` of shape (blocks, directions).

        Nothing is learned yet: `learn` takes in as many of them as were used.
        """
        means = means - self.origin
        before = np.vstack([self.last, means[:-1]])
        blocks = np.maximum(self.blocks + np.arange(len(means))[:, None], 3.0)
        sums, squares, products = (running[:-1] for running in self._sums(means))
        mean, square, lagged = sums / blocks, squares / blocks, products / (blocks - 1.0)
        spread = np.maximum(square - mean * mean, 0.0) * blocks / (blocks - 1.0)
        least, up, down = self._tails(mean, blocks, spread)
        known = spread < least  # the variance is taken for granted, not estimated
        spread = np.maximum(spread, least)
        rho = np.clip((lagged - mean * mean) / spread, -0.99, 0.99)
        phi = np.where(rho > NOTABLE / np.sqrt(blocks), np.minimum(rho, MOST_PERSISTENT), 0.0)
        # The autoregression's errors, and that of the mean's estimate.
        spread *= (1.0 - phi * (2.0 * rho - phi)) * (1.0 + 1.0 / blocks)
        t = ((means - mean) - phi * (before - mean)) / np.sqrt(spread)
        return Residuals(np.where(known, t, _normal(t, np.maximum(blocks - 2.0, 1.0))), up, down)

    def learn(self, means: FloatArray) -> None:
        """Take in the next blocks, shape (blocks, directions)."""
        if not len(means):
            return
        means = means - self.origin
        for mine, sums in zip(self.sums, self._sums(means), strict=True):
            mine[:] = sums[-1]
        self.blocks += len(means)
        self.last = means[-1].copy()

    def _sums(self, means: FloatArray) -> list[FloatArray]:
        """Running sums of means, squares and lagged products, (1 + blocks, directions) each.

        One after the other, so how blocks are grouped changes nothing.
        """
        before = np.vstack([self.last, means[:-1]])
        added = (means, means * means, means * before)
        return [
            np.cumsum(np.vstack([start, more]), axis=0)
            for start, more in zip(self.sums, added, strict=True)
        ]

    def _tails(
        self, mean: FloatArray, blocks: FloatArray, spread: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The least variance of a block mean, and its tails, each (blocks, directions)."""
        variance = np.ones(mean.shape)
        up, down = (np.broadcast_to(tail, mean.shape) for tail in self.tails[:2])
        at = np.flatnonzero(self.tails.shares)
        if at.size:
            rows = blocks[:, at] * self.block
            share = np.clip(
                ((mean[:, at] + self.origin[at]) * rows + 1.0) / (rows + 2.0), TINY, 1.0 - TINY
            )
            variance[:, at] = share * (1.0 - share)
            up, down = up.copy(), down.copy()
            up[:, at] = (1.0 - 2.0 * share) / np.sqrt(variance[:, at])
            down[:, at] = -up[:, at]
        # Rows that come in bunches are no more than fewer rows: their mean has heavier tails.
        least = variance * np.where(self.tails.shares, 1.0, LEAST) / self.block
        bunched = np.sqrt(np.maximum(spread, least) / variance)
        return least, up * bunched, down * bunched


def _normal(t: FloatArray, freedom: FloatArray) -> FloatArray:
    """Student's t with so many degrees of freedom as the normal deviate of the same rank."""
    size = np.sqrt(freedom * np.log1p(t * t / freedom))
    deviate: FloatArray = np.sign(t) * size * (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    return deviate
