"""The array types of this package, and the checks every array passes before it is used."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RANGE_TOLERANCE: Final = 1e-6  # float32 models overshoot a range by about 1e-7 of its size
SUM_TOLERANCE: Final = 1e-3


def real_vector(name: str, values: ArrayLike, reach: float = np.inf) -> FloatArray:
    """Return `values` as a new float64 vector, shape (n,), clipped to [-reach, reach].

    Raises ValueError for another shape, a dtype that is not real, NaN, an infinity, or a value
    further outside than float32 rounding (1e-6 of the reach) explains.
    """
    accepted = "finite number" if reach == np.inf else f"finite number in [-{reach}, {reach}]"
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; "
            f"accepted is a vector, each entry a {accepted}"
        )
    vector = array.astype(np.float64)
    outside = ~np.isfinite(vector) | (np.abs(vector) > reach * (1.0 + RANGE_TOLERANCE))
    _refuse(name, vector, outside, f"a {accepted}")
    return np.clip(vector, -reach, reach)


def class_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Return class probabilities, shape (n, k), and class indices, shape (n,), both checked.

    Raises ValueError unless k >= 2, every row is a distribution (in [0, 1] up to 1e-6, sum 1 up to
    1e-3) and every label is an integer in 0..k-1.
    """
    table, indices = np.asarray(probabilities), np.asarray(labels)
    if table.ndim != 2 or table.shape[1] < 2 or table.dtype.kind != "f":
        raise ValueError(
            f"probabilities has shape {table.shape} and dtype {table.dtype}; "
            "accepted is a float array (rows, classes) with at least 2 classes"
        )
    if indices.shape != table.shape[:1] or indices.dtype.kind not in "iub":
        raise ValueError(
            f"labels has shape {indices.shape} and dtype {indices.dtype}; accepted is an array "
            f"of integers, one a row of probabilities, shape {table.shape[:1]}"
        )
    chances = table.astype(np.float64)
    outside = ~((chances >= -RANGE_TOLERANCE) & (chances <= 1.0 + RANGE_TOLERANCE))
    _refuse("probabilities", chances, outside, "a number in [0, 1]")
    totals = chances.sum(axis=1)
    _refuse("sum of probabilities", totals, np.abs(totals - 1.0) > SUM_TOLERANCE, "1")
    classes = table.shape[1]
    unknown = (indices < 0) | (indices >= classes)
    _refuse("labels", indices, unknown, f"a class index in 0..{classes - 1}")
    return np.clip(chances, 0.0, 1.0), indices.astype(np.int64)


def predictions_and_targets(
    predictions: ArrayLike, targets: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return two finite float64 vectors of one length, shape (n,), or raise ValueError."""
    guesses = real_vector("predictions", predictions)
    truths = real_vector("targets", targets)
    if guesses.shape != truths.shape:
        raise ValueError(
            f"targets has {truths.size} rows; accepted is one a prediction, {guesses.size}"
        )
    return guesses, truths


def _refuse(
    name: str, array: FloatArray | IntArray, refused: NDArray[np.bool_], accepted: str
) -> None:
    if not refused.any():
        return
    place = tuple(int(index) for index in np.argwhere(refused)[0])
    where = ", ".join(map(str, place))
    others = int(refused.sum()) - 1
    more = f" (and {others} more)" if others else ""
    raise ValueError(f"{name}[{where}] is {array[place]}{more}; accepted is {accepted}")
