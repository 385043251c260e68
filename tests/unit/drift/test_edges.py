"""The cell of a number is that of a plain search, however the numbers are spread."""

import numpy as np
import pytest

from driftloop.drift.domain.cells import MISSING
from driftloop.drift.domain.edges import Edges

DRAWN = np.random.default_rng(0)
SPREADS = {
    "even": DRAWN.random(2_000),
    "normal": DRAWN.normal(size=2_000),
    "far from zero": 1e6 + DRAWN.normal(size=2_000),
    "heavy tails": DRAWN.standard_t(1.5, 2_000),
    "lognormal": DRAWN.lognormal(0.0, 4.0, 2_000),
    "whole numbers": DRAWN.integers(0, 7, 2_000),
    "two values": DRAWN.choice([-1.0, 5.0], 2_000),
    "constant": np.full(2_000, 3.25),
    "huge": DRAWN.choice([-3e38, 0.0, 3e38], 2_000),
    "infinite": DRAWN.choice([-np.inf, 0.0, 1.0, np.inf], 2_000),
    "one": np.array([2.5]),
    "none": np.empty(0),
}


@pytest.mark.parametrize("spread", SPREADS)
def test_the_cell_is_that_of_a_plain_search(spread: str) -> None:
    known = SPREADS[spread].astype(np.float32)
    edges = Edges(known)
    plain = np.concatenate([edges.between(), [np.float32(np.inf)]])
    near = np.concatenate([np.nextafter(plain, np.float32(at)) for at in (-np.inf, np.inf)])
    odd = np.array([0.0, -0.0, 3e38, -3e38, np.inf, -np.inf, 1e-40], dtype=np.float32)
    with np.errstate(over="ignore"):
        asked = np.concatenate([known, plain, near, odd, 3 * known[:500], -known[:500]])
    asked = asked[~np.isnan(asked)].astype(np.float32)
    assert edges.of(asked).tolist() == np.searchsorted(plain, asked).tolist()
    assert edges.of(np.array([np.nan], dtype=np.float32)).tolist() == [MISSING]
