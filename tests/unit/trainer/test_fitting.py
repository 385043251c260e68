"""Fitting as the child does it; small data, real scikit-learn and onnxruntime."""

import hashlib
import os
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from driftloop.contracts.manifest import Window
from driftloop.runtime.child import ChildFailed, Children
from driftloop.trainer import estimators
from driftloop.trainer.fitting import FitError, fit
from driftloop.trainer.tasks import FitResult, FitTask

ROWS = 600
CLASSES = ("no", "yes")


def rows(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(count, 3)).astype(np.float32)
    labels = (features[:, 0] + 0.3 * features[:, 1] > 0).astype(np.float64)
    features[drawn.random((count, 3)) < 0.1] = np.nan
    return features, labels


def task(
    estimator: str = "default", classes: tuple[str, ...] = CLASSES, **parameters: Any
) -> FitTask:
    features, labels = rows(ROWS, 0)
    holdout, truth = rows(200, 1)
    return FitTask(
        estimator=estimator,
        parameters=parameters,
        task="classification" if classes else "regression",
        classes=classes,
        seed=0,
        features=features,
        labels=labels if classes else 2 * first(features),
        holdout=holdout,
        holdout_labels=truth if classes else 2 * first(holdout),
    )


def first(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first column, 0 where it is missing."""
    return np.nan_to_num(features[:, 0].astype(np.float64))


def answers(made: FitResult, features: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(made.model, providers=["CPUExecutionProvider"])
    output = session.get_outputs()[-1].name
    return np.asarray(session.run([output], {"features": features})[0]).reshape(len(features), -1)


def imputed(C: float = 1.0, max_iter: int = 100) -> Pipeline:  # noqa: N803  # scikit-learn's own name
    """A pipeline as a user might write it."""
    return make_pipeline(SimpleImputer(), LogisticRegression(C=C, max_iter=max_iter))


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("default", {"max_iter": 20}),
        (f"{__name__}:imputed", {"C": 0.5}),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
    ],
)
def test_onnxruntime_answers_as_scikit_learn_does_missing_values_included(
    estimator: str, parameters: dict[str, Any]
) -> None:
    asked = task(estimator, **parameters)
    made = fit(asked)
    assert made.answers.shape == (200, 2)
    assert np.abs(answers(made, asked.holdout) - made.answers).max() < 1e-5
    assert made.metrics["log_loss"] < 0.5
    assert made.metrics["baseline_1"] == pytest.approx(asked.labels.mean())
    assert made.metrics["baseline_0"] + made.metrics["baseline_1"] == pytest.approx(1)


def test_a_regression_answers_one_value_a_row() -> None:
    asked = task(classes=(), max_iter=20)
    made = fit(asked)
    assert made.answers.shape == (200, 1)
    assert np.abs(answers(made, asked.holdout) - made.answers).max() < 1e-4
    assert made.metrics["mean_absolute_error"] < 1.0
    assert made.metrics["baseline_0"] == pytest.approx(asked.labels.mean())


def test_a_column_that_is_missing_throughout_can_be_fitted() -> None:
    asked = task(max_iter=5)
    asked.features[:, 2] = np.nan
    asked.holdout[:, 2] = np.nan
    made = fit(asked)
    assert np.abs(answers(made, asked.holdout) - made.answers).max() < 1e-5


def test_a_holdout_of_one_class_can_be_measured() -> None:
    asked = task(max_iter=5)
    asked.holdout_labels[:] = 1
    assert np.isnan(fit(asked).metrics["roc_auc"])


def test_a_class_without_a_training_row_is_an_error_that_names_it() -> None:
    with pytest.raises(FitError, match="no training row has the class maybe; accepted"):
        fit(task(classes=("no", "yes", "maybe")))


def windows(*made: Window) -> dict[str, Window]:
    return {window.name: window for window in made}


NEWEST = Window(name="newest", why="all", rows=ROWS)
SINCE = Window(name="since_change", why="since", rows=200)
WEIGHTED = Window(name="weighted", why="weighted", rows=ROWS, half_life=50)


def turned(**changes: Any) -> FitTask:
    """A world that turned over before the newest 200 rows."""
    asked = task(**({"max_iter": 20} | changes.pop("parameters", {})), **changes)
    asked.labels[:-200] = 1 - asked.labels[:-200]
    return asked


def trying(asked: FitTask, *tried: Window) -> FitTask:
    return msgspec.structs.replace(asked, windows=tried)


def test_after_a_turn_the_rows_since_it_are_chosen_and_all_windows_are_told_with_their_loss() -> (
    None
):
    asked = turned()
    made = fit(trying(asked, NEWEST, SINCE))
    told = windows(*made.tried)
    assert made.chosen.name == "since_change"
    assert [window.chosen for window in made.tried] == [False, True]
    assert told["since_change"].loss == pytest.approx(made.metrics["brier"])
    assert told["newest"].loss is not None
    assert told["newest"].loss > 2 * made.metrics["brier"]
    assert all(window.seconds > 0 for window in made.tried)


def test_the_model_of_a_chosen_window_is_that_of_its_rows_alone() -> None:
    asked = turned()
    alone = msgspec.structs.replace(
        asked, features=asked.features[-200:], labels=asked.labels[-200:]
    )
    made, single = fit(trying(asked, NEWEST, SINCE)), fit(alone)
    assert made.model == single.model
    assert made.metrics == single.metrics


def test_without_a_turn_the_first_window_is_kept() -> None:
    assert fit(trying(task(max_iter=20), NEWEST, SINCE)).chosen.name == "newest"


def test_weights_let_new_rows_count_more() -> None:
    asked = turned()
    weighted, plain = (fit(trying(asked, window)) for window in (WEIGHTED, NEWEST))
    assert weighted.metrics["brier"] < plain.metrics["brier"] / 2


def test_the_last_step_of_a_pipeline_gets_the_weights() -> None:
    asked = turned(estimator=f"{__name__}:imputed", parameters={"max_iter": 200})
    weighted, plain = (fit(trying(asked, window)) for window in (WEIGHTED, NEWEST))
    assert weighted.metrics["brier"] < plain.metrics["brier"] / 2


def test_an_estimator_without_weights_skips_the_weighted_window_and_says_why() -> None:
    asked = task(f"{__name__}:neighbours")
    told = windows(*fit(trying(asked, WEIGHTED, NEWEST)).tried)
    assert told["newest"].chosen
    assert "KNeighborsClassifier takes none; accepted" in told["weighted"].skipped
    with pytest.raises(
        FitError, match=r"training\.windows: weighted needs weights, but KNeighbors"
    ):
        fit(trying(asked, WEIGHTED))


def test_a_window_without_a_row_of_some_class_is_skipped() -> None:
    asked = turned()
    asked.labels[-200:] = 1
    told = windows(*fit(trying(asked, NEWEST, SINCE)).tried)
    assert told["newest"].chosen
    assert "no training row has the class no" in told["since_change"].skipped


def test_a_window_that_was_skipped_before_is_told_again() -> None:
    passed = Window(name="since_change", skipped="only 3 rows since the change")
    assert fit(trying(task(max_iter=5), NEWEST, passed)).tried[1] == passed


def test_a_regression_is_compared_by_its_own_loss() -> None:
    asked = task(classes=(), max_iter=20)
    asked.labels[:-200] *= -1
    made = fit(msgspec.structs.replace(trying(asked, NEWEST, SINCE), scale=10.0))
    assert made.chosen.name == "since_change"
    assert made.chosen.loss == pytest.approx(made.metrics["mean_absolute_error"] / 10, rel=1e-3)


def neighbours() -> Pipeline:
    """A pipeline whose last step takes no weights."""
    return make_pipeline(SimpleImputer(), KNeighborsClassifier())


SCRIPT = """
import hashlib, sys
sys.path[:0] = {path!r}
import numpy as np
from driftloop.trainer.fitting import fit
from driftloop.trainer.tasks import FitTask
rows = np.random.default_rng(0).normal(size=(4000, 5)).astype(np.float32)
labels = (rows[:, 0] > 0).astype(float)
made = fit(FitTask(estimator="default", parameters={{"max_iter": 20}}, task="classification",
    classes=("no", "yes"), seed=0, features=rows, labels=labels, holdout=rows[:50],
    holdout_labels=labels[:50]))
print(hashlib.sha256(made.model).hexdigest())
"""


def test_the_same_rows_give_the_same_bytes_in_other_processes_with_other_threads() -> None:
    script = SCRIPT.format(path=sys.path)
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize(
    ("estimator", "parameters", "error"),
    [
        (
            "sklearn.nowhere.Thing",
            {},
            r"training\.estimator: 'sklearn\.nowhere\.Thing' cannot be fou",
        ),
        ("sklearn.linear_model.Nobody", {}, r"'sklearn\.linear_model\.Nobody' cannot be found"),
        ("os.getcwd", {}, r"'os\.getcwd' is no estimator class; accepted: 'default', the dotted"),
        ("os:getcwd", {}, r"'os:getcwd' is a str; accepted: 'default', the dotted path"),
        ("default", {"depth": 3}, r"training\.parameters: .*'depth': 3.*accepted: loss, learning"),
        ("sklearn.linear_model.Ridge", {"depth": 3}, r"do not fit sklearn.*accepted: alpha"),
    ],
)
def test_an_estimator_that_cannot_be_built_says_what_is_accepted(
    estimator: str, parameters: dict[str, Any], error: str
) -> None:
    with pytest.raises(estimators.EstimatorError, match=error):
        estimators.build(estimator, parameters, "classification", 0)


def test_every_open_random_state_gets_the_seed() -> None:
    made = estimators.build("sklearn.ensemble.RandomForestClassifier", {}, "classification", 7)
    assert made.get_params()["random_state"] == 7
    kept = {"random_state": 3}
    made = estimators.build("sklearn.ensemble.RandomForestClassifier", kept, "classification", 7)
    assert made.get_params()["random_state"] == 3


async def test_a_fit_that_fails_in_the_child_is_told_with_its_reason() -> None:
    with pytest.raises(ChildFailed, match="no training row has the class maybe"):
        await Children().run(60, fit, task(classes=("no", "yes", "maybe")))
