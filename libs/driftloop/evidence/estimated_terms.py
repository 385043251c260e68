"""What an estimated loss may depend on: indicators of answers and features."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence.arrays import FloatArray, IntArray

Columns = NDArray[np.float32]
"""Shape (columns, rows): one summary of the answers or two, then the features."""
State = dict[str, NDArray[Any]]
"""Numbers by name, all there is to go on from."""

FEATURES: Final = 16
"""Features used at most: those that tell most about the loss."""
FEATURE_TERMS: Final = 48
"""Thresholds or categories of all features together."""
ANSWER_TERMS: Final = 9
MOST_TERMS: Final = 15
"""Thresholds or categories of one feature at most."""
LOG_CLIP: Final = 1e-6
"""That of `clipped_log_loss`."""


class Kind(NamedTuple):
    """A column: the number of its categories, 0 for a number; whether values may be missing."""

    categories: int = 0
    nullable: bool = False


class Terms:
    """Indicators, 0 or 1 a row; the first is always 1.

    Of a number: whether it is above a threshold, so that neighbouring bins differ by one term, and
    where few rows are, bins are taken to be alike. Of a category: whether it is this one. Of what
    may be missing: whether it is. `columns` (used,) are the columns that are read, `of` (terms,)
    which of those a term reads, and `value` (terms,) its threshold or category; the terms come in
    the order above, equal, missing, `counts` of each.
    """

    def __init__(
        self, columns: IntArray, of: IntArray, value: FloatArray, counts: Sequence[int]
    ) -> None:
        self.columns = columns
        self._of = of
        self._value = value.astype(np.float32)[:, None]
        self._above = slice(0, int(counts[0]))
        self._equal = slice(self._above.stop, self._above.stop + int(counts[1]))
        self._missing = slice(self._equal.stop, len(of))

    @property
    def size(self) -> int:
        """Terms, with the constant one."""
        return len(self._of) + 1

    @classmethod
    def choose(
        cls, columns: Columns, kinds: Sequence[Kind], losses: FloatArray, answers: int
    ) -> "Terms":
        """Terms for the first `answers` columns and for the features that explain `losses` best.

        A feature's worth is how far the mean losses of its bins are apart (an F statistic), in a
        few bins; constant ones are worth nothing. `kinds` has one entry a column.
        """
        count = max(len(kinds) - answers, 1)
        each = _each(count)
        worth = np.array(
            [
                _worth(column, *kind, each, losses)
                for column, kind in zip(columns, kinds, strict=True)
            ]
        )
        worth[:answers] = np.inf
        best = np.argsort(-worth, kind="stable")[: answers + FEATURES]
        used = np.sort(best[worth[best] > 0.0])
        parts: list[list[tuple[int, float]]] = [[], [], []]
        for at, column in enumerate(used.tolist()):
            kind, terms = kinds[column], each if column >= answers else ANSWER_TERMS
            values = _values(columns[column], kind.categories, terms)
            parts[1 if kind.categories else 0] += [(at, float(value)) for value in values]
            if kind.nullable or np.isnan(columns[column]).any():
                parts[2].append((at, 0.0))
        flat = [term for part in parts for term in part]
        of = np.array([at for at, _ in flat], dtype=np.int64)
        value = np.array([value for _, value in flat], dtype=np.float64)
        return cls(used.astype(np.int64), of, value, [len(part) for part in parts])

    def rows(self, used: Columns) -> NDArray[np.bool_]:
        """The terms (terms, rows) of the columns in use, shape (used, rows)."""
        made = np.empty((self.size, used.shape[1]), dtype=np.bool_)
        made[0] = True
        rest, of, value = made[1:], self._of, self._value
        above, equal, missing = self._above, self._equal, self._missing
        np.greater(used[of[above]], value[above], out=rest[above])
        np.equal(used[of[equal]], value[equal], out=rest[equal])
        np.isnan(used[of[missing]], out=rest[missing])
        return made

    def state(self) -> State:
        """What `restore` needs."""
        counts = [self._above.stop, self._equal.stop - self._equal.start]
        return {
            "columns": self.columns,
            "of": self._of,
            "value": self._value[:, 0].astype(np.float64),
            "counts": np.array(counts, dtype=np.int64),
        }

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> "Terms":
        """The same terms again."""
        return cls(state["columns"], state["of"], state["value"], state["counts"].tolist())


def summaries(answers: NDArray[np.float32], own: FloatArray, classes: bool) -> Columns:
    """The columns (1 or 2, rows) that stand for answers (rows, width).

    A predicted value is itself, and of two classes the chance of the second is all. Of more
    classes: the loss that the answer itself expects (`own`), and the most probable class.
    """
    if not classes or answers.shape[1] == 2:
        return np.ascontiguousarray(answers[:, -1:].T)
    top = answers.argmax(axis=1).astype(np.float32)
    return np.stack([own.astype(np.float32), top])


def own_expectation(loss: str, answers: NDArray[np.float32]) -> FloatArray:
    """The loss (rows,) that answers (rows, classes) expect of themselves.

    The mean of the loss over labels drawn from the answer. Of a regression nothing is said: 0.
    """
    if loss not in ("brier", "zero_one", "clipped_log_loss"):
        return np.zeros(len(answers))
    chances = answers.astype(np.float64)
    if loss == "zero_one":
        return np.asarray(1.0 - chances.max(axis=1))
    if loss == "brier":
        return np.asarray(0.5 * (1.0 - np.square(chances).sum(axis=1)))
    logs = np.log(np.clip(chances, LOG_CLIP, 1.0)) / np.log(LOG_CLIP)
    return np.asarray((chances * logs).sum(axis=1))


def _each(features: int) -> int:
    """Terms of one feature, where `features` are there to share."""
    return min(FEATURE_TERMS // min(features, FEATURES), MOST_TERMS)


def _values(column: NDArray[np.float32], categories: int, terms: int) -> FloatArray:
    """Thresholds of a number, or its most frequent categories; none if it is constant.

    Thresholds are quantiles at Chebyshev's nodes, close together at both ends: a shift moves rows
    there, where few were.
    """
    there = column[np.isfinite(column)]
    if not len(there):
        return np.zeros(0)
    if categories:
        found, counts = np.unique(there, return_counts=True)
        frequent = found[np.argsort(-counts, kind="stable")[:terms]]
        return np.sort(frequent).astype(np.float64) if len(found) > 1 else np.zeros(0)
    shares = 0.5 - 0.5 * np.cos(np.pi * (np.arange(terms) + 0.5) / terms)
    marks = np.unique(np.quantile(there, shares, method="lower"))
    return np.asarray(marks[marks < there.max()], dtype=np.float64)


def _worth(
    column: NDArray[np.float32], categories: int, nullable: bool, terms: int, losses: FloatArray
) -> float:
    """How much the mean loss differs between the bins of a column; 0 where there is one bin."""
    values = _values(column, categories, terms)
    bins = np.searchsorted(values, column) * 2  # equal to a threshold is at or below it
    if categories and len(values):
        bins += values[np.minimum(bins // 2, len(values) - 1)] == column
    bins = np.where(np.isnan(column), 2 * len(values) + 2, bins)
    counts = np.bincount(bins)
    filled = counts > 0
    if filled.sum() < 2:
        return 1e-300 if nullable else 0.0
    means = np.bincount(bins, losses)[filled] / counts[filled]
    between = float((counts[filled] * np.square(means - losses.mean())).sum())
    return between / (int(filled.sum()) - 1)
