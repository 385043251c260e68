"""Answers that hold a number that is not finite are no answers."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.inference.core.call import Call, Served
from driftloop.inference.domain.prediction import NoAnswer
from driftloop.inference.domain.scored import infinite_rows

Broken = list[tuple[Call, NoAnswer]]

FEW: Final = 16
"""So many numbers are looked at one by one: numpy takes as long for them as for hundreds."""


def all_finite(answers: Matrix) -> bool:
    """Whether every answer is a number."""
    if answers.size <= FEW:
        return math.isfinite(sum(answers.ravel().tolist()))
    return bool(np.isfinite(answers).all())


def best_of(answers: Matrix) -> list[int]:
    """The class of each row: the first of those with the highest answer."""
    if answers.size <= FEW:
        return [row.index(max(row)) for row in answers.tolist()]
    best: list[int] = answers.argmax(axis=1).tolist()
    return best


def finite(
    served: Served, calls: Sequence[Call], matrix: Matrix, answers: Matrix
) -> tuple[list[Call], Matrix, Matrix, Broken]:
    """The calls whose answers are finite with their rows, and the others, each with its error."""
    bad = infinite_rows(answers)
    keep = np.ones(len(answers), dtype=np.bool_)
    good: list[Call] = []
    broken: Broken = []
    at = 0
    for call in calls:
        end = at + call.rows
        if bad[at:end].any():
            keep[at:end] = False
            row = int(np.flatnonzero(bad[at:end])[0])
            version = served.champion.manifest.version
            text = (
                f"row {row}: version {version} of {served.plan.spec.name} answered "
                f"{answers[at + row].tolist()}; expected: finite numbers"
            )
            broken.append((call, NoAnswer(text)))
        else:
            good.append(call)
        at = end
    return good, matrix[keep], answers[keep], broken
