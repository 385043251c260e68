"""From the spec's estimator to a scikit-learn pipeline; run as a module it checks that this works.

The model's input is one float32 matrix: numbers as they are, categories as their position in the
spec's list, NaN for a missing value. Run in a child process only: it imports what the spec names.
"""

import importlib
import inspect
import json
import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

DEFAULT_PARAMETERS: Final[dict[str, Any]] = {
    "learning_rate": 0.05,
    "max_iter": 100,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 50,
    "max_features": 0.3,
    "early_stopping": False,
}
ACCEPTED: Final = (
    "'default', the dotted path of a scikit-learn estimator, "
    "or 'module:function' returning a pipeline"
)


class EstimatorError(ValueError):
    """The estimator of a spec cannot be built; the text names it and what is accepted."""


def build(estimator: str, parameters: dict[str, Any], task: str, seed: int) -> BaseEstimator:
    """The unfitted estimator; `seed` goes to each `random_state` that the parameters leave open."""
    if estimator == "default":
        made = _default({**DEFAULT_PARAMETERS, **parameters}, task)
    else:
        made = _call(_find(estimator), estimator, parameters)
    if not hasattr(made, "fit") or not hasattr(made, "get_params"):
        raise EstimatorError(
            f"training.estimator: {estimator!r} is a {type(made).__name__}; accepted: {ACCEPTED}"
        )
    open_states = {
        name: seed
        for name, value in made.get_params(deep=True).items()
        if name.split("__")[-1] == "random_state" and value is None
    }
    return made.set_params(**open_states)


def _default(parameters: dict[str, Any], task: str) -> BaseEstimator:
    """Boosted trees on the matrix as it is.

    The contract has encoded the categories already, and these trees have a branch for missing
    values that converts exactly, so nothing is imputed: that a value is missing says something.
    """
    classification = task == "classification"
    boost = HistGradientBoostingClassifier if classification else HistGradientBoostingRegressor
    return _call(boost, "default", parameters)


def _find(estimator: str) -> Any:
    module, _, name = estimator.rpartition(":" if ":" in estimator else ".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EstimatorError(
            f"training.estimator: {estimator!r} cannot be found ({error}); accepted: {ACCEPTED}"
        ) from error
    if ":" not in estimator and not (inspect.isclass(found) and issubclass(found, BaseEstimator)):
        raise EstimatorError(
            f"training.estimator: {estimator!r} is no estimator class; accepted: {ACCEPTED}"
        )
    return found


def _call(make: Any, estimator: str, parameters: dict[str, Any]) -> Any:
    try:
        return make(**parameters)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise EstimatorError(
            f"training.parameters: {parameters} do not fit {estimator} ({error}); accepted: {known}"
        ) from error


def weighted(model: BaseEstimator, weights: NDArray[np.float64] | None) -> dict[str, Any]:
    """Arguments of `fit` beside the rows: none, or `weights` (rows,) under the name it has there.

    Of a pipeline the last step gets them. Raises `EstimatorError` when its fit takes no weights.
    """
    if weights is None:
        return {}
    steps, last = "", model
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        steps += f"{step}__"
    if not has_fit_parameter(last, "sample_weight"):
        raise EstimatorError(
            f"training.windows: weighted needs weights, but {type(last).__name__} takes none; "
            "accepted: an estimator, or last step of a pipeline, whose fit takes sample_weight"
        )
    return {f"{steps}sample_weight": weights}


def main() -> int:
    """`python -m driftloop.trainer.estimators ESTIMATOR PARAMETERS TASK`: 0 if it can be built."""
    estimator, parameters, task = sys.argv[1:]
    try:
        build(estimator, json.loads(parameters), task, 0)
    except EstimatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
