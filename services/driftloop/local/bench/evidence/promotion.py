"""Promotion measured: false promotions of equal models, rows to a verdict, and shared levels."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from driftloop.evidence import share_of_level
from driftloop.local.bench.evidence.pairs import (
    FITTED,
    ITERATIONS,
    Pairs,
    better_pairs,
    equal_pairs,
)
from driftloop.local.bench.evidence.paths import (
    LOOK,
    Looks,
    Path,
    betting,
    rows_to_verdict,
    z_scores,
)
from driftloop.local.bench.evidence.table import Cell, Table, Tell
from driftloop.local.bench.evidence.trials import (
    BERNSTEIN,
    BETTING,
    LEVEL,
    PEEKED,
    PLANNED,
    SEED,
    Method,
    nulls,
    planned,
    spread,
    verdicts,
)

FEWEST: Final = 2
"""Runs at the smallest scale."""
SMALL: Final = 0.1
"""Below this scale the models are trained on fewer rows and in fewer iterations."""
GAINS: Final = (0.005, 0.01, 0.02, 0.05)
TOLERANCE: Final = 0.002
BLOCKS: Final = (1, 100)
NUMBERS: Final = (1, 2, 3, 5, 10)
SOURCE: Final = (
    "Differences: Brier losses of two models (the default estimator) trained on disjoint halves of "
    "the first 60,000 flights, on a random stretch of the flights after them. In each run the two "
    "are swapped at random row by row, so the mean is exactly 0 and the sizes are real"
)


def tables(scale: float, tell: Tell) -> Iterator[Table]:
    """False promotions, power, shared levels and non-inferiority."""
    tell("training two models", 0.0)
    pairs = equal_pairs(*_effort(scale))
    tell("equal models", 0.1)
    yield equal(pairs, scale)
    tell("power", 0.4)
    yield power(pairs, scale, tell)
    tell("shared levels", 0.9)
    yield shared(pairs, scale)
    yield series(pairs, scale)
    tell("non-inferiority", 0.95)
    yield non_inferiority(pairs, scale)


def equal(pairs: Pairs, scale: float) -> Table:
    """How often each rule promotes one of two equal models."""
    runs, rows = _runs(2_000, scale), 20_000
    methods = (BETTING, BERNSTEIN, PEEKED, PLANNED)
    found = {block: verdicts(pairs, methods, runs, rows, block=block) for block in BLOCKS}
    cells = [
        (
            method.name,
            *(
                _percent(share)
                for block in BLOCKS
                for share in (_share(found[block][at][0]), _share(*found[block][at]))
            ),
        )
        for at, method in enumerate(methods)
    ]
    return Table(
        name="aa",
        title="Equal models: runs with a verdict, in which there should be none",
        columns=(
            "rule at level 0.05",
            "promoted",
            "promoted or worse",
            "promoted, swapped by blocks",
            "promoted or worse, by blocks",
        ),
        rows=tuple(cells),
        note=f"{runs:,} runs of {rows:,} rows, a look after every {LOOK}, no verdict before 200 "
        f"rows. {SOURCE}; by blocks: 100 rows in a row are swapped together, so that neighbours "
        f"depend on each other, which no rule here allows for. Seed {SEED}.",
    )


def power(equal_models: Pairs, scale: float, tell: Tell) -> Table:
    """Rows to a verdict, beside the size of a test that is planned in advance."""
    runs, cells = _runs(300, scale), []
    for at, share in enumerate(GAINS):
        cells.append(_found(better_pairs(share, *_effort(scale)), f"{share:.1%}", runs))
        tell("power", 0.4 + 0.25 * (at + 1) / len(GAINS))
    for at, share in enumerate(GAINS):
        cells.append(_found(equal_models, f"{share:.1%}, moved", runs, share * equal_models.loss))
        tell("power", 0.65 + 0.25 * (at + 1) / len(GAINS))
    return Table(
        name="power",
        title="Rows to a verdict, for a challenger that is better by a share of the loss",
        columns=(
            "gain",
            "in Brier loss",
            "spread",
            "planned test, power 80 %",
            "planned test, power 90 %",
            "betting, median rows",
            "to the 80 % test",
            "to the 90 % test",
            "Bernstein, median rows",
            "to the 80 % test",
            "worse by as much: promoted",
        ),
        rows=tuple(cells),
        note=f"{runs:,} runs a line, each of at most six times the rows of the 80 % test (3,000 at "
        f"least), a look after every {LOOK} rows, level {LEVEL}. The challenger is the default "
        "estimator on half of the first 60,000 flights; the champion mixes its answers with those "
        "of the same estimator on the first 3,000, in the proportion that makes the gain. Rows are "
        "drawn at random from the flights after them, so all have the same mean. Moved: instead "
        "the gain is added to the differences of the equal models of the table above, which differ "
        "less than a model so much better really would. The planned test (two-sided 5 %) knows "
        "gain and spread (standard deviation) beforehand and may look once. The last column: runs "
        f"with the roles swapped, or the gain taken away. Seed {SEED}.",
    )


def _found(pairs: Pairs, name: str, runs: int, move: float = 0.0) -> tuple[Cell, ...]:
    gain = pairs.gain or move
    least, more = (planned(pairs, gain, wanted) for wanted in (0.8, 0.9))
    rows = min(max(6 * least, 3_000) // LOOK * LOOK, pairs.differences.size // LOOK * LOOK)
    ours, other = verdicts(pairs, (BETTING, BERNSTEIN), runs, rows, gain=move)
    swapped = pairs._replace(differences=-pairs.differences, gain=-pairs.gain)
    (worse,) = verdicts(swapped, (BETTING,), runs, rows, gain=-move, salt=1)
    return (
        name,
        f"{gain:.5f}",
        f"{spread(pairs):.3f}",
        least,
        more,
        _median(ours[0], rows),
        _ratio(ours[0], least),
        _ratio(ours[0], more),
        _median(other[0], rows),
        _ratio(other[0], least),
        _percent(_share(worse[0])),
    )


def shared(pairs: Pairs, scale: float) -> Table:
    """What it costs to be a later challenger of one champion."""
    runs, gain = _runs(300, scale), 0.02 * pairs.loss
    rows = 10 * planned(pairs, gain, 0.8) // LOOK * LOOK
    levels = [LEVEL, *(share_of_level(LEVEL, number) for number in NUMBERS)]
    methods = [BETTING._replace(threshold=math.log(2 / level)) for level in levels]
    found = [over for over, _ in verdicts(pairs, methods, runs, rows, gain=gain)]
    alone = float(np.median(found[0]))
    names = ["alone", *(str(number) for number in NUMBERS)]
    cells = tuple(
        (name, level, _median(over, rows), float(np.median(over)) / alone if alone else 0.0)
        for name, level, over in zip(names, levels, found, strict=True)
    )
    return Table(
        name="shared",
        title="What sharing the level costs: rows to a verdict for a gain of 2 %",
        columns=("challenger", "its level", "median rows", "to one alone"),
        rows=cells,
        note=f"{runs:,} runs. The level of challenger k is 0.05 * 6 / (pi^2 k^2). Seed {SEED}.",
    )


def series(pairs: Pairs, scale: float) -> Table:
    """How often one of ten challengers that are no better is promoted."""
    runs, rows, most = _runs(1_000, scale), 4_000, 10
    methods = [
        BETTING._replace(threshold=math.log(2 / share_of_level(LEVEL, number)))
        for number in range(1, most + 1)
    ]
    promoted = {"level shared (ours)": 0, "0.05 for each": 0, "z-test, peeked, 0.05 for each": 0}
    for part in range(runs):
        rest = np.random.default_rng((SEED, 7, part))
        each = nulls(pairs, rest, np.repeat(rest.integers(pairs.differences.size), most), rows, 1)
        capital, z = betting(each), z_scores(each)
        own = [
            rows_to_verdict(Path(capital.over[k : k + 1], capital.under[k : k + 1]), one.threshold)
            for k, one in enumerate(methods)
        ]
        promoted["level shared (ours)"] += any(over.any() for over, _ in own)
        promoted["0.05 for each"] += bool(rows_to_verdict(capital, BETTING.threshold)[0].any())
        peeked = rows_to_verdict(z, PEEKED.threshold)[0].any()
        promoted["z-test, peeked, 0.05 for each"] += bool(peeked)
    return Table(
        name="series",
        title="Ten challengers of one champion at once, none of them better",
        columns=("rule", "series with a promotion"),
        rows=tuple((name, _percent(count / runs)) for name, count in promoted.items()),
        note=f"{runs:,} series of {rows:,} rows, all ten on the same rows. {SOURCE}. Seed {SEED}.",
    )


def non_inferiority(pairs: Pairs, scale: float) -> Table:
    """What superiority and non-inferiority let pass, and what probation takes back."""
    runs, rows = _runs(500, scale), 20_000
    margins = (0.0, -TOLERANCE)
    cells = []
    for gain in (0.002, 0.0, -0.001, -0.002, -0.004):
        methods = [Method("", partial(betting, margin=m), BETTING.threshold) for m in margins]
        trial = verdicts(pairs, methods, runs, rows, gain=gain)
        back = verdicts(pairs, methods, runs, rows, gain=gain, salt=1)
        cells.append(
            (
                f"{gain:+.3f}",
                *(_percent(_share(over)) for over, _ in trial),
                _percent(_share(back[1][1])),
                _percent(_share(back[0][1])),
            )
        )
    return Table(
        name="non_inferiority",
        title=f"Superiority, and non-inferiority by {TOLERANCE}",
        columns=(
            "gain of the challenger (Brier)",
            "promoted by superiority",
            "promoted by non-inferiority",
            "taken back: old better by more than the tolerance",
            "taken back, were the old only to be better",
        ),
        rows=tuple(cells),
        note=f"{runs:,} runs of {rows:,} rows each for the trial and, with other rows, for a "
        f"probation; level {LEVEL}. {SOURCE}; then the gain is added. Seed {SEED}.",
    )


def _effort(scale: float, iterations: int = ITERATIONS) -> tuple[int, int]:
    return (FITTED, iterations) if scale >= SMALL else (FITTED // 30, iterations // 10)


def _runs(whole: int, scale: float) -> int:
    return max(round(whole * scale), FEWEST)


def _share(*sides: Looks) -> float:
    return float(np.mean(np.any([side > 0 for side in sides], axis=0)))


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _median(rows: Looks, most: int) -> Cell:
    median = float(np.median(np.where(rows > 0, rows, np.inf)))
    return round(median) if math.isfinite(median) else f"over {most:,}"


def _ratio(rows: Looks, least: int) -> Cell:
    median = float(np.median(np.where(rows > 0, rows, np.inf)))
    return f"{median / least:.2f}" if math.isfinite(median) else "-"
