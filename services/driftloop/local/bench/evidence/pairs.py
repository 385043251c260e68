"""Real paired loss differences: models of one kind on flights that none was trained on."""

import math
from functools import cache
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.local.flights import CATEGORICAL_FEATURES, NUMERIC_FEATURES, load_flights

Floats = NDArray[np.float64]

FITTED: Final = 60_000
"""The first flights, one half of which, drawn at random, each model is trained on."""
ITERATIONS: Final = 100
"""Those of the default estimator; with fewer, the models differ less from each other."""
SEED: Final = 20_130_101


class Pairs(NamedTuple):
    """Brier losses of the champion less those of the challenger, in the order of the flights.

    `loss` is the mean loss of the champion, `gain` the mean of the differences where that is known
    and not 0: then rows are to be drawn at random, so that each has this mean given those before.
    Else the two models are to be swapped at random.
    """

    differences: Floats
    loss: float
    gain: float = 0.0


def equal_pairs(fitted: int = FITTED, iterations: int = ITERATIONS) -> Pairs:
    """Two models trained on disjoint halves of the first `fitted` flights, on all the others."""
    labels, answers = _answers(fitted, iterations)
    losses = [np.square(its - labels) for its in answers[:2]]
    return Pairs(losses[0] - losses[1], float(losses[0].mean()))


def better_pairs(share: float, fitted: int = FITTED, iterations: int = ITERATIONS) -> Pairs:
    """A challenger whose loss is lower than the champion's by `share` of it, on the same flights.

    The challenger is the first of the equal models. The champion mixes its answers with those of a
    model trained on the first twentieth of the rows, in the proportion that makes this gain.
    """
    labels, (good, _, stale) = _answers(fitted, iterations)
    base, apart = good - labels, stale - good
    wanted = share / (1.0 - share) * float(np.square(base).mean())
    # The gain of a mix by w is slope * w + curve * w^2.
    slope, curve = 2.0 * float((base * apart).mean()), float(np.square(apart).mean())
    weight = (math.sqrt(slope**2 + 4.0 * curve * wanted) - slope) / (2.0 * curve)
    mixed = np.square(np.clip(good + weight * apart, 0.0, 1.0) - labels)
    differences = mixed - np.square(base)
    return Pairs(differences, float(mixed.mean()), float(differences.mean()))


@cache
def _answers(fitted: int, iterations: int) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
    """Labels, and probabilities of the two equal models and the stale one; the same each time."""
    features, labels = _rows()
    order = np.random.default_rng(SEED).permutation(fitted)
    parts = (order[: fitted // 2], order[fitted // 2 :], np.arange(fitted // 20))
    first, second, stale = (
        _fitted(features[part], labels[part], iterations).predict_proba(features[fitted:])[:, 1]
        for part in parts
    )
    return labels[fitted:].astype(np.float64), (first, second, stale)


@cache
def _rows() -> tuple[Floats, NDArray[np.int64]]:
    table = load_flights()
    table = table.filter(pc.is_valid(table["label"]))
    return _features(table), table["label"].to_numpy().astype(np.int64)


def _features(table: pa.Table) -> Floats:
    numbers = [table[name].to_numpy().astype(np.float64) for name in NUMERIC_FEATURES]
    codes = [
        table[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.float64)
        for name in CATEGORICAL_FEATURES
    ]
    return np.column_stack([*numbers, *codes])


def _fitted(features: Floats, labels: NDArray[np.int64], iterations: int) -> Any:
    # By name, as the trainer finds the estimators of a spec: only services have scikit-learn.
    build = import_module("driftloop.trainer.estimators").build
    parameters = {"max_iter": iterations}
    return build("default", parameters, "classification", SEED).fit(features, labels)
