"""What the loop is compared with: the first model frozen, and periodic retraining."""

from bisect import bisect_left
from typing import Final

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.local.backtest.loop import Played
from driftloop.local.backtest.models import Answers, Fits
from driftloop.local.backtest.world import World
from driftloop.modelspec.spec import Spec
from driftloop.runtime.child import ChildFailed
from driftloop.trainer.tasks import FitTask

PIECE: Final = 65_536


def frozen(first: Answers, played: Played) -> Matrix:
    """The first champion's answers, from its first row on; NaN before."""
    answers = np.full_like(played.served, np.nan)
    start, rows = int(np.flatnonzero(played.versions)[0]), len(answers)
    for at in range(start, rows, PIECE):
        part = slice(at, min(at + PIECE, rows))
        answers[part] = first.of(part)
    return answers


def periodic(
    spec: Spec, world: World, played: Played, fits: Fits, phase: float = 0.0
) -> tuple[Matrix, list[int]]:
    """Retraining as often as the loop did, equally spaced in labelled rows, each promoted at once.

    Each fit has the newest window whole: nothing is held out, since nothing is judged. The first is
    at the loop's first one, the second `phase` of the space after it, or a whole one (0). Returns
    the answers to all valid rows, NaN before the first model, and the labelled rows at each fit.
    """
    marks = _marks(played.fitted, len(world.row), phase)
    answers = np.full_like(played.served, np.nan)
    starts: list[int] = []
    models: list[bytes] = []
    for mark in marks:
        outcomes, row = _reached(world, mark)
        try:
            made = fits.fit(spec, _task(spec, world, outcomes))
        except ChildFailed:
            continue  # the model of before goes on
        starts.append(row)
        models.append(made.model)
    for model, start, end in zip(models, starts, [*starts[1:], len(answers)], strict=True):
        if start < end:
            answers[start:end] = fits.run(model, spec, world.features[start:end])
    return answers, marks


def _marks(fitted: list[int], total: int, phase: float) -> list[int]:
    """As many as there were fits: the first of them, and the others equally spaced to the end."""
    if not fitted:
        return []
    first, count = fitted[0], len(fitted)
    space = (total - first) / count
    return [first, *(first + int(space * (at + (phase or 1.0))) for at in range(count - 1))]


def _reached(world: World, mark: int) -> tuple[int, int]:
    """Outcomes and valid rows at the end of the slice in which so many outcomes are there."""
    ends = [part.outcomes[-1].stop if part.outcomes else 0 for part in world.slices]
    at = bisect_left(np.maximum.accumulate(ends).tolist(), mark)
    scored = [part.scored[-1].stop for part in world.slices[: at + 1] if part.scored]
    return int(max(ends[: at + 1])), scored[-1]


def _task(spec: Spec, world: World, outcomes: int) -> FitTask:
    start = max(0, outcomes - spec.training.window_rows)
    rows = (world.outcome_features[start:outcomes], world.labels[start:outcomes])
    # Fits answer a holdout; nothing is decided on it here, so one row will do.
    return FitTask.of(spec, (), rows, (rows[0][-1:], rows[1][-1:]))
