"""PageHinkley, DDM, EDDM and HDDM_A in numpy over a whole block: River's alarms, ten times faster.

Each is a statistic of the values since its last restart, so a block needs no loop over rows. The
rules are those of River 0.26; rounding apart (cumulative sums instead of running means) they are
equal, and a test compares them.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
WARM: Final = 30
"""Values (in EDDM also errors) before which River's detectors say nothing."""


class Scan(Protocol):
    """A statistic since the last restart."""

    def over(self, values: Floats) -> Bools:
        """Whether it is over its threshold, after each of the values."""


class Restarting:
    """A detector that begins anew with the value after an alarm."""

    def __init__(self, make: Callable[[], Scan]) -> None:
        self._make, self._scan = make, make()

    def update(self, values: Floats) -> Iterator[tuple[int, int | None]]:
        """Positions of alarms among the values; none of these detectors says since when."""
        start = 0
        while start < len(values):
            over = self._scan.over(values[start:])
            first = int(over.argmax())
            if not over[first]:
                return
            yield start + first, None
            start += first + 1
            self._scan = self._make()


class _Running:
    """Counts and means of the values since the restart."""

    def __init__(self) -> None:
        self._count, self._sum = 0, 0.0

    def _means(self, values: Floats) -> tuple[Floats, Floats]:
        counts = np.arange(self._count + 1.0, self._count + len(values) + 1)
        sums = np.cumsum(values)
        sums += self._sum
        self._count, self._sum = int(counts[-1]), float(sums[-1])
        return counts, sums / counts


class PageHinkley(_Running):
    """Page 1954, two-sided, with River's forgetting factor."""

    def __init__(
        self, threshold: float = 50.0, delta: float = 0.005, alpha: float = 1 - 0.0001
    ) -> None:
        super().__init__()
        self._threshold, self._delta, self._alpha = threshold, delta, alpha
        self._up = self._down = 0.0
        self._low, self._high = math.inf, -1.0

    def over(self, values: Floats) -> Bools:
        """Whether either sum is further than the threshold from its extreme."""
        counts, means = self._means(values)
        deviations = values - means
        up = self._sums(deviations - self._delta, self._up)
        down = self._sums(deviations + self._delta, self._down)
        low = np.minimum(np.minimum.accumulate(up), self._low)
        high = np.maximum(np.maximum.accumulate(down), self._high)
        self._up, self._down = float(up[-1]), float(down[-1])
        self._low, self._high = float(low[-1]), float(high[-1])
        far: Bools = np.maximum(up - low, high - down) > self._threshold
        return far & (counts >= WARM)

    def _sums(self, steps: Floats, last: float) -> Floats:
        sums, _ = lfilter([1.0], [1.0, -self._alpha], steps, zi=[self._alpha * last])
        return np.asarray(sums, dtype=np.float64)


class _Smallest(_Running):
    """Remembers where a bound on the mean was smallest."""

    def __init__(self) -> None:
        super().__init__()
        self._bound, self._kept = math.inf, (math.nan, math.nan)

    def _smallest(self, bounds: Floats, *columns: Floats) -> tuple[Floats, Floats]:
        """Both columns at the place of the smallest bound so far, the last of equal ones."""
        lows = np.minimum(np.minimum.accumulate(bounds), self._bound)
        places = np.arange(len(bounds))
        at = np.maximum.accumulate(np.where(bounds <= lows, places, -1))
        first, second = (
            np.where(at >= 0, column[at], kept)
            for column, kept in zip(columns, self._kept, strict=True)
        )
        self._bound, self._kept = float(lows[-1]), (float(first[-1]), float(second[-1]))
        return first, second


class DDM(_Smallest):
    """Gama et al. 2004: the error rate is so many deviations above its lowest."""

    def __init__(self, threshold: float = 3.0) -> None:
        super().__init__()
        self._threshold = threshold

    def over(self, values: Floats) -> Bools:
        """Whether rate plus deviation is over the lowest rate plus `threshold` deviations."""
        counts, rates = self._means(values)
        spread = np.sqrt(rates * (1 - rates) / counts)
        warm = counts > WARM
        bounds = np.where(warm, rates + spread, np.inf)
        rate, deviation = self._smallest(bounds, rates, spread)
        return warm & (bounds > rate + self._threshold * deviation)


class HDDMA(_Smallest):
    """Frias-Blanco et al. 2015, the A-test, one-sided as in River: the mean went up."""

    def __init__(self, confidence: float = 0.001) -> None:
        super().__init__()
        self._confidence = confidence

    def over(self, values: Floats) -> Bools:
        """Whether the mean is over that of the best cut by Hoeffding's bound of the difference."""
        counts, means = self._means(values)
        bounds = means + np.sqrt(math.log(1 / self._confidence) / (2 * counts))
        cut, mean = self._smallest(bounds, counts, means)
        share = (counts - cut) / cut / counts
        return (cut < counts) & (
            means - mean >= np.sqrt(share / 2 * math.log(2 / self._confidence))
        )


class EDDM:
    """Baena-Garcia et al. 2006: errors follow each other more closely than they ever did."""

    def __init__(self, fall: float = 0.1) -> None:
        self._beta = 1 - fall
        self._count, self._errors, self._last = 0, 0, 0
        self._sums = (0.0, 0.0)
        self._most = -1.0

    def over(self, values: Floats) -> Bools:
        """Whether mean plus two deviations of the distances is under `1 - fall` of its most."""
        made: Bools = np.zeros(len(values), dtype=np.bool_)
        at = np.flatnonzero(values == 1)
        if len(at):
            made[at] = self._at_errors((at + self._count + 1).astype(np.float64))
        self._count += len(values)
        return made

    def _at_errors(self, places: Floats) -> Bools:
        distances = np.diff(places, prepend=self._last)
        errors = np.arange(self._errors + 1.0, self._errors + len(places) + 1)
        sums = self._sums[0] + np.cumsum(distances)
        squares = self._sums[1] + np.cumsum(np.square(distances))
        means = sums / errors
        spread = np.maximum(squares - sums * means, 0) / np.maximum(errors - 1, 1)
        reach = means + 2 * np.sqrt(spread)
        warm = places > WARM
        most = np.maximum(np.maximum.accumulate(np.where(warm, reach, -1.0)), self._most)
        self._errors, self._last = int(errors[-1]), int(places[-1])
        self._sums, self._most = (float(sums[-1]), float(squares[-1])), float(most[-1])
        near: Bools = reach < self._beta * most
        return near & warm & (errors > WARM)
