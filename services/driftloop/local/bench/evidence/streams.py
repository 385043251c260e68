"""Seeded streams of the drift benches, as blocks of rows made on the fly."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice, repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Block = NDArray[np.float32]
"""Rows by columns; NaN is a missing value, a category is its position in the list."""

ROWS: Final = 1_000
"""Rows of a block."""
BEFORE: Final = 10_000
"""Rows before a change, and up to a block more, so that no change starts with a block."""
COLUMNS: Final = 50
"""Columns of a stream that changes; the first does."""
AUTOCORRELATION: Final = 0.9
DEGREES: Final = 3
MISSING: Final = 0.1
ZIPF: Final = tuple(float(share) for share in (1 / np.arange(1, 13)) / (1 / np.arange(1, 13)).sum())
"""Shares of the twelve categories of the skewed stream."""
SHARES: Final = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)
"""Shares of the categories before the share of the fourth goes from 10 to 15 %."""
GROWN: Final = tuple(0.15 if share == 0.1 else share * 0.85 / 0.9 for share in SHARES)
ERRORS: Final = 0.2
"""Error rate before it rises."""

_TABLE: Final = 1 << 16
"""Entries of the table that turns random 16-bit numbers into categories."""


class Layout(NamedTuple):
    """What is known of the columns: number of categories of each (0 is a number).

    `losses` says that the one column holds losses of 0 and 1 instead of a feature.
    """

    categories: tuple[int, ...]
    nullable: bool = False
    losses: bool = False


class Stationary(NamedTuple):
    """A stream that never changes: endless blocks from a generator of random numbers."""

    name: str
    draw: Callable[[np.random.Generator, int], Iterator[Block]]
    categories: int = 0
    nullable: bool = False

    def layout(self, columns: int) -> Layout:
        """What is known of so many columns."""
        return Layout((self.categories,) * columns, self.nullable)

    def blocks(self, seed: int, rows: int, columns: int) -> Iterator[Block]:
        """`rows` rows, a multiple of `ROWS`, of so many columns."""
        return islice(self.draw(seeded(self.name, seed), columns), rows // ROWS)


class Changing(NamedTuple):
    """A stream that changes once; an alarm later than `horizon` rows after that is a miss."""

    name: str
    layout: Layout
    draw: Callable[[np.random.Generator, int], Iterator[Block]]
    horizon: int = 20_000

    def run(self, seed: int) -> tuple[int, Iterator[Block]]:
        """The first changed row, and the blocks up to the horizon."""
        drawn = seeded(self.name, seed)
        change = BEFORE + int(drawn.integers(1, ROWS))
        return change, islice(self.draw(drawn, change), 1 + (change + self.horizon) // ROWS)


def seeded(name: str, seed: int) -> np.random.Generator:
    """The random numbers of one run of one stream."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed])


def _independent(drawn: np.random.Generator, columns: int) -> Iterator[Block]:
    while True:
        yield drawn.standard_normal((ROWS, columns), dtype=np.float32)


def _autocorrelated(drawn: np.random.Generator, columns: int) -> Iterator[Block]:
    """AR(1) with standard deviation 1, from its stationary distribution on."""
    innovation = float(np.sqrt(1 - AUTOCORRELATION**2))
    gain, past = (np.array(of, dtype=np.float32) for of in ([innovation], [1, -AUTOCORRELATION]))
    state = np.float32(AUTOCORRELATION) * drawn.standard_normal((1, columns), dtype=np.float32)
    for block in _independent(drawn, columns):
        made, state = lfilter(gain, past, block, axis=0, zi=state)
        yield made


def _heavy(drawn: np.random.Generator, columns: int) -> Iterator[Block]:
    """Student's t: a normal variable over the root of a chi-square one by its degrees."""
    for block in _independent(drawn, columns):
        spread = drawn.standard_gamma(DEGREES / 2, (ROWS, columns), dtype=np.float32)
        yield block / np.sqrt(spread * np.float32(2 / DEGREES))


def _categories(
    shares: Sequence[float], drawn: np.random.Generator, columns: int
) -> Iterator[Block]:
    ends = np.round(np.cumsum(shares) * _TABLE)
    table = np.searchsorted(ends, np.arange(_TABLE), side="right").astype(np.float32)
    while True:
        yield table[drawn.integers(0, _TABLE, (ROWS, columns), dtype=np.uint16)]


def _missing(drawn: np.random.Generator, columns: int) -> Iterator[Block]:
    for block in _independent(drawn, columns):
        block[drawn.random((ROWS, columns), dtype=np.float32) < MISSING] = np.nan
        yield block


def _moved(drawn: np.random.Generator, change: int, by: float, over: int) -> Iterator[Block]:
    """The mean of the first column moves by so many standard deviations, within `over` rows."""
    for first, block in zip(count(0, ROWS), _independent(drawn, COLUMNS), strict=False):
        since = np.arange(first, first + ROWS) - change + 1
        block[:, 0] += np.float32(by) * np.clip(since / over, 0, 1).astype(np.float32)
        yield block


def _shares(drawn: np.random.Generator, change: int) -> Iterator[Block]:
    """The first column is a category, whose shares change."""
    before, after = np.cumsum(SHARES)[:-1], np.cumsum(GROWN)[:-1]
    for first, block in zip(count(0, ROWS), _independent(drawn, COLUMNS), strict=False):
        chances, at = drawn.random(ROWS), min(max(change - first, 0), ROWS)
        block[:at, 0] = np.searchsorted(before, chances[:at], side="right")
        block[at:, 0] = np.searchsorted(after, chances[at:], side="right")
        yield block


def _losses(drawn: np.random.Generator, change: int, rate: float) -> Iterator[Block]:
    for first in count(0, ROWS):
        rates = np.where(np.arange(first, first + ROWS) < change, ERRORS, rate)
        yield (drawn.random(ROWS) < rates).astype(np.float32)[:, None]


def _errors(drawn: np.random.Generator, columns: int) -> Iterator[Block]:
    return (
        (drawn.random((ROWS, columns), dtype=np.float32) < ERRORS).astype(np.float32)
        for _ in repeat(None)
    )


STATIONARY: Final = (
    Stationary("independent", _independent),
    Stationary("autocorrelated (0.9)", _autocorrelated),
    Stationary("heavy tails (t, 3 degrees)", _heavy),
    Stationary("skewed categories (12)", partial(_categories, ZIPF), categories=len(ZIPF)),
    Stationary("10 % missing", _missing, nullable=True),
)
NORMAL: Final = STATIONARY[0]
STEADY_CATEGORY: Final = Stationary(
    "category (6)", partial(_categories, SHARES), categories=len(SHARES)
)
"""The category whose shares change elsewhere, with shares that stay."""
STEADY_ERRORS: Final = Stationary("losses (0.2)", _errors)
"""Losses of 0 and 1, whose mean stays."""
_NUMBERS: Final = Layout((0,) * COLUMNS)


def _step(by: float) -> Changing:
    return Changing(f"mean + {by:g} sd", _NUMBERS, lambda drawn, at: _moved(drawn, at, by, 1))


def _rise(rate: float) -> Changing:
    name = f"error rate {ERRORS:g} to {rate:g}"
    layout = Layout((0,), losses=True)
    return Changing(name, layout, lambda drawn, at: _losses(drawn, at, rate))


COLUMN_CHANGES: Final = (
    *(_step(by) for by in (3.0, 1.0, 0.5, 0.25)),
    Changing("category 10 to 15 %", Layout((len(SHARES), *_NUMBERS.categories[1:])), _shares),
    Changing(
        "mean + 1 sd over 10,000 rows",
        _NUMBERS,
        lambda drawn, at: _moved(drawn, at, 1.0, 10_000),
        horizon=30_000,
    ),
)
LOSS_CHANGES: Final = tuple(_rise(rate) for rate in (0.25, 0.3, 0.4))
