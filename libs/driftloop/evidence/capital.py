"""The capital of a gambler who bets that a mean lies above each of many candidate values."""

from typing import Final

import numpy as np

from driftloop.evidence.arrays import FloatArray

BETS: Final[FloatArray] = np.geomspace(0.01, 0.99, 6)
CHUNK: Final = 32  # rows worked on at once: the working set stays in the processor's cache
CURVATURE: Final = 7.0


def candidate_grid(points: int) -> FloatArray:
    """Return candidate means, shape (points,), ascending from -1 to 1, symmetric and with 0.

    Spaced like sinh: the step is 14 / (548 * (points - 1)) at 0 (0.00013 for 201 points) and grows
    in proportion to the distance from 0, to 7 % of it for 201 points.
    """
    half = (points - 1) // 2
    right = np.sinh(CURVATURE * np.arange(1, half + 1) / half) / np.sinh(CURVATURE)
    return np.concatenate([-right[::-1], [0.0], right])


class UpsideCapital:
    """One-sided test of "the mean is at most m" for every candidate m in (-1, 1) at once.

    For each candidate the starting capital is spread over six bets, the fractions c = `BETS` of
    the largest bet that cannot lose everything, in proportion to c; on a row x in [-1, 1] a bet
    multiplies its share by 1 + c (x - m) / (1 + m). The bets never change, so the spread is a
    discrete form of Cover's (1991) universal portfolio with the uniform prior. A candidate is
    refuted while its capital is at 1 / `error` or above.

    Capital falls as m rises, so the refuted candidates are always the first ones of the grid.
    """

    def __init__(self, candidates: FloatArray, error: float) -> None:
        """Take ascending candidates inside (-1, 1), shape (g,), and the error probability."""
        self._gain = BETS[:, None] / (1.0 + candidates)
        self._keep = 1.0 - self._gain * candidates
        # Capital is kept as a logarithm, in units of the refuting capital 1 / error.
        start = np.log(BETS / BETS.sum()) + np.log(error)
        self._log_capital = np.repeat(start[:, None], candidates.size, axis=1)

    @property
    def refuted(self) -> int:
        """How many candidates are refuted now."""
        capital = np.logaddexp.reduce(self._log_capital, axis=0)
        return int(np.count_nonzero(np.logical_and.accumulate(capital >= 0.0)))

    def play(self, rows: FloatArray) -> None:
        """Bet on rows in [-1, 1], shape (n,)."""
        for start in range(0, rows.size, CHUNK):
            growth = rows[start : start + CHUNK, None, None] * self._gain
            growth += self._keep
            self._log_capital += np.log(np.multiply.reduce(growth, axis=0))
