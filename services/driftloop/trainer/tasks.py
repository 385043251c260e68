"""What goes to the child that fits, and what comes back; light to import."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class FitTask(msgspec.Struct, frozen=True, kw_only=True):
    """Rows (rows, width) float32 and labels (rows,) float64; no `classes` for a regression."""

    estimator: str
    parameters: dict[str, Any]
    task: str
    classes: tuple[str, ...]
    seed: int
    features: NDArray[np.float32]
    labels: NDArray[np.float64]
    holdout: NDArray[np.float32]
    holdout_labels: NDArray[np.float64]


class FitResult(msgspec.Struct, frozen=True, kw_only=True):
    """ONNX bytes, scikit-learn's own answers to the holdout rows, and what it took (seconds)."""

    model: bytes
    answers: NDArray[np.float32]
    metrics: dict[str, float]
    seconds: float
    cpu_seconds: float
    estimator: str
    environment: dict[str, str]
