"""False alarms on streams that never change: ours with its budget, others as they come.

River's are there a second time, with thresholds that keep our budget on independent rows.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Final, NamedTuple

from driftloop.local.bench.evidence.batchrules import BATCH_RULES, REFERENCE, Batches
from driftloop.local.bench.evidence.calibrate import RUN, calibrated
from driftloop.local.bench.evidence.ours import BUDGET, Ours
from driftloop.local.bench.evidence.rivals import CUSUM, KSWIN_, RIVER, Rival, Watch
from driftloop.local.bench.evidence.streams import NORMAL, ROWS, STATIONARY, Layout, Stationary
from driftloop.local.bench.evidence.table import Cell, Table, Tell

SEEDS: Final = 20
COLUMNS: Final = 100
FEWER: Final = 10
"""Columns of the runs of River's detectors."""
VALUES: Final = 2e7
"""Values that one of River's detectors is measured on; KSWIN, which costs most, on a twentieth."""
CHECKS: Final = 200
"""Batches that a batch rule is measured on."""
PROCESSES: Final = 2
"""That our runs are divided over; each is a seed of a stream, so the alarms are the same."""
OURS_SHARE: Final = 0.8
"""Of the time, about."""


class Size(NamedTuple):
    """Rows and columns of a run."""

    rows: int
    columns: int = COLUMNS

    @property
    def factor(self) -> float:
        """What alarms of such a run are multiplied with to be those of a whole one."""
        return COLUMNS / self.columns * RUN / self.rows


class OurRun(NamedTuple):
    """A run of ours: the place of its stream among the stationary ones, and the seed."""

    stream: int
    seed: int
    size: Size


def tables(scale: float, tell: Tell) -> Iterator[Table]:
    """Mean alarms a run; at `scale` 1 ours are 20 seeds of a million rows by 100 columns."""
    seeds = max(1, round(SEEDS * scale))
    whole = Size(_blocks(RUN * min(1.0, SEEDS * scale)))
    rows = [_ours(seeds, whole, tell)]
    part = min(1.0, scale)
    for at, rival in enumerate(RIVER):
        tell(rival.name, OURS_SHARE + 0.05 * at / len(RIVER))
        rows.append(_river(rival.name, rival._replace(scaled=False), rival.default, part))
    for at, rival in enumerate((*RIVER, CUSUM)):
        tell(f"{rival.name}, calibrated", OURS_SHARE + 0.05 + 0.05 * at / (len(RIVER) + 1))
        threshold = calibrated(rival, NORMAL, BUDGET / (RUN * COLUMNS), scale).threshold
        rows.append(_river(f"{rival.name}, calibrated", rival, threshold, part))
    for at, (rule, limits) in enumerate(BATCH_RULES):
        tell(rule.name, OURS_SHARE + 0.1 + 0.1 * at / len(BATCH_RULES))
        size = Size(ROWS * max(2, round(CHECKS * part)))
        cells = (
            _cell(count(Batches(rule, limits, stream.layout(COLUMNS)), stream, size), size)
            for stream in STATIONARY
        )
        rows.append((rule.name, *cells))
    yield Table(
        name="alarms",
        title=f"Mean false alarms in {RUN:,} rows of {COLUMNS} columns that never change",
        columns=("detector", *(stream.name for stream in STATIONARY)),
        rows=tuple(rows),
        note=_note(seeds, whole),
    )


def count(watch: Watch, stream: Stationary, size: Size, seed: int = 0) -> int:
    """Alarms in a run; a batch rule's first rows, its reference, come before."""
    before = REFERENCE if isinstance(watch, Batches) else 0
    blocks = stream.blocks(seed, before + size.rows, size.columns)
    return sum(1 for block in blocks for _ in watch.update(block))


def _ours(seeds: int, size: Size, tell: Tell) -> tuple[Cell, ...]:
    runs = [OurRun(at, seed, size) for at in range(len(STATIONARY)) for seed in range(seeds)]
    alarms = [0] * len(STATIONARY)
    counts = ours_counted(runs, PROCESSES if seeds > 1 else 1)
    for done, (run, found) in enumerate(zip(runs, counts, strict=True), start=1):
        alarms[run.stream] += found
        tell(f"Driftloop, {STATIONARY[run.stream].name}", OURS_SHARE * done / len(runs))
    return "Driftloop", *(of * size.factor / seeds for of in alarms)


def ours_counted(runs: Sequence[OurRun], processes: int) -> Iterator[int]:
    """Our alarms in each of the runs, in their order, in so many processes."""
    if processes == 1:
        yield from map(_our_count, runs)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_our_count, runs)


def _our_count(run: OurRun) -> int:
    stream = STATIONARY[run.stream]
    return count(Ours(stream.layout(run.size.columns)), stream, run.size, run.seed)


def _river(name: str, rival: Rival, threshold: float, part: float) -> tuple[Cell, ...]:
    values = VALUES * part / (20 if rival.name == KSWIN_.name else 1)
    make = partial(rival.watch, threshold=threshold)
    return name, *(_fewer(make, stream, values) for stream in STATIONARY)


def _fewer(make: Callable[[Layout], Watch], stream: Stationary, values: float) -> Cell:
    """Of one of River's detectors, on fewer values: first fewer rows, then fewer columns."""
    detectors = max(1, stream.categories)
    columns = FEWER if values >= FEWER * detectors * 10 * ROWS else 1
    size = Size(_blocks(min(RUN, values / columns / detectors)), columns)
    return _cell(count(make(stream.layout(columns)), stream, size), size)


def _cell(alarms: int, size: Size) -> str:
    if alarms:
        return f"~{float(f'{alarms * size.factor:.2g}'):,.0f}"
    return f"under {size.factor:,.0f}"


def _blocks(rows: float) -> int:
    return max(1, int(rows) // ROWS) * ROWS


def _note(seeds: int, size: Size) -> str:
    return (
        f"Driftloop: {seeds} seed{'s' * (seeds > 1)} of {size.rows:,} rows, with a budget of "
        f"{BUDGET:g} in a million rows. The others have the thresholds they come with, or of "
        "everyday use (p < 0.05, distance 0.1, PSI 0.2, half of the columns with p < 0.05), and a "
        "seed of fewer rows or columns; ~ says that their alarms were multiplied up to a whole "
        "run. River's detectors, and a CUSUM told to look for a quarter of a standard deviation, "
        "calibrated to our budget on the independent rows, are there once more. They "
        "watch each column, a category column as one indicator a category. Batch rules judge "
        f"{ROWS:,} rows against the first {REFERENCE:,}: at most 1,000 alarms a run. "
        "For categories they take chi-square for KS, and Jensen-Shannon for Wasserstein."
    )
