"""An e-detector: evidence that something changed, with a bound on the number of false alarms."""

from typing import Final

import numpy as np

from driftloop.evidence.arrays import FloatArray
from driftloop.evidence.residuals import Residuals

BETS: Final[FloatArray] = np.array([0.15, 0.3, 0.6, 1.2, 2.4, 4.0])
"""Sizes of a change bet on, in standard deviations of a block mean."""
SHARES: Final[FloatArray] = np.array([0.06, 0.12, 0.27, 0.3, 0.17, 0.08])
"""How capital is spread over the bets: most on changes that take some blocks to be seen."""
NORMAL: Final = 0.01
"""Tails of a scale below this are normal ones."""
LARGEST: Final = 300.0
"""Logarithm of an e-value beyond which it counts as this."""


class EDetector:
    """A mixture of Shiryaev-Roberts e-detectors over many directions and sizes of change.

    Each block brings a number z for each direction, standard normal while nothing changes (see
    `RecursiveResiduals`). A bet on a shift of its mean by b multiplies capital by

        e = exp(b z - psi(b)),  psi(b) = (exp(s b) - 1 - s b) / s^2,

    with s the scale of z's tail on that side: for s = 0 the normal b^2 / 2, for a rare share that
    of a Poisson count (sub-Poisson, Howard et al. 2020, Probability Surveys 17). In expectation e
    is at most 1 while nothing changes. New capital 1 comes in with each block, so the capital
    N = e (N + 1) holds the evidence of a change at any block so far. All of them are averaged with
    weights that add up to one; there is an alarm when the average is at `threshold` or above, and
    then all begin at zero.

    What is promised (Shin, Ramdas, Rinaldo 2022, "E-detectors"): the expected number of false
    alarms in any n blocks is at most n / threshold, whatever the directions have to do with each
    other, since the average less the number of blocks is a supermartingale and each alarm takes
    `threshold` out of it. State is one number a direction and bet.
    """

    def __init__(self, threshold: float, directions: int, *, only_up: bool = False) -> None:
        """Take blocks a false alarm (> 1); `only_up`: only rises are an alarm.

        Raises ValueError for a threshold that is not over 1.
        """
        if not threshold > 1.0:
            raise ValueError(f"threshold is {threshold}; accepted is a number over 1")
        self.threshold = threshold
        self.bets = BETS if only_up else np.concatenate([BETS, -BETS])
        self.shares = SHARES if only_up else np.concatenate([SHARES, SHARES]) / 2.0
        self.weights = np.zeros((directions, self.bets.size))
        self.capital = np.zeros((directions, self.bets.size))

    def weigh(self, weights: FloatArray) -> None:
        """Give each direction its weight, shape (directions,), together at most 1; 0 is none.

        A direction without weight loses its capital.
        """
        self.weights = weights[:, None] * self.shares
        self.capital *= self.weights > 0.0

    @property
    def evidence(self) -> FloatArray:
        """Each direction's capital as a share of the threshold, shape (directions,)."""
        return np.asarray(self.capital.sum(axis=1) / self.threshold)

    def restart(self) -> None:
        """Begin anew, as after an alarm."""
        self.capital[:] = 0.0

    def play(self, residuals: Residuals) -> int | None:
        """Take blocks up to the first alarm; the evidence stays as it was then.

        Returns the block the alarm came with, or None.
        """
        values = np.exp(np.minimum(self._logarithms(residuals), LARGEST))
        capital, weights = self.capital, self.weights
        for block, value in enumerate(values):
            np.add(capital, weights, out=capital)
            np.multiply(capital, value, out=capital)
            if np.add.reduce(capital, axis=None) >= self.threshold:
                return block
        return None

    def _logarithms(self, residuals: Residuals) -> FloatArray:
        """Logarithms of the e-values, shape (blocks, directions, bets)."""
        z, up, down = residuals
        made: FloatArray = z[:, :, None] * self.bets
        half = BETS.size
        for bets, tail in ((slice(0, half), up), (slice(half, None), down)):
            if self.bets[bets].size:
                made[:, :, bets] -= _psi(tail)
        return made


def _psi(tail: FloatArray) -> FloatArray:
    """The bound on the logarithm of the moment generating function at each bet."""
    made = np.broadcast_to(np.square(BETS) / 2.0, (*tail.shape, BETS.size))
    heavy = np.flatnonzero(np.abs(tail).max(axis=0, initial=0.0) > NORMAL)
    if not heavy.size:
        return made
    made = made.copy()
    scale = tail[:, heavy, None]
    scale = np.where(np.abs(scale) > NORMAL, scale, NORMAL)
    tilt = np.minimum(scale * BETS, LARGEST)
    made[:, heavy] = (np.expm1(tilt) - tilt) / np.square(scale)
    return made
