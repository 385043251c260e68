"""How good the answers of each policy were, on the rows that the loop answered."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftloop.evidence import (
    brier_score,
    log_loss,
    mean_absolute_error,
    roc_auc,
    root_mean_squared_error,
)
from driftloop.local.backtest import policies, trivial
from driftloop.local.backtest.loop import Played
from driftloop.local.backtest.models import Fits
from driftloop.local.backtest.world import World
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Spec

Numbers = NDArray[np.float64]
Scores = dict[str, float]
MAIN: Final = {"classification": "log_loss", "regression": "mean_absolute_error"}
"""The metric that is drawn."""


class Compared(NamedTuple):
    """Answers (rows, width) of each policy to the same labelled rows, in the order of outcomes.

    They are stored by column: sums over a few columns are much quicker so. `periodic_fits` are the
    labelled rows at each fit of periodic retraining.
    """

    times: NDArray[np.int64]
    labels: Numbers
    answers: dict[str, Numbers]
    periodic_fits: list[int]


def compare(
    spec: Spec, world: World, played: Played, fits: Fits, phases: int = 1
) -> Compared | None:
    """All policies on the rows that were answered and have a label; None if there are none.

    Periodic retraining is tried at so many `phases`, equally spaced.
    """
    at = np.flatnonzero(played.versions[world.row])
    if not len(at) or played.first is None:
        return None
    rows, classes = world.row[at], len(spec.target.classes)
    times, arrivals = world.outcome_times, world.label_times
    retrained, marks = policies.periodic(spec, world, played, fits)
    answers: dict[str, NDArray[np.floating]] = {
        "served": played.served[rows],
        "frozen": policies.frozen(played.first, played)[rows],
        "periodic": retrained[rows],
        "majority": trivial.majority(times, arrivals, world.labels, classes)[at],
        "last_label": trivial.last_label(times, arrivals, world.labels, classes)[at],
    }
    for number in range(1, phases):
        shifted, _ = policies.periodic(spec, world, played, fits, number / phases)
        answers[f"periodic_{number}_of_{phases}"] = shifted[rows]
    columns = {name: np.asfortranarray(its, dtype=np.float64) for name, its in answers.items()}
    finite = np.ones(len(at), dtype=np.bool_)
    for its in columns.values():
        finite &= np.isfinite(its).all(axis=1)
    kept = columns
    if not finite.all():
        kept = {name: np.asfortranarray(its[finite]) for name, its in columns.items()}
    at = at[finite]
    return Compared(times[at], world.labels[at], kept, marks) if len(at) else None


def scores(spec: Spec, answers: Numbers, labels: Numbers) -> Scores:
    """Metrics of the task, and the mean of the spec's bounded loss under its name.

    Of two classes also the area under the curve; NaN when only one of them is there.
    """
    loss = row_loss(spec)(answers.astype(np.float32), labels)
    bounded = {f"loss:{spec.loss}": float(loss.mean())}
    if spec.task == "regression":
        return {
            "mean_absolute_error": mean_absolute_error(answers[:, 0], labels),
            "root_mean_squared_error": root_mean_squared_error(answers[:, 0], labels),
            **bounded,
        }
    truth = labels.astype(np.int64)
    made = {"log_loss": log_loss(answers, truth), "brier": brier_score(answers, truth)}
    if spec.width == 2:
        made["roc_auc"] = roc_auc(answers, truth)
    return {**made, **bounded}


def by_policy(spec: Spec, compared: Compared) -> dict[str, Scores]:
    """The scores of each policy on all rows."""
    return {
        name: scores(spec, answers, compared.labels) for name, answers in compared.answers.items()
    }


def by_month(spec: Spec, compared: Compared) -> list[dict[str, object]]:
    """The main metric of each policy, a month (UTC) of event time each."""
    months = compared.times.astype("datetime64[ms]").astype("datetime64[M]")
    made: list[dict[str, object]] = []
    for month in np.unique(months):
        here = np.flatnonzero(months == month)
        labels = compared.labels[here]
        of = {name: _main(spec, its.T[:, here].T, labels) for name, its in compared.answers.items()}
        made.append({"month": str(month), "rows": len(here), **of})
    return made


def in_blocks(
    spec: Spec, compared: Compared, names: tuple[str, ...], rows: int = 4_000
) -> tuple[list[int], dict[str, list[float]]]:
    """Median event times (milliseconds) and the main metric of policies, in blocks of `rows`."""
    when: list[int] = []
    lines: dict[str, list[float]] = {name: [] for name in names}
    for start in range(0, max(1, len(compared.labels) - rows // 2), rows):
        block = slice(start, start + rows)
        when.append(int(np.median(compared.times[block])))
        for name, line in lines.items():
            line.append(_main(spec, compared.answers[name][block], compared.labels[block]))
    return when, lines


def _main(spec: Spec, answers: Numbers, labels: Numbers) -> float:
    """The main metric alone."""
    if spec.task == "regression":
        return mean_absolute_error(answers[:, 0], labels)
    return log_loss(answers, labels.astype(np.int64))
