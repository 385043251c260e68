"""KSWIN (Raab et al. 2020) with River's rule, in numpy over a whole block.

Its window is always the last hundred values, and the Kolmogorov-Smirnov statistic of two samples of
thirty is a multiple of a thirtieth. So all windows of a block are judged at once, and an alarm only
keeps the next 99 values from being judged. River's update takes 249 us, this one about 2 us.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
WINDOW: Final = 100
RECENT: Final = 30
OLD: Final = WINDOW - RECENT


@cache
def p_values() -> Floats:
    """The exact p-value of each statistic 0, 1/30, ..., 1 of two samples of thirty.

    Gnedenko and Korolyuk 1951: lattice paths that leave a strip, by reflection.
    """
    paths = math.comb(2 * RECENT, RECENT)

    def outside(steps: int) -> int:
        crossings = range(1, RECENT // steps + 1)
        return sum((-1) ** (n + 1) * math.comb(2 * RECENT, RECENT - n * steps) for n in crossings)

    return np.array([1.0, *(2 * outside(steps) / paths for steps in range(1, RECENT + 1))])


def level(chance: float, shares: Sequence[float]) -> float:
    """The p-value to ask for so that a window of indicators is over with at most this chance.

    The chance is the mean over indicators that are 1 with each of these shares; ties make it
    smaller than the p-value. Two binomial counts differ by `steps` or more in both directions.
    """
    over = np.zeros(RECENT + 1)
    for share in shares:
        counts = binom.pmf(np.arange(RECENT + 1), RECENT, share)
        apart = np.convolve(counts, counts[::-1])[RECENT:]
        apart[1:] *= 2
        over += np.cumsum(apart[::-1])[::-1] / len(shares)
    rare = np.flatnonzero(over <= chance)
    return float(p_values()[rare[0] if len(rare) else RECENT])


class KSWIN:
    """One column; `pick` gives the positions among the seventy older values, (windows, 30)."""

    def __init__(
        self,
        alpha: float = 0.005,
        seed: int = 0,
        pick: Callable[[int], Places] | None = None,
    ) -> None:
        self._drawn = np.random.default_rng([RECENT, seed])
        self._pick = pick or self._any
        self._least = int((p_values() > alpha).sum())
        self._window: Floats = np.empty(0)

    def _any(self, windows: int) -> Places:
        chances = self._drawn.random((windows, OLD), dtype=np.float32)
        return np.asarray(np.argpartition(chances, RECENT, axis=1)[:, :RECENT])

    def update(self, values: Floats) -> Iterator[tuple[int, int | None]]:
        """Positions of alarms among the values; it does not say since when."""
        whole = np.concatenate([self._window, values])
        held, next_one = len(self._window), 0
        if len(whole) >= WINDOW:
            windows = np.lib.stride_tricks.sliding_window_view(whole, WINDOW)
            for end in np.flatnonzero(self._steps(windows) >= self._least) + WINDOW - 1:
                if end - next_one >= WINDOW - 1:
                    yield int(end) - held, None
                    next_one = int(end) + 1
        self._window = whole[next_one:][-(WINDOW - 1) :]

    def _steps(self, windows: Floats) -> Places:
        """Thirty times the statistic, of each window.

        The last bit of a number says which sample it is from: one sort puts both in order. Where
        numbers are equal only the last counts.
        """
        old = np.take_along_axis(windows[:, :OLD], self._pick(len(windows)), axis=1)
        both = np.concatenate([old, windows[:, OLD:]], axis=1)
        bits = both.view(np.int64)
        bits &= ~1
        bits[:, RECENT:] |= 1
        both.sort(axis=1)
        ahead = np.abs(np.cumsum(2 * (bits & 1) - 1, axis=1))
        values = bits & ~1
        ahead[:, :-1][values[:, :-1] == values[:, 1:]] = 0
        return np.asarray(ahead.max(axis=1))
