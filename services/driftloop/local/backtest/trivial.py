"""Trivial answers, learned on the way: the majority so far, and the same as the last label."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]


def majority(times: Times, arrivals: Times, labels: Numbers, classes: int) -> Numbers:
    """What is known of all labels so far: the share of each class, or the mean, shape (rows, k).

    A row at `times` knows only labels whose `arrivals` are before it (all in milliseconds). Every
    class begins with one row, a mean with 0; `classes` is 0 for a regression.
    """
    order = np.argsort(arrivals, kind="stable")
    known = np.searchsorted(arrivals[order], times, side="left")
    arrived = labels[order]
    if not classes:
        sums = np.r_[0.0, np.cumsum(arrived)][known]
        return np.asarray(sums / np.maximum(known, 1), dtype=np.float64).reshape(-1, 1)
    seen = [np.r_[0, np.cumsum(arrived == name)][known] for name in range(classes)]
    shares = (np.column_stack(seen) + 1.0) / (known + classes)[:, None]
    return np.asarray(shares, dtype=np.float64)


def last_label(times: Times, arrivals: Times, labels: Numbers, classes: int) -> Numbers:
    """'The same as the label that came last': for classes as chances learned on the way.

    The chance of a class is its share among the labels that followed one like the last, each class
    beginning with one. Arguments and shape as for `majority`.
    """
    order = np.argsort(arrivals, kind="stable")
    known = np.searchsorted(arrivals[order], times, side="left")
    arrived = labels[order]
    previous = np.r_[0.0, arrived][known]
    if not classes:
        return np.asarray(previous.reshape(-1, 1), dtype=np.float64)
    before = np.r_[0.0, arrived[:-1]]
    counts = np.ones((len(times), classes))
    for last in range(classes):
        mine = np.flatnonzero(previous == last)
        for name in range(classes):
            pairs = np.flatnonzero((before == last) & (arrived == name))
            counts[mine, name] += np.searchsorted(pairs, known[mine], side="left")
    chances: Numbers = np.divide(counts, counts.sum(axis=1, keepdims=True))
    return chances
