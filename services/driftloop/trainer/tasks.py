"""What goes to the child that fits, and what comes back; light to import."""

from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.artifacts.onnx_file import DEFAULTS, Found, Limits
from driftloop.contracts.manifest import Window
from driftloop.modelspec.spec import Spec


class FitTask(msgspec.Struct, frozen=True, kw_only=True):
    """Rows (rows, width) float32 and labels (rows,) float64; no `classes` for a regression.

    Each window is the newest of these rows. Without `windows` all are taken, and without `loss`
    they are compared by the default one of the task; `scale` is that of a regression's loss.
    `limits` are those of the model's file.
    """

    estimator: str
    parameters: dict[str, Any]
    task: str
    classes: tuple[str, ...]
    seed: int
    features: NDArray[np.float32]
    labels: NDArray[np.float64]
    holdout: NDArray[np.float32]
    holdout_labels: NDArray[np.float64]
    windows: tuple[Window, ...] = ()
    loss: str = ""
    scale: float = 1.0
    limits: Limits = DEFAULTS

    @classmethod
    def of(
        cls,
        spec: Spec,
        windows: tuple[Window, ...],
        train: tuple[NDArray[np.float32], NDArray[np.float64]],
        holdout: tuple[NDArray[np.float32], NDArray[np.float64]],
    ) -> Self:
        """The task of a spec on features and labels of the widest window, and of the holdout."""
        return cls(
            estimator=spec.training.estimator,
            parameters=dict(spec.training.parameters),
            task=spec.task,
            classes=spec.target.classes,
            seed=spec.training.seed,
            features=train[0],
            labels=train[1],
            holdout=holdout[0],
            holdout_labels=holdout[1],
            windows=windows,
            loss=spec.loss,
            scale=spec.target.scale,
        )


class FitResult(msgspec.Struct, frozen=True, kw_only=True):
    """ONNX bytes, scikit-learn's own answers to the holdout rows, and what it took (seconds).

    `found` is what the check of the bytes read in them. `tried` are the task's windows with what
    came of each; the model is that of the chosen one.
    """

    model: bytes
    answers: NDArray[np.float32]
    metrics: dict[str, float]
    seconds: float
    cpu_seconds: float
    estimator: str
    environment: dict[str, str]
    tried: tuple[Window, ...]
    found: Found

    @property
    def chosen(self) -> Window:
        """The window that the model was trained on."""
        return next(w for w in self.tried if w.chosen)
