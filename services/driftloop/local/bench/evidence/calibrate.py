"""Thresholds at which the rivals raise no more false alarms than the budget allows.

River's detectors: the alarm rate is measured on a stationary stream (numbers, losses, or a category
as its indicators) at thresholds that go up, until alarms get rare; a line through the logarithms of
the last rates, the place of the threshold as abscissa, says where the rate is the budget's. A
longer run checks it; a threshold that has too many alarms becomes a point of the line. KSWIN: the
chance of one window is known. Batch rules: a p-value is what it says. Of the others the upper 2 %
of the statistic, simulated without a change, are taken for exponential, which says where its tail
is as small as the budget wants it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from driftloop.local.bench.evidence.batchrules import (
    KS,
    REFERENCE,
    SHARE,
    Limits,
    Rule,
    Statistic,
    jensen_shannon,
    surprise,
    wasserstein,
)
from driftloop.local.bench.evidence.kswin import level
from driftloop.local.bench.evidence.rivals import KSWIN_, Rival
from driftloop.local.bench.evidence.streams import (
    COLUMNS,
    ERRORS,
    ROWS,
    SHARES,
    STEADY_CATEGORY,
    STEADY_ERRORS,
    Stationary,
    seeded,
)

Floats = NDArray[np.float64]

RUN: Final = 1_000_000
"""Rows of a run, and of the budget: one alarm in so many rows of all columns."""
SEED: Final = 1
ENOUGH: Final = 300
"""Alarms after which a rate is known well enough."""
FEW: Final = 8
"""Alarms below which a rate is hardly known."""
SEEN: Final = 3
"""Alarms from which on a rate is looked for rather than foretold."""
POINTS: Final = 3
"""Rates that the line goes through."""
APART: Final = 1e-6
"""Share of a place; points nearer to each other are one and the same, and make no line."""
CHECKS: Final = 3
"""Times that a threshold is tried; one with too many alarms becomes a point of the line."""
TAIL: Final = 0.02
BATCHES: Final = 5
"""Simulated batches a simulated reference."""


class Measured(NamedTuple):
    """Alarms in so many values at a threshold."""

    threshold: float
    alarms: int
    values: int

    @property
    def rate(self) -> float:
        """Alarms a value, half an alarm more for those that were not seen."""
        return (self.alarms + 0.5) / self.values


def measure(
    rival: Rival, source: Stationary, threshold: float, values: int, seed: int = SEED
) -> Measured:
    """Alarms in about `values` values, in runs of at most `RUN` rows, or the first `ENOUGH`.

    A category is as many values as it has indicators; a loss is watched as a number.
    """
    each = max(1, source.categories)
    rows = max(ROWS, min(RUN, values // each) // ROWS * ROWS)
    columns = max(1, values // each // rows)
    watch, alarms, seen = rival.watch(source.layout(columns), threshold), 0, 0
    for block in source.blocks(seed, rows, columns):
        alarms += sum(1 for _ in watch.update(block))
        seen += block.size * each
        if alarms >= ENOUGH:
            break
    return Measured(threshold, alarms, seen)


def calibrated(rival: Rival, source: Stationary, rate: float, scale: float) -> Measured:
    """The threshold for `rate` alarms a value, checked on three times as many values."""
    values = int(rival.values * scale)
    if rival is KSWIN_:
        # The chance that a window is judged wrongly is known: without ties it is the p-value.
        shares = _shares(source)
        p_value = level(rate, shares) if shares else rate
        return measure(rival, source, p_value, 3 * values, SEED + 1)
    points: list[Measured] = []
    enough = max(1.0, rate * values) if rate * values >= SEEN else FEW
    for threshold in rival.thresholds:
        points.append(measure(rival, source, threshold, values))
        if len(points) > 1 and points[-1].alarms <= enough:
            break
    for seed in range(SEED + 1, SEED + 1 + CHECKS):
        threshold = rival.back(place(rival, points, rate))
        check = measure(rival, source, threshold, 3 * values, seed)
        wanted = rate * check.values
        if check.alarms <= 1 + wanted + 2 * math.sqrt(wanted):
            break
        points = sorted((*points, check), key=lambda point: rival.place(point.threshold))
    return check


def _shares(source: Stationary) -> tuple[float, ...]:
    """How often each indicator of a stream is 1; nothing of numbers."""
    if source is STEADY_ERRORS:
        return (ERRORS,)
    return SHARES if source is STEADY_CATEGORY else ()


def place(rival: Rival, points: Sequence[Measured], rate: float) -> float:
    """Where a line through the logarithms of the rates is at `rate`, but never before the last rate
    that is too high.

    A rate that broke off at `ENOUGH` alarms is that of the first rows, and no point of the line.
    """
    places = [rival.place(point.threshold) for point in points]
    low = max((at for at, p in enumerate(points) if p.rate > rate), default=0)
    around = low + 1 < len(points)
    chosen = slice(low, low + 2) if around else slice(-POINTS, None)
    whole = [at for at in range(len(points))[chosen] if points[at].alarms < ENOUGH]
    known = [places[at] for at in whole]
    if len(known) < 2 or max(known) - min(known) <= APART * max(map(abs, known)):
        return places[-1]
    slope, start = np.polyfit(
        known,
        [math.log(points[at].rate) for at in whole],
        1,
        w=[math.sqrt(points[at].alarms + 0.5) for at in whole],
    )
    if slope >= 0:
        return places[-1]
    return max(places[low], float((math.log(rate) - start) / slope))


def rule(known: Rule, samples: int, losses: bool) -> tuple[Rule, Limits]:
    """The rule with thresholds for one alarm in `RUN` rows of all columns, or of one of losses."""
    usual = Limits(surprise(0.05), surprise(0.05))
    if known is SHARE:  # columns are independent, and each is over in 5 % of the batches
        most = binom.isf(ROWS / RUN, COLUMNS, 0.05)
        return known._replace(columns=(most + 0.5) / COLUMNS), usual
    chance = ROWS / RUN / (1 if losses else COLUMNS)
    if known is KS:  # a surprise is a p-value
        return known, Limits(surprise(chance), surprise(chance))
    shares = (1 - ERRORS, ERRORS) if losses else SHARES
    counted = np.fromiter(_counted(known.category, shares, samples), dtype=np.float64)
    category = _upper(counted, chance, known.category is jensen_shannon)
    if losses:  # which are categories
        return known, Limits(category, category)
    numbers = np.fromiter(_normal(known.number, samples), dtype=np.float64)
    return known, Limits(_upper(numbers, chance, known.number is wasserstein), category)


def _upper(statistics: Floats, chance: float, squared: bool) -> float:
    """What the statistic is over with such a chance; a distance's tail is that of its square."""
    power = 2 if squared else 1
    raised = np.sort(statistics**power)
    start = raised[int((1 - TAIL) * len(raised))]
    excess = raised[raised > start] - start
    return float((start + excess.mean() * math.log(TAIL / chance)) ** (1 / power))


def _normal(statistic: Statistic, samples: int) -> Iterator[float]:
    drawn = seeded("batches", SEED)
    for _ in range(max(1, samples // BATCHES)):
        reference = np.sort(drawn.standard_normal(REFERENCE))
        for _ in range(BATCHES):
            yield statistic(reference, drawn.standard_normal(ROWS))


def _counted(statistic: Statistic, shares: tuple[float, ...], samples: int) -> Iterator[float]:
    drawn = seeded("counts", SEED)
    for _ in range(samples):
        reference, batch = (drawn.multinomial(n, shares) for n in (REFERENCE, ROWS))
        yield statistic(reference.astype(np.float64), batch.astype(np.float64))
