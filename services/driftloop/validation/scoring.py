"""Runs a candidate in onnxruntime: the function that runs in the child process."""

import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from driftloop.validation.domain.offline import Matrix, Measured

ALONE = 200


def measure(model: bytes, features: Matrix, edges: Matrix) -> Measured:
    """Answers to the holdout and to edge inputs, and the median time of one row alone."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
        raise ValueError(f"model inputs: {found}; accepted: one float32 matrix")
    name, output = inputs[0].name, session.get_outputs()[-1].name

    def run(rows: Matrix) -> Matrix:
        made = np.asarray(session.run([output], {name: rows})[0], dtype=np.float32)
        return made.reshape(len(rows), -1)

    finite = np.isfinite(run(edges)).all(axis=1)
    return Measured(
        answers=run(features),
        edge_rows=len(edges),
        edge_finite=int(finite.sum()),
        latency_seconds=_alone(run, features),
    )


def _alone(run: Callable[[Matrix], Matrix], features: Matrix) -> float:
    times = []
    for at in range(min(ALONE, len(features))):
        started = time.perf_counter()
        run(features[at : at + 1])
        times.append(time.perf_counter() - started)
    return float(np.median(times))
