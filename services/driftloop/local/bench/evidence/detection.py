"""How soon changes are found, by us and by others at the same rate of false alarms."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from driftloop.local.bench.evidence import thresholds
from driftloop.local.bench.evidence.batchrules import BATCH_RULES, Batches, Limits, Rule
from driftloop.local.bench.evidence.calibrate import RUN, calibrated, rule
from driftloop.local.bench.evidence.ours import Ours
from driftloop.local.bench.evidence.rivals import (
    ADWIN_,
    CUSUM,
    CUSUM_LOSSES,
    ERROR_RATE,
    KSWIN_,
    RIVER,
    Rival,
    Watch,
)
from driftloop.local.bench.evidence.streams import (
    BEFORE,
    COLUMN_CHANGES,
    COLUMNS,
    LOSS_CHANGES,
    NORMAL,
    SHARES,
    STEADY_CATEGORY,
    STEADY_ERRORS,
    Block,
    Changing,
    Layout,
    Stationary,
)
from driftloop.local.bench.evidence.table import Cell, Table, Tell
from driftloop.local.bench.evidence.thresholds import Tuned, calibrated_budget

SEEDS: Final = 50
SAMPLES: Final = 20_000
"""Simulated batches that a threshold of a batch rule is drawn from."""
QUARTER: Final = 0.25
"""Of the delay: what the error of "since when" may be."""
OURS: Final = "Driftloop"
TUNED: Final = "Driftloop, calibrated"
AHEAD: Final = ("ahead of all calibrated", "ahead of the CUSUM too")
SINCE_COLUMNS: Final = ("error", "delay", "ratio")
NOTE: Final = (
    f"The change is at row {BEFORE:,} and up to a thousand more; no alarm within 20,000 rows of it "
    "(30,000 of the gradual one) is a miss, an alarm before it is false. Everybody is calibrated "
    "to one false alarm in a million rows of all columns without a change. Driftloop as it comes "
    "has fewer than its budget of one: its threshold is a bound, and holds on other streams too. "
    "Whether it is ahead is said of its threshold calibrated as those of the others are. River's "
    "detectors watch every column (KSWIN only the one that changes), a category as one indicator a "
    "category, with thresholds of their own for indicators. Batch rules judge 1,000 rows against "
    "the first 5,000, a category by chi-square, Jensen-Shannon or PSI of its shares. The CUSUM is "
    "told to look for a shift of a quarter of a standard deviation: the size in one of the rows, "
    "and near it in others. Nobody else is told a size, so it is compared with in a column of its "
    "own."
)
LOSS_NOTE: Final = (
    f"Losses are 0 or 1 with mean 0.2 for {BEFORE:,} rows and up to a thousand more. Everybody is "
    "calibrated to one false alarm in a million losses, Driftloop as above. Batch rules take "
    "losses for two categories. The CUSUM is told to look for a shift of 0.1, the size in one of "
    "the rows."
)
SINCE_NOTE: Final = "ADWIN's is the window that it keeps; the other rivals do not say since when."
Make = Callable[[Layout], Watch]


class Run(NamedTuple):
    """What one detector made of one stream.

    `delay`: rows from the change to the alarm, both counted; None is a miss. `error`: rows from the
    change to "since when", None where it is not said. `false`: alarms before the change.
    """

    delay: int | None
    error: int | None
    false: int


Runs = Mapping[str, Sequence[Run]]
"""Of each detector, one run a seed."""


def tables(scale: float, tell: Tell) -> Iterator[Table]:
    """Thresholds, delays of columns and of losses, and "since when"; `scale` 1 is 50 seeds."""
    columns, column_rows = _columns(scale, lambda what, done: tell(what, 0.2 * done))
    losses, loss_rows = _losses(scale, lambda what, done: tell(what, 0.2 + 0.2 * done))
    yield thresholds.table((*column_rows, *loss_rows))
    seeds = range(max(1, round(SEEDS * scale)))
    found: dict[str, Runs] = {}
    for at, change in enumerate(COLUMN_CHANGES):
        tell(change.name, 0.4 + 0.5 * at / len(COLUMN_CHANGES))
        found[change.name] = runs(change, columns, seeds)
    yield _delays("detection", f"Change in one of {COLUMNS} columns", found, len(seeds), NOTE)
    errors: dict[str, Runs] = {}
    for at, change in enumerate(LOSS_CHANGES):
        tell(change.name, 0.9 + 0.1 * at / len(LOSS_CHANGES))
        errors[change.name] = runs(change, losses, seeds)
    yield _delays("detection_errors", "Change of the error rate", errors, len(seeds), LOSS_NOTE)
    yield _since(found | errors, len(seeds))


def runs(change: Changing, detectors: Mapping[str, Make], seeds: Iterable[int]) -> Runs:
    """One run a seed; all detectors see the same rows."""
    made: dict[str, list[Run]] = {name: [] for name in detectors}
    for seed in seeds:
        at, drawn = change.run(seed)
        blocks = list(drawn)
        for name, make in detectors.items():
            made[name].append(follow(make(change.layout), blocks, at, change.horizon))
    return made


def follow(watch: Watch, blocks: Iterable[Block], change: int, horizon: int) -> Run:
    """What one detector makes of one stream, up to its first alarm after the change."""
    false = 0
    for block in blocks:
        for row, since in sorted(watch.update(block), key=lambda found: found[0]):
            if row < change:
                false += 1
            elif row < change + horizon:
                error = None if since is None else abs(since - change)
                return Run(row - change + 1, error, false)
    return Run(None, None, false)


def _columns(scale: float, tell: Tell) -> tuple[dict[str, Make], list[Tuned]]:
    """Detectors of columns, calibrated to an alarm in a million rows of all columns."""
    ours = calibrated_budget(NORMAL, COLUMNS, scale)
    made: dict[str, Make] = {OURS: Ours, TUNED: partial(Ours, budget=ours.measured.threshold)}
    rows = [ours]
    for at, rival in enumerate((*RIVER, CUSUM)):
        tell(f"thresholds of {rival.name}", at / 5)
        number = _tuned(rival, NORMAL, 1 / (RUN * COLUMNS), scale)
        indicator = _tuned(rival, STEADY_CATEGORY, 1 / (RUN * COLUMNS * len(SHARES)), scale)
        made[rival.name] = partial(
            rival.watch,
            threshold=number.measured.threshold,
            # An update of KSWIN costs as much as twenty of the others: only the changed column.
            columns=slice(0, 1) if rival is KSWIN_ else slice(None),
            indicator=indicator.measured.threshold,
        )
        rows += [number, indicator]
    tell("thresholds of batch rules", 4 / 5)
    made |= _rules(scale, losses=False)
    made[CUSUM.name] = made.pop(CUSUM.name)  # the last column
    return made, rows


def _losses(scale: float, tell: Tell) -> tuple[dict[str, Make], list[Tuned]]:
    """Detectors of losses, calibrated to an alarm in a million losses."""
    ours = calibrated_budget(STEADY_ERRORS, 1, scale)
    made: dict[str, Make] = {OURS: Ours, TUNED: partial(Ours, budget=ours.measured.threshold)}
    rows = [ours]
    rivals = (*RIVER, *ERROR_RATE, CUSUM_LOSSES)
    for at, rival in enumerate(rivals):
        tell(f"threshold of {rival.name} for losses", at / len(rivals))
        rows.append(_tuned(rival, STEADY_ERRORS, 1 / RUN, scale))
        made[rival.name] = partial(rival.watch, threshold=rows[-1].measured.threshold)
    made |= _rules(scale, losses=True)
    made[CUSUM.name] = made.pop(CUSUM.name)  # the last column
    return made, rows


def _tuned(rival: Rival, source: Stationary, rate: float, scale: float) -> Tuned:
    return Tuned.of(rival, source, rate, calibrated(rival, source, rate, scale))


def _rules(scale: float, losses: bool) -> dict[str, Make]:
    """The batch rules, calibrated; of the one column of losses there is no share of columns."""
    made: dict[str, Make] = {}
    for known, _ in BATCH_RULES:
        if not (losses and known.columns):
            chosen, limits = rule(known, max(500, round(SAMPLES * scale)), losses)
            made[known.name] = partial(_batches, chosen, limits)
    return made


def _batches(known: Rule, limits: Limits, layout: Layout) -> Watch:
    return Batches(known, limits, layout)


def _delays(name: str, title: str, found: Mapping[str, Runs], seeds: int, note: str) -> Table:
    detectors = list(next(iter(found.values())))
    return Table(
        name=name,
        title=f"{title}: median rows to the alarm",
        columns=("change", *detectors, *AHEAD),
        rows=tuple(_row(change, of) for change, of in found.items()),
        note=f"{seeds} seeds a change. {note}",
    )


def _row(change: str, of: Runs) -> tuple[Cell, ...]:
    delays = {name: _delay(made) for name, made in of.items()}
    best = min(delays.values())
    cells = (
        f"**{_cell(made)}**" if delays[name] == best < math.inf else _cell(made)
        for name, made in of.items()
    )
    mine = (OURS, TUNED)
    others = [delay for name, delay in delays.items() if name not in (*mine, CUSUM.name)]
    groups = (others, [*others, delays[CUSUM.name]])
    return change, *cells, *(_ahead(delays[TUNED], min(group)) for group in groups)


def _ahead(ours: float, others: float) -> str:
    return "yes" if ours < others else "level" if ours == others else "no"


def _delay(made: Sequence[Run]) -> float:
    """Median delay; a miss is endless."""
    return median(math.inf if run.delay is None else run.delay for run in made)


def _cell(made: Sequence[Run]) -> str:
    middle = _delay(made)
    missed, false = sum(run.delay is None for run in made), sum(run.false for run in made)
    said = [f"{middle:,.0f}"] if middle < math.inf else []
    said += [f"{missed} missed"] * (missed > 0) + [f"{false} false"] * (false > 0)
    return ", ".join(said)


def _since(found: Mapping[str, Runs], seeds: int) -> Table:
    rows = []
    for change, of in found.items():
        cells: list[Cell] = [change]
        for name in (OURS, ADWIN_.name):
            delay = _delay(of[name])
            errors = [run.error for run in of[name] if run.error is not None]
            if not errors or delay == math.inf:
                cells += ["-", "-", "-"]
                continue
            error = median(errors)
            cells += [f"{error:,.0f}", f"{delay:,.0f}", f"{error / delay:.2f}"]
        cells.append("yes" if cells[3] != "-" and float(cells[3]) <= QUARTER else "no")
        rows.append(tuple(cells))
    return Table(
        name="since",
        title='Error of "since when", against the delay of the alarm',
        columns=(
            "change",
            *(f"{name} {what}" for name in (OURS, ADWIN_.name) for what in SINCE_COLUMNS),
            "a quarter at most",
        ),
        rows=tuple(rows),
        note=f"{seeds} seeds a change; medians of rows. " + SINCE_NOTE,
    )
