"""Asking all shadows of a model about the same rows, and taking what is there in time."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

from driftloop.contracts.batches import Matrix
from driftloop.inference.domain.lineup import misfit
from driftloop.inference.domain.scored import unusable
from driftloop.inference.shadow import Down, Shadow
from driftloop.modelspec.spec import Spec
from driftloop.runtime import metrics

LATE_IN_A_ROW: Final = 2
"""A shadow that was late so often is asked, but not waited for until it has been in time again."""

DROPPED: Final = metrics.counter(
    "shadow_dropped_rows", "Rows without an answer of a shadow", ["model", "reason"]
)

Begun = list[tuple[Shadow, asyncio.Future[Matrix] | str]]
"""Each shadow with its answers to come, or why there will be none."""
ShadowAnswers = list[tuple[int, Matrix | None]]
"""The version of each shadow with its answers."""


def begin(shadows: Iterable[Shadow], spec: Spec, matrix: Matrix) -> Begun:
    """Start every shadow that is free and fits on `matrix`."""
    return [(shadow, _begin(shadow, spec, matrix)) for shadow in shadows]


def _begin(shadow: Shadow, spec: Spec, matrix: Matrix) -> asyncio.Future[Matrix] | str:
    if matrix.shape[1] != len(shadow.manifest.features) or misfit(shadow.manifest, spec):
        return "misfit"
    return shadow.begin(matrix) or ("down" if shadow.state == "down" else "busy")


async def finish(begun: Begun, spec: Spec, rows: int, deadline: float) -> ShadowAnswers:
    """What the shadows answered by `deadline` (the loop's clock); None, counted, for the others."""
    waiting = [
        future
        for shadow, future in begun
        if not isinstance(future, str) and shadow.late < LATE_IN_A_ROW
    ]
    if waiting:
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait(waiting, timeout=max(0.0, left))
    made: ShadowAnswers = []
    for shadow, future in begun:
        why = future if isinstance(future, str) else _wrong(shadow, future, spec, rows, deadline)
        if why or isinstance(future, str):
            DROPPED.labels(spec.name, why).inc(rows)
            made.append((shadow.manifest.version, None))
        else:
            made.append((shadow.manifest.version, future.result()))
    return made


def _wrong(
    shadow: Shadow, future: asyncio.Future[Matrix], spec: Spec, rows: int, deadline: float
) -> str:
    if not future.done():
        shadow.late += 1
        future.add_done_callback(partial(_in_time, shadow, deadline))
        return "late"
    error = future.exception()
    if error is not None:
        return "down" if isinstance(error, Down) else "failed"
    shadow.late = 0
    return unusable(future.result(), rows, spec.width)


def _in_time(shadow: Shadow, deadline: float, future: asyncio.Future[Matrix]) -> None:
    """Wait for the shadow again, if its answers came before the deadline after all."""
    in_time = future.get_loop().time() <= deadline
    if in_time and not future.cancelled() and future.exception() is None:
        shadow.late = 0
