"""One model version in onnxruntime: loaded from bytes, checked against its manifest, warmed up."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import Reject

OPERATORS: Final = ("", "ai.onnx", "ai.onnx.ml")
"""Operator sets a model may use; none of them reads files or runs foreign code."""


class ModelRefused(Reject):
    """An artifact that may not answer; the text says what it has and what is accepted."""


class Session:
    """Answers (rows, features) float32 with (rows, width) float32, from any thread."""

    def __init__(self, data: bytes, features: int, width: int) -> None:
        self.features = features
        self.width = width
        _refuse_foreign(data)
        try:
            self._session = ort.InferenceSession(data, _options(), ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base of its errors
            raise ModelRefused(f"model: onnxruntime cannot load it ({error})") from error
        self._input = self._find_input()
        self._output = self._find_output()
        self._warm_up()

    def run(self, matrix: Matrix) -> Matrix:
        """The answers in row order: probabilities of a classifier, values of a regressor."""
        if len(matrix) == 0:
            return np.empty((0, self.width), dtype=np.float32)
        answers: Matrix = self._session.run([self._output], {self._input: matrix})[0]
        return answers.reshape(len(matrix), self.width)

    def _find_input(self) -> str:
        inputs = self._session.get_inputs()
        if len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(inputs[0].shape) == 2:
            last = inputs[0].shape[1]
            if not isinstance(last, int) or last == self.features:
                return str(inputs[0].name)
        wanted = f"one tensor(float) of shape [rows, {self.features}]"
        raise ModelRefused(f"model: has inputs {_shown(inputs)}; accepted: {wanted}")

    def _find_output(self) -> str:
        # skl2onnx without zipmap: a classifier has (label, probabilities), a regressor (variable).
        outputs = [o for o in self._session.get_outputs() if o.type == "tensor(float)"]
        if len(outputs) == 1:
            return str(outputs[0].name)
        shown = _shown(self._session.get_outputs())
        wanted = f"one tensor(float) of shape [rows, {self.width}], beside the label"
        raise ModelRefused(f"model: has outputs {shown}; accepted: {wanted}")

    def _warm_up(self) -> None:
        """The first run allocates; here it also proves what the signature only promises."""
        for rows in (1, 2):
            zeros = np.zeros((rows, self.features), dtype=np.float32)
            try:
                answers = self._session.run([self._output], {self._input: zeros})[0]
            except Exception as error:
                raise ModelRefused(f"model: a trial run failed ({error})") from error
            if answers.shape not in ((rows, self.width), (rows,) if self.width == 1 else ()):
                raise ModelRefused(
                    f"model: answers {rows} rows in shape {list(answers.shape)}; "
                    f"accepted: [{rows}, {self.width}]"
                )


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Both keep memory for every batch size they ever saw, and swapped-out versions keep theirs.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 4
    return options


def _refuse_foreign(data: bytes) -> None:
    """Refuse what is no ONNX, reads other files, or uses operators that are not ONNX's own."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelRefused(f"model: {len(data)} bytes are not ONNX ({error})") from error
    strange = sorted({o.domain for o in model.opset_import} - set(OPERATORS))
    if strange:
        raise ModelRefused(
            f"model: uses operators of {', '.join(strange)}; accepted: those of ai.onnx, ai.onnx.ml"
        )
    nodes = [n for function in model.functions for n in function.node]
    outside = [
        t for t in _tensors([model.graph], nodes) if t.data_location == onnx.TensorProto.EXTERNAL
    ]
    if outside:
        raise ModelRefused(
            f"model: tensor {outside[0].name!r} lies in another file; accepted: one file"
        )


def _tensors(graphs: Iterable[Any], nodes: Iterable[Any] = ()) -> Iterator[Any]:
    """Every tensor of graphs and nodes, those of inner graphs too."""
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _tensors((), graph.node)
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            yield from _tensors(
                [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            )


def _shown(values: Iterable[Any]) -> str:
    return ", ".join(f"{v.name}: {v.type} {list(v.shape)}" for v in values) or "none"
