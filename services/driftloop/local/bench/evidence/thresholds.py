"""The thresholds that were found for all detectors of a table, ours among them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from driftloop.local.bench.evidence.calibrate import RUN, SEED, Measured
from driftloop.local.bench.evidence.ours import BUDGET, Ours
from driftloop.local.bench.evidence.rivals import Rival
from driftloop.local.bench.evidence.streams import (
    COLUMNS,
    NORMAL,
    ROWS,
    SHARES,
    STEADY_CATEGORY,
    STEADY_ERRORS,
    Layout,
    Stationary,
)
from driftloop.local.bench.evidence.table import Table

MORE: Final = 100.0
"""Times the usual budget at which our false alarms are counted."""
RUNS: Final = 4
"""Runs of `RUN` losses, of which there is but one column, at scale 1."""
THRESHOLD_NOTE: Final = (
    "At the calibrated threshold the alarms were counted anew, with another seed, in runs of "
    "at most a million rows; wanted is what the budget allows in so many values. A category's"
    f" share of the budget, a {COLUMNS}th, is divided over its {len(SHARES)} indicators, on "
    "which the threshold is found together. The thresholds of KSWIN (exact chance of one "
    "window) and of the batch rules (p-value, or tail of the simulated statistic) need no "
    "such search. Driftloop's threshold is its budget: how many of the alarms that a hundred "
    "times the usual one allows there are says which budget makes one in a million rows. The "
    "CUSUM is PageHinkley without forgetting, whose delta is half of the shift that it is "
    "told: a quarter of a standard deviation, which of losses is 0.1. DDM, EDDM and HDDM_A "
    "raise most of their false alarms in the first thousands of rows, so in the shorter runs "
    "here they have more of them than their share."
)


class Tuned(NamedTuple):
    """A detector, the stationary stream it was calibrated on, and how often it may be wrong."""

    name: str
    default: float
    source: Stationary
    rate: float
    measured: Measured

    @classmethod
    def of(cls, rival: Rival, source: Stationary, rate: float, measured: Measured) -> "Tuned":
        """One of the others."""
        return cls(rival.name, rival.default, source, rate, measured)


def calibrated_budget(source: Stationary, columns: int, scale: float) -> Tuned:
    """The budget at which our monitor of so many columns raises one alarm in `RUN` rows.

    Alarms grow in proportion to the budget, as a detector that is a bound on their number promises:
    so they are counted at a large one.
    """
    losses = source is STEADY_ERRORS
    rows = max(10 * ROWS, int(RUN * scale * (RUNS if losses else 1)) // ROWS * ROWS)
    layout = Layout((0,), losses=True) if losses else source.layout(columns)
    watch = Ours(layout, MORE)
    blocks = source.blocks(SEED, rows, columns)
    alarms = sum(1 for block in blocks for _ in watch.update(block))
    budget = (MORE * rows / RUN) / max(alarms, 1)
    measured = Measured(budget, alarms, rows * columns)
    return Tuned("Driftloop", BUDGET, source, MORE / (RUN * columns), measured)


def table(found: Sequence[Tuned]) -> Table:
    """Each threshold, and the alarms that were counted at it."""
    whats = {NORMAL.name: "columns", STEADY_CATEGORY.name: "category", STEADY_ERRORS.name: "losses"}
    ordered = sorted(found, key=lambda tuned: list(whats).index(tuned.source.name))
    rows = [
        (
            f"{name}, {whats[source.name]}",
            f"{default:g}",
            f"{measured.threshold:.3g}",
            f"{rate * measured.values:.1f}",
            measured.alarms,
            f"{measured.values:,}",
        )
        for name, default, source, rate, measured in ordered
    ]
    return Table(
        name="thresholds",
        title="Detectors calibrated to the same rate of false alarms",
        columns=("detector", "default", "calibrated", "alarms wanted", "alarms", "in values"),
        rows=tuple(rows),
        note=THRESHOLD_NOTE,
    )
