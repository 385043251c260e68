"""Simulated trials on real paired differences: who gets which verdict, and after how many rows."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from driftloop.local.bench.evidence.pairs import Pairs
from driftloop.local.bench.evidence.paths import (
    Floats,
    Looks,
    Path,
    bernstein,
    betting,
    rows_to_verdict,
    z_scores,
)

LEVEL: Final = 0.05
SEED: Final = 2_024
CHUNK: Final = 2_000_000
"""Differences worked on at once."""


class Method(NamedTuple):
    """A rule for verdicts: the evidence at each look, and where it is enough."""

    name: str
    path: Callable[[Floats], Path]
    threshold: float


BETTING: Final = Method("betting (ours)", betting, math.log(2 / LEVEL))
BERNSTEIN: Final = Method("empirical Bernstein", partial(bernstein, level=LEVEL), 0.0)
PEEKED: Final = Method("z-test, peeked", z_scores, NormalDist().inv_cdf(1 - LEVEL / 2))
PLANNED: Final = Method(
    "z-test, one look at the end", lambda rows: _last(z_scores(rows)), PEEKED.threshold
)


def verdicts(
    pairs: Pairs,
    methods: Sequence[Method],
    runs: int,
    rows: int,
    *,
    gain: float = 0.0,
    block: int = 1,
    salt: int = 0,
) -> list[tuple[Looks, Looks]]:
    """Rows to "better" and to "worse" of each run, by each method; 0 where there is none.

    `gain` is added to the differences of equal models, of which `block` rows are swapped at once.
    """
    found: list[list[tuple[Looks, Looks]]] = [[] for _ in methods]
    each = max(CHUNK // rows, 1)
    for begin in range(0, runs, each):
        random = np.random.default_rng((SEED, rows, block, salt, begin))
        starts = random.integers(pairs.differences.size, size=min(each, runs - begin))
        if pairs.gain:
            differences = pairs.differences.take(
                random.integers(pairs.differences.size, size=(starts.size, rows))
            )
        else:
            differences = np.clip(nulls(pairs, random, starts, rows, block) + gain, -1.0, 1.0)
        paths: dict[Callable[[Floats], Path], Path] = {}
        for at, method in enumerate(methods):
            if method.path not in paths:
                paths[method.path] = method.path(differences)
            found[at].append(rows_to_verdict(paths[method.path], method.threshold))
    return [
        (np.concatenate([over for over, _ in parts]), np.concatenate([under for _, under in parts]))
        for parts in found
    ]


def nulls(
    pairs: Pairs, random: np.random.Generator, starts: Looks, rows: int, block: int
) -> Floats:
    """Stretches of real differences from `starts` on, each block of rows with a sign of its own."""
    signs = 2.0 * random.integers(0, 2, size=(starts.size, -(-rows // block)), dtype=np.int8) - 1.0
    stretches = pairs.differences.take(starts[:, None] + np.arange(rows), mode="wrap")
    return np.asarray(stretches * np.repeat(signs, block, axis=1)[:, :rows])


def planned(pairs: Pairs, gain: float, wanted: float) -> int:
    """Rows of a two-sided paired z-test at 5 % that finds `gain` with the power `wanted`."""
    normal = NormalDist()
    quantiles = normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(wanted)
    return math.ceil((quantiles * spread(pairs) / gain) ** 2)


def spread(pairs: Pairs) -> float:
    """Standard deviation of the differences as `verdicts` draws them."""
    return float(np.sqrt(np.square(pairs.differences).mean() - pairs.gain**2))


def _last(path: Path) -> Path:
    """The same path with nothing seen before the last look."""
    blind = np.full_like(path.over[:, :-1], -np.inf)
    return Path(*(np.concatenate([blind, side[:, -1:]], axis=1) for side in path))
