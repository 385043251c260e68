"""Answers to rows that were asked before, where a setting allows it; for one version at a time."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.inference.core.call import Call, Served
from driftloop.runtime import metrics

HITS = metrics.counter("predict_cached", "Requests answered from the response cache")
_COST = 512
"""Bytes of an entry beside its rows, about."""


class Kept(NamedTuple):
    """The answers to a request's rows, and the class of each."""

    answers: Matrix
    best: list[int]


class AnswerCache:
    """The least recently used go when `size` bytes are reached; all go when the version changes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = 0
        self._of: Served | None = None
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def get(self, served: Served, rows: Matrix) -> Kept | None:
        """The answers of `served` to these very rows, shape (rows, features), if they are kept."""
        if served != self._of:
            self._of, self._bytes = served, 0
            self._kept.clear()
        key = rows.tobytes()
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            HITS.inc()
        return kept

    def put(self, served: Served, rows: Matrix, answers: Matrix, best: list[int]) -> None:
        """Keep an answer."""
        key = rows.tobytes()
        cost = _cost(key, answers)
        if served != self._of or key in self._kept or cost > self._size:
            return
        self._kept[key] = Kept(np.array(answers), best)
        self._bytes += cost
        while self._bytes > self._size:
            old, kept = self._kept.popitem(last=False)
            self._bytes -= _cost(old, kept.answers)


def _cost(key: bytes, answers: Matrix) -> int:
    return len(key) + answers.nbytes + _COST


def keep(
    cache: AnswerCache,
    served: Served,
    calls: Sequence[Call],
    matrix: Matrix,
    answers: Matrix,
    best: list[int],
) -> None:
    """Keep the answers of a run, call by call."""
    at = 0
    for call in calls:
        end = at + call.rows
        cache.put(served, matrix[at:end], answers[at:end], best[at:end])
        at = end
