"""Losses of single rows, bounded to [0, 1] so that evidence can be drawn from their differences."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from driftloop.evidence.arrays import (
    FloatArray,
    class_probabilities,
    predictions_and_targets,
)

Loss = Callable[[ArrayLike, ArrayLike], FloatArray]


class ScaledLoss(Protocol):
    """A loss of regressions, which needs the error that counts as a full loss."""

    def __call__(self, predictions: ArrayLike, targets: ArrayLike, scale: float) -> FloatArray:
        """Return losses, shape (n,)."""


def brier(probabilities: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return half the squared distance between probabilities and truth (Brier 1950).

    `probabilities` (n, k), `labels` class indices (n,); the result (n,) is in [0, 1]. For two
    classes it is (p1 - y)^2. Raises ValueError as `class_probabilities` does.
    """
    chances, indices = class_probabilities(probabilities, labels)
    if chances.shape[1] == 2:
        binary: FloatArray = np.square(chances[:, 1] - indices)
        return binary
    truth = np.eye(chances.shape[1])[indices]
    losses: FloatArray = np.minimum(0.5 * np.square(chances - truth).sum(axis=1), 1.0)
    return losses


def zero_one(probabilities: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return 1 where the most probable class (the first of equals) is not the label, else 0.

    Shapes and errors as for `brier`.
    """
    chances, indices = class_probabilities(probabilities, labels)
    wrong: NDArray[np.bool_] = chances.argmax(axis=1) != indices
    return wrong.astype(np.float64)


def clipped_log_loss(probabilities: ArrayLike, labels: ArrayLike, clip: float = 1e-6) -> FloatArray:
    """Return log(p) / log(clip) for the label's probability p, raised to `clip` at least.

    Shapes as for `brier`; 0 is certain and right, 1 is `clip` or less. Raises ValueError as
    `brier` does, and for a `clip` outside (0, 1).
    """
    if not 0.0 < clip < 1.0:
        raise ValueError(f"clip is {clip}; accepted is a number between 0 and 1, both excluded")
    chances, indices = class_probabilities(probabilities, labels)
    hits = np.take_along_axis(chances, indices[:, None], axis=1)[:, 0]
    ratio: FloatArray = np.log(np.maximum(hits, clip)) / np.log(clip)
    return np.clip(ratio, 0.0, 1.0)


def scaled_absolute(predictions: ArrayLike, targets: ArrayLike, scale: float) -> FloatArray:
    """Return min(|prediction - target| / scale, 1), shape (n,), for two vectors (n,).

    `scale` is the error, in units of the target, that counts as a full loss. Raises ValueError
    for a scale that is not positive and finite, and for vectors not finite or of two lengths.
    """
    return np.minimum(_scaled_errors(predictions, targets, scale), 1.0)


def scaled_squared(predictions: ArrayLike, targets: ArrayLike, scale: float) -> FloatArray:
    """Return min(((prediction - target) / scale)^2, 1); the rest as for `scaled_absolute`."""
    return np.square(np.minimum(_scaled_errors(predictions, targets, scale), 1.0))


CLASSIFICATION_LOSSES: Final[Mapping[str, Loss]] = MappingProxyType(
    {"brier": brier, "zero_one": zero_one, "clipped_log_loss": clipped_log_loss}
)
REGRESSION_LOSSES: Final[Mapping[str, ScaledLoss]] = MappingProxyType(
    {"scaled_absolute": scaled_absolute, "scaled_squared": scaled_squared}
)


def loss_function(name: str, *, scale: float | None = None) -> Loss:
    """Return the loss called `name`, ready to be called with (answers, truth).

    Regression losses are bound to `scale`; classification losses have none. Raises ValueError for
    an unknown name, and for a scale that is missing, not positive and finite, or not wanted.
    """
    if name in REGRESSION_LOSSES:
        if scale is None:
            raise ValueError(f"scale is missing; accepted for {name} is a number over 0")
        return partial(REGRESSION_LOSSES[name], scale=_positive(scale))
    if name not in CLASSIFICATION_LOSSES:
        accepted = ", ".join([*CLASSIFICATION_LOSSES, *REGRESSION_LOSSES])
        raise ValueError(f"loss is {name!r}; accepted are {accepted}")
    if scale is not None:
        raise ValueError(f"scale is {scale}; accepted for {name} is none")
    return CLASSIFICATION_LOSSES[name]


def _scaled_errors(predictions: ArrayLike, targets: ArrayLike, scale: float) -> FloatArray:
    limit = _positive(scale)
    guesses, truths = predictions_and_targets(predictions, targets)
    with np.errstate(over="ignore"):  # an infinite error is a full loss like any other
        errors: FloatArray = np.abs(guesses - truths) / limit
    return errors


def _positive(scale: float) -> float:
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}; accepted is a finite number over 0")
    return scale
