"""Confidence sequences: intervals that stay valid however often they are looked at."""

import math

import numpy as np
from numpy.typing import ArrayLike

from driftloop.evidence.arrays import real_vector
from driftloop.evidence.capital import UpsideCapital, candidate_grid
from driftloop.evidence.interval import Interval


class BettingConfidenceSequence:
    """Two-sided confidence sequence for the mean of bounded observations, by betting.

    Made for paired loss differences `champion - shadow` of the same rows. For every candidate mean
    on a grid two gamblers bet, one that the mean is higher, one that it is lower; the interval is
    what neither refutes by holding 2 / level times its first capital (hedged capital, Waudby-Smith
    and Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86).

    `level` in (0, 1): the error probability over the whole, endless sequence, half of it a side.
    `bound`: rows lie in [-bound, bound], in units of loss. `grid_points`: odd, 53 to 10001; the
    step at 0 is about 0.026 * bound / (grid_points - 1), so 0.00013 * bound for 201. Bounds are
    rounded outwards to the grid, which holds `margin` (within (-bound, bound)) and its negative: a
    verdict at that margin loses nothing to rounding. Looks are free, and how rows are cut into
    batches changes nothing. The interval speaks of all rows so far by what the gamblers hold now,
    not by what they once held: on a stream that moves, one stormy day early on refutes nothing for
    good.

    What is promised. (1) If all rows have one mean given the past, the probability that it is ever
    outside is at most `level`. (2) If the mean moves: for an m fixed beforehand, such as a margin,
    the probability that `lower` passes m at a row up to which the conditional means average at
    most m is at most level / 2, and likewise for `upper`. (Bets b are constant, so capital is at
    most the martingale prod (1 + b (x_i - m)) / (1 + b (mean_i - m)): by the inequality of means
    the divisor is at most 1.) So a first verdict speaks of the rows up to it, not of later ones.

    Why these bets (see `UpsideCapital`). Median rows to `lower > 0`, level 0.05, bound 1, 200
    simulated sequences of normal differences, the same rows and grid point for every strategy:

        sd, mean                         .06 .0025   .005   .01    .12 .0025   .005    .01
        fixed bets, shares as bets            3520   1210   470        22800   4760   1080
        fixed bets, equal shares              4710   1620   640        21300   5230   1460
        aGRAPA (prior variance .01)           4400   1230   440        23100   5510   1350
        aGRAPA (prior variance .25)           4560   1370   510        21600   5380   1370
        predictable plug-in                   6010   1580   480        35600   7620   1500

    Equal models were told apart in 1.2 % (sd 0.06), 3.1 % (0.12) and 4.2 % (0.3) of sequences of
    2000 rows, looking after every row. An update of 256 rows takes about 2 ms.
    """

    def __init__(
        self,
        level: float = 0.05,
        bound: float = 1.0,
        *,
        margin: float = 0.0,
        grid_points: int = 201,
    ) -> None:
        """Start with no rows; raises ValueError for a parameter outside its range above."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}; accepted is a number between 0 and 1")
        if not (math.isfinite(bound) and bound > 0):
            raise ValueError(f"bound is {bound}; accepted is a finite number over 0")
        if grid_points % 2 == 0 or not 53 <= grid_points <= 10_001:
            raise ValueError(f"grid_points is {grid_points}; accepted is an odd number 53..10001")
        if not abs(margin) < bound:
            raise ValueError(f"margin is {margin}; accepted is a number over -{bound} and under it")
        self.level = level
        self.bound = bound
        at = margin / bound
        self._grid = np.union1d(candidate_grid(grid_points), [at, -at])
        self._rising = UpsideCapital(self._grid[1:-1], level / 2)
        self._falling = UpsideCapital(self._grid[1:-1], level / 2)
        self._rows = 0
        self._total = 0.0

    @property
    def interval(self) -> Interval:
        """The interval after all rows so far."""
        return Interval(
            lower=float(self._grid[self._rising.refuted]) * self.bound,
            upper=-float(self._grid[self._falling.refuted]) * self.bound,
            mean=self._total / self._rows * self.bound if self._rows else math.nan,
            rows=self._rows,
        )

    def update(self, differences: ArrayLike) -> Interval:
        """Take differences, shape (n,), n >= 0, in [-bound, bound], and return the new interval.

        Raises ValueError, leaving the state as it was, for another shape, NaN, an infinity, or a
        difference outside by more than 1e-6 of the bound (less than that is rounding, and clipped).
        """
        rows = real_vector("differences", differences, reach=self.bound) / self.bound
        self._rising.play(rows)
        self._falling.play(-rows)
        self._rows += rows.size
        self._total += float(np.sum(rows))
        return self.interval
