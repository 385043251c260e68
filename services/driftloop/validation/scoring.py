"""Runs a candidate in onnxruntime: the function that runs in the child process."""

import time

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from driftloop.validation.domain.offline import Measured

ALONE = 200
EXTREME = 3e38


def measure(model: bytes, features: NDArray[np.float32]) -> Measured:
    """Answers to the holdout, to edge inputs made from it, and the median time of one row alone."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
        raise ValueError(f"model inputs: {found}; accepted: one float32 matrix")
    name, output = inputs[0].name, session.get_outputs()[-1].name

    def run(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        made = np.asarray(session.run([output], {name: rows})[0], dtype=np.float32)
        return made.reshape(len(rows), -1)

    edges = edge_inputs(features)
    finite = np.isfinite(run(edges)).all(axis=1)
    return Measured(
        answers=run(features),
        edge_rows=len(edges),
        edge_finite=int(finite.sum()),
        latency_seconds=_alone(run, features),
    )


def edge_inputs(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows with one value missing, unseen, extremely small and extremely large, and with all values so."""
    row = features[:1].copy()
    made = []
    for value in (np.nan, -1.0, -EXTREME, EXTREME, 0.0):
        made.append(np.full_like(row, value))
        for at in range(features.shape[1]):
            changed = row.copy()
            changed[0, at] = value
            made.append(changed)
    return np.concatenate(made)


def _alone(run: object, features: NDArray[np.float32]) -> float:
    assert callable(run)
    times = []
    for at in range(min(ALONE, len(features))):
        started = time.perf_counter()
        run(features[at : at + 1])
        times.append(time.perf_counter() - started)
    return float(np.median(times))
