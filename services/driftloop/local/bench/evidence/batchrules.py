"""The usual batch rules: a batch of 1,000 rows against the first 5,000, on each column alone."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov
from scipy.stats import chi2, wasserstein_distance

from driftloop.local.bench.evidence.streams import Block, Layout

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], float]
"""Of the reference, in order, and the values of a batch (of categories: counts); more is worse."""

REFERENCE: Final = 5_000
BINS: Final = 10
LEAST: Final = 1e-4
"""Share that PSI takes for an empty bin."""


def surprise(p_value: float) -> float:
    """Minus the decimal logarithm of a p-value."""
    return float(-np.log10(max(p_value, 1e-300)))


def ks_distance(reference: Floats, values: Floats) -> float:
    """Kolmogorov-Smirnov statistic of two samples, the first of them in order."""
    ordered = np.sort(values)
    above = np.arange(1, len(ordered) + 1) / len(ordered)
    upper = np.searchsorted(reference, ordered, side="right") / len(reference)
    lower = np.searchsorted(reference, ordered, side="left") / len(reference)
    return float(max((above - upper).max(), (lower - above + 1 / len(ordered)).max(), 0.0))


def ks(reference: Floats, values: Floats) -> float:
    """Surprise of the Kolmogorov-Smirnov test, by the limiting distribution."""
    size = len(reference) * len(values) / (len(reference) + len(values))
    return surprise(kolmogorov(np.sqrt(size) * ks_distance(reference, values)))


def wasserstein(reference: Floats, values: Floats) -> float:
    """First Wasserstein distance in standard deviations of the reference."""
    parts, rest = divmod(len(reference), len(values))
    if rest:
        distance = float(wasserstein_distance(reference, values))
    else:
        gaps = reference.reshape(-1, parts) - np.sort(values)[:, None]
        distance = float(np.abs(gaps).mean())
    return distance / float(reference.std())


def psi(reference: Floats, values: Floats) -> float:
    """Population stability index over the deciles of the reference."""
    edges = reference[np.arange(1, BINS) * len(reference) // BINS]
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=BINS)
    return psi_counts(np.full(BINS, len(reference) / BINS), counts.astype(np.float64))


def psi_counts(reference: Floats, counts: Floats) -> float:
    """Population stability index of counts."""
    before = np.maximum(reference / reference.sum(), LEAST)
    after = np.maximum(counts / counts.sum(), LEAST)
    return float(((after - before) * np.log(after / before)).sum())


def chi_square(reference: Floats, counts: Floats) -> float:
    """Surprise of Pearson's test that both have the same shares."""
    both = np.stack([reference, counts])
    both = both[:, both.sum(axis=0) > 0]
    expected = both.sum(axis=1, keepdims=True) * both.sum(axis=0) / both.sum()
    return surprise(chi2.sf((np.square(both - expected) / expected).sum(), both.shape[1] - 1))


def jensen_shannon(reference: Floats, counts: Floats) -> float:
    """Jensen-Shannon distance (natural logarithm) of counts."""
    before, after = reference / reference.sum(), counts / counts.sum()
    middle = (before + after) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(side > 0, side * np.log(side / middle), 0.0) for side in (before, after)]
    return float(np.sqrt(max(0.0, (parts[0] + parts[1]).sum() / 2)))


class Rule(NamedTuple):
    """A statistic of numbers and one of categories, and how many columns must be over.

    `columns` is the share of the columns; 0 is any one.
    """

    name: str
    number: Statistic
    category: Statistic
    columns: float = 0.0


class Limits(NamedTuple):
    """Thresholds for numbers and for categories."""

    number: float
    category: float


KS: Final = Rule("KS", ks, chi_square)
WASSERSTEIN: Final = Rule("Wasserstein", wasserstein, jensen_shannon)
PSI: Final = Rule("PSI", psi, psi_counts)
SHARE: Final = Rule("share of columns", ks, chi_square, columns=0.5)

BATCH_RULES: Final[tuple[tuple[Rule, Limits], ...]] = (
    (KS, Limits(surprise(0.05), surprise(0.05))),
    (WASSERSTEIN, Limits(0.1, 0.1)),
    (PSI, Limits(0.2, 0.2)),
    (SHARE, Limits(surprise(0.05), surprise(0.05))),
)
"""The batch rules with the thresholds of everyday use."""


class Batches:
    """One rule over all columns; an alarm is in the last row of its batch."""

    def __init__(self, rule: Rule, limits: Limits, layout: Layout) -> None:
        self._rule, self._limits = rule, limits
        # A loss is 0 or 1: two categories.
        self._categories = (2,) if layout.losses else layout.categories
        self._waiting: list[Block] = []
        self._references: list[Floats] = []
        self._rows = 0

    def update(self, block: Block) -> Iterator[tuple[int, int | None]]:
        """At most one alarm, of a batch as long as `block`; rows are counted from the first."""
        self._rows += len(block)
        if self._references:
            over = self._over(block)
            if over >= max(1.0, self._rule.columns * len(self._categories)):
                yield self._rows - 1, None
            return
        self._waiting.append(block)
        if self._rows >= REFERENCE:
            columns = zip(np.concatenate(self._waiting).T, self._categories, strict=True)
            self._references = [np.sort(prepared(column, many)) for column, many in columns]
            self._references = [
                tally(values, many) if many else values
                for values, many in zip(self._references, self._categories, strict=True)
            ]
            self._waiting.clear()

    def _over(self, block: Block) -> int:
        over = 0
        for column, many, reference in zip(
            block.T, self._categories, self._references, strict=True
        ):
            values = prepared(column, many)
            if many:
                found = self._rule.category(reference, tally(values, many))
                over += found > self._limits.category
            else:
                over += self._rule.number(reference, values) > self._limits.number
        return over


def prepared(column: Block, categories: int) -> Floats:
    """The values that are there."""
    values = column.astype(np.float64)
    return values if categories else values[np.isfinite(values)]


def tally(codes: Floats, categories: int) -> Floats:
    """How often each category came."""
    return np.bincount(codes.astype(np.int64), minlength=categories).astype(np.float64)
