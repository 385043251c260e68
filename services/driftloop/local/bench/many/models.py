"""Logistic regressions of known weights as ONNX, with their specs: as many as are wanted."""

from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from driftloop.modelspec.spec import Feature, Spec, Target

Matrix = NDArray[np.float32]

WIDTHS: Final = (20, 20, 20, 12, 30)
"""Features of the models in turn."""
CLASSES: Final = ("0", "1")
OPSET: Final = 18
IR: Final = 9
MOST: Final = 4.0
"""Largest absolute value of a feature that is sent, and the bound in the spec."""


class Known(msgspec.Struct, frozen=True, eq=False):
    """A model: its name, the names of its features, weights (features,) and bias."""

    name: str
    features: tuple[str, ...]
    weights: Matrix
    bias: float

    def onnx(self) -> bytes:
        """The model as ONNX: float32 (rows, features) in, probabilities (rows, 2) out."""
        weights = np.stack([-self.weights, self.weights], axis=1)
        bias = np.array([-self.bias, self.bias], np.float32)
        shape = (None, len(self.features)), (None, len(CLASSES))
        taken, given = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(its))
            for name, its in zip(("X", "probabilities"), shape, strict=True)
        )
        steps = [
            helper.make_node("Gemm", ["X", "W", "B"], ["Z"]),
            helper.make_node("Sigmoid", ["Z"], ["probabilities"]),
        ]
        kept = [numpy_helper.from_array(weights, "W"), numpy_helper.from_array(bias, "B")]
        graph = helper.make_graph(steps, "logistic", [taken], [given], kept)
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=IR)
        return bytes(made.SerializeToString())

    def spec(self) -> Spec:
        """Its spec: bounded numbers."""
        return Spec(
            name=self.name,
            task="classification",
            target=Target(classes=CLASSES),
            features=tuple(Feature(name=name, min=-MOST, max=MOST) for name in self.features),
        )

    def rows(self, count: int, seed: int) -> Matrix:
        """Rows (count, features) that the spec accepts; the same for the same seed."""
        random = np.random.default_rng([seed, int(self.name.rpartition("-")[2])])
        shape = (count, len(self.features))
        return np.asarray(random.uniform(-MOST, MOST, shape), np.float32)

    def expected(self, rows: Matrix) -> NDArray[np.float64]:
        """The probability of the second class (rows,), by numpy in float64."""
        score = rows.astype(np.float64) @ self.weights.astype(np.float64) + self.bias
        return np.asarray(1 / (1 + np.exp(-score)), np.float64)

    def batch(self, rows: Matrix, ids: list[str], time_ms: int) -> pa.RecordBatch:
        """Rows as a producer sends them: event id, event time (milliseconds), a column each."""
        times = pa.array(np.full(len(rows), time_ms), pa.timestamp("ms", tz="UTC"))
        columns = {"event_id": pa.array(ids), "event_time": times}
        for at, name in enumerate(self.features):
            columns[name] = pa.array(rows[:, at])
        return pa.RecordBatch.from_pydict(columns)


def known(count: int) -> list[Known]:
    """`count` models; the first ones are the same whatever the count."""
    return [_known(number) for number in range(count)]


def _known(number: int) -> Known:
    random = np.random.default_rng(number)
    width = WIDTHS[number % len(WIDTHS)]
    prefix = "abcde"[number % len(WIDTHS)]
    return Known(
        name=f"many-{number}",
        features=tuple(f"{prefix}{at}" for at in range(width)),
        weights=np.asarray(random.normal(size=width) / 2, np.float32),
        bias=float(np.float32(random.normal())),
    )
