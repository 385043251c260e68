"""Many sequences of paired differences at once: where each method stands at every look.

Differences are arrays (runs, rows) in [-1, 1]; what is told of them is (runs, looks), one look
after each `LOOK` rows.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence.capital import BETS

Floats = NDArray[np.float64]
Looks = NDArray[np.int64]

LOOK: Final = 100
FIRST: Final = 2
"""No verdict before this look: the default of `shadow.min_rows` is 200."""
_CAP: Final = 0.5


class Path(NamedTuple):
    """How strong the evidence is that the mean is over a margin, and under it, at each look.

    Both in units of log capital: a level is reached where one is at log(2 / level) or above.
    """

    over: Floats
    under: Floats


def betting(differences: Floats, margin: float = 0.0) -> Path:
    """The gamblers of `BettingConfidenceSequence` at one candidate, the margin."""
    return Path(_capital(differences, margin, 1.0), _capital(differences, -margin, -1.0))


def _capital(differences: Floats, margin: float, sign: float) -> Floats:
    """Log capital of the bet that sign * mean is over `margin`, as `UpsideCapital` has it."""
    groups = _groups(differences)
    total = np.full(groups.shape[:2], -np.inf)
    for bet, share in zip(BETS, BETS / BETS.sum(), strict=True):
        gain = bet / (1.0 + margin)
        growth = groups * (sign * gain)
        growth += 1.0 - gain * margin
        logs = np.log(np.multiply.reduce(growth, axis=2))
        total = np.logaddexp(total, math.log(share) + np.cumsum(logs, axis=1))
    return total


def z_scores(differences: Floats) -> Path:
    """The z of a paired test at each look; a peeked test rejects at any look over its quantile."""
    groups = _groups(differences)
    rows = LOOK * np.arange(1, groups.shape[1] + 1)
    mean = np.cumsum(groups.sum(axis=2), axis=1) / rows
    squares = np.cumsum(np.square(groups).sum(axis=2), axis=1) / rows
    spread = np.sqrt(np.maximum(squares - np.square(mean), 0.0) / rows)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal rows have no spread and no z
        z = np.nan_to_num(mean / spread, nan=0.0)
    return Path(z, -z)


def bernstein(differences: Floats, level: float) -> Path:
    """Bounds of the empirical Bernstein confidence sequence: lower on the mean, upper negated.

    The predictable plug-in of Waudby-Smith and Ramdas (2024, theorem 2), on (1 + difference) / 2.
    """
    x = (1.0 + differences) / 2.0
    t = np.arange(1, x.shape[1] + 1)
    mean = (0.5 + np.cumsum(x, axis=1)) / (t + 1)
    variance = (0.25 + np.cumsum(np.square(x - mean), axis=1)) / (t + 1)
    mean, variance = _before(mean, 0.5), _before(variance, 0.25)
    wanted = math.log(2.0 / level)
    bets = np.minimum(np.sqrt(2.0 * wanted / (variance * (t * np.log1p(t)))), _CAP)
    price = 4.0 * np.square(x - mean) * (-np.log1p(-bets) - bets) / 4.0
    spent = np.cumsum(bets, axis=1)[:, LOOK - 1 :: LOOK]
    centre = np.cumsum(bets * x, axis=1)[:, LOOK - 1 :: LOOK] / spent
    width = (wanted + np.cumsum(price, axis=1)[:, LOOK - 1 :: LOOK]) / spent
    return Path(2.0 * (centre - width) - 1.0, -(2.0 * (centre + width) - 1.0))


def rows_to_verdict(path: Path, threshold: float) -> tuple[Looks, Looks]:
    """Rows at the first look at which each side is at the threshold; 0 where it never is.

    A run ends with its first verdict, so at most one of the two is above 0.
    """
    over, under = (_first(side >= threshold) for side in path)
    both = (over > 0) & (under > 0)
    return (
        np.where(both & (under < over), 0, over) * LOOK,
        np.where(both & (over <= under), 0, under) * LOOK,
    )


def _first(reached: NDArray[np.bool_]) -> Looks:
    reached = reached.copy()
    reached[:, : FIRST - 1] = False
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 0)


def _before(values: Floats, first: float) -> Floats:
    """Each value as it was a row earlier: bets are made before the row is seen."""
    return np.concatenate([np.full((len(values), 1), first), values[:, :-1]], axis=1)


def _groups(differences: Floats) -> Floats:
    runs, rows = differences.shape
    return differences[:, : rows // LOOK * LOOK].reshape(runs, -1, LOOK)
