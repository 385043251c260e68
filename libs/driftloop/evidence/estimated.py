"""The mean loss of rows without labels, as the labelled rows before let one expect it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence.arrays import FloatArray
from driftloop.evidence.estimated_terms import Kind, State, Terms, own_expectation, summaries
from driftloop.evidence.losses import CLASSIFICATION_LOSSES

Floats32 = NDArray[np.float32]

NEEDED: Final = 1_000
"""Labelled rows before a first estimate; terms are chosen on the very first so many."""
BLOCK: Final = 500
"""Labelled rows that are learned together, so that the cuts of batches change nothing."""
MEMORY: Final = 20_000
"""Labelled rows after which the weight of a row has fallen to 1 / e."""
PRIOR_ROWS: Final = 10.0
"""The weight, in rows, of the belief that a term changes nothing."""
CONSIDERED: Final = 256
"""Features that are looked at: the first ones."""
MOST_VARIANCE: Final = 0.25
"""Of a number in [0, 1]."""
SHARE_NEW: Final = 0.1
"""Labelled rows since the coefficients were solved, as a share of all, before they are again."""


class Expected(NamedTuple):
    """What is expected of the mean loss of some rows.

    `row_variance` is that of one row's loss around its own expectation, `own_variance` that of
    `mean`, which was learned from finitely many rows.
    """

    mean: float
    row_variance: float
    own_variance: float

    def deviation(self, rows: int) -> float:
        """Standard deviation of (mean loss of `rows` rows - `mean`), if rows are independent."""
        return float(np.sqrt(self.row_variance / max(rows, 1) + self.own_variance))


class LossEstimator:
    """A linear model of the loss: learned from labelled rows, asked about rows without labels.

    A row's loss is taken to be what the answer itself expects (for classes: the mean loss of labels
    drawn from the answer; for values: 0) plus a correction that is linear in `Terms` of the answer
    and of the features, a ridge regression of (loss - own expectation). For two classes that is a
    recalibration of the probabilities in bins, as CBPE does, in units of the loss. The terms of the
    features let it differ between regions: an answer that is calibrated on the whole need not be so
    in each. For a regression it is a model of the error.

    What is assumed: given the terms, the mean loss stays what it was; the mix of rows may change.

    State is numbers only: terms^2 + 7 terms of 8 bytes. There are at most 83 terms: 1, 9 a summary
    of the answer (2 with more than two classes), 48 of features, 16 of missing values.
    """

    def __init__(self, loss: str, kinds: Sequence[Kind]) -> None:
        """`loss` is a name of `losses`; `kinds` has one entry a feature."""
        self._loss = loss
        self._classes = loss in CLASSIFICATION_LOSSES
        self._kinds = tuple(kinds[:CONSIDERED])
        self._terms: Terms | None = None
        self._features = np.arange(len(self._kinds))
        self.forget()

    def forget(self) -> None:
        """Learn anew what the loss is, as after a change of it; the terms stay."""
        size = self._terms.size if self._terms else 1
        self._products = np.zeros((size, size))
        self._losses = np.zeros(size)
        self._squares = np.zeros(size)
        self._new = 0
        self.learned = 0
        self._solve()

    @property
    def ready(self) -> bool:
        """Whether there are enough labelled rows to expect anything."""
        return self.learned > 0

    @property
    def wanted(self) -> int:
        """Rows of the next block to learn."""
        return BLOCK if self.learned else NEEDED

    @property
    def chosen(self) -> bool:
        """Whether terms are chosen; before, rows without labels cannot be kept for later."""
        return self._terms is not None

    def used(self, features: Floats32) -> Floats32:
        """What is kept of features (rows, features) to learn from them or to ask about them later.

        Before terms are chosen that is all of them, up to `CONSIDERED`.
        """
        return features[:, self._features]

    def learn(self, answers: Floats32, used: Floats32, losses: FloatArray) -> None:
        """Take a block of `wanted` labelled rows: answers (n, width), features in use (n, used).

        All answers and losses (n,) are finite. Blocks of one size, wherever batches are cut, make
        the numbers the same.
        """
        own = own_expectation(self._loss, answers)
        rests = losses - own
        if self._terms is None:
            self._terms = self._choose(answers, used, own, rests)
            used = used[:, self._features]
            self.forget()
        self._add(self._indicators(self._terms, answers, used, own), rests)

    def expect(self, answers: Floats32, used: Floats32) -> Expected:
        """What to expect of rows, n >= 1: answers (n, width), features in use (n, used).

        Raises ValueError before the estimator is `ready`.
        """
        if self._terms is None or not self.ready:
            raise ValueError(f"labelled rows are {self.learned}; accepted are {NEEDED} at least")
        own = own_expectation(self._loss, answers)
        indicators = self._indicators(self._terms, answers, used, own)
        shares = np.add.reduce(indicators, axis=1, dtype=np.uint32) / len(answers)
        variance = self._variance + float(_dot(shares, self._variances))
        return Expected(
            mean=min(max(float(own.mean() + _dot(shares, self._coefficients)), 0.0), 1.0),
            row_variance=min(max(variance, 0.1 * self._variance), MOST_VARIANCE),
            own_variance=self._variance * float(_dot(_dot(self._inverse, shares), shares)),
        )

    def _indicators(
        self, terms: Terms, answers: Floats32, used: Floats32, own: FloatArray
    ) -> NDArray[np.bool_]:
        columns = summaries(answers, own, self._classes)
        return terms.rows(np.concatenate([columns, used.T]))

    def _choose(
        self, answers: Floats32, features: Floats32, own: FloatArray, rests: FloatArray
    ) -> Terms:
        columns = summaries(answers, own, self._classes)
        count = len(columns)
        kinds = [Kind(), Kind(categories=answers.shape[1])][:count]
        table = np.concatenate([columns, features.T])
        terms = Terms.choose(table, [*kinds, *self._kinds], rests, count)
        self._features = terms.columns[count:] - count
        return terms

    def _add(self, indicators: NDArray[np.bool_], rests: FloatArray) -> None:
        ones, rows = indicators.astype(np.float64), len(rests)
        fade = float(np.exp(-rows / MEMORY))
        self._products = fade * self._products + _both(indicators)
        self._losses = fade * self._losses + _dot(ones, rests)
        if not self.learned:
            self._solve()
        errors = np.square(rests - np.einsum("t,tr->r", self._coefficients, ones))
        self._squares = fade * self._squares + _dot(ones, errors)
        self.learned += rows
        self._new += rows
        if self.learned == rows or self._new >= SHARE_NEW * min(self.learned, MEMORY):
            self._solve()

    def _solve(self) -> None:
        """Ridge regression (Hoerl and Kennard 1970) of the losses and of their squared errors."""
        self._new = 0
        penalty = np.full(len(self._losses), PRIOR_ROWS)
        penalty[0] = 1.0
        inverse = np.linalg.inv(self._products + np.diag(penalty))
        self._inverse = (inverse + inverse.T) / 2
        self._coefficients = _dot(self._inverse, self._losses)
        weight = float(self._products[0, 0])
        mean = float(self._squares[0]) / max(weight, 1.0)
        self._variance = max(mean, MOST_VARIANCE / (weight + 1.0))
        self._variances = _dot(self._inverse, self._squares - mean * self._products[0])

    def state(self) -> State:
        """All that `restore` needs, as copies."""
        made: State = {
            "features": self._features,
            "products": _half(self._products),
            "inverse": _half(self._inverse),
            "sums": np.stack([self._losses, self._squares, self._coefficients, self._variances]),
            "variance": np.array([self._variance]),
            "counts": np.array([self.learned, self._new], dtype=np.int64),
        }
        if self._terms is not None:
            made |= {f"terms.{name}": array for name, array in self._terms.state().items()}
        return {name: array.copy() for name, array in made.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `state` was asked for, in an estimator of the same loss and features."""
        terms = {n.removeprefix("terms."): a for n, a in state.items() if n.startswith("terms.")}
        self._terms = Terms.restore(terms) if terms else None
        self._features = state["features"].copy()
        self._products, self._inverse = _whole(state["products"]), _whole(state["inverse"])
        self._losses, self._squares, self._coefficients, self._variances = state["sums"].copy()
        self._variance = float(state["variance"][0])
        self.learned, self._new = state["counts"].tolist()


def _dot(one: FloatArray, other: FloatArray) -> FloatArray:
    """Sums over the last axis. BLAS would wake its threads for so little, and they spin."""
    return np.asarray(np.einsum("...r,r->...", one, other))


def _both(indicators: NDArray[np.bool_]) -> FloatArray:
    """The number of rows (terms, terms) where both terms are 1: bits of words, counted."""
    packed = np.packbits(indicators, axis=1)
    words = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    made = np.zeros((len(packed), len(packed)), dtype=np.uint32)
    for word in words.view(np.uint64).T:
        made += np.bitwise_count(word[:, None] & word)
    return made.astype(np.float64)


def _half(matrix: FloatArray) -> FloatArray:
    """The upper triangle of a symmetric matrix."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def _whole(half: FloatArray) -> FloatArray:
    """The symmetric matrix again."""
    size = int(np.sqrt(2 * len(half)))
    made = np.zeros((size, size))
    made[np.triu_indices(size)] = half
    return made + np.triu(made, 1).T
