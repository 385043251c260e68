"""Models that misbehave, as real ONNX: one is slow, one fails, one takes ever more memory.

`python -m driftloop.local.bench.stress.faulty FOLDER` writes `faulty-slow.onnx` and the others.
They answer [p, 1 - p], p the sigmoid of the first feature, and misbehave only in a run whose rows
all have a negative first feature. So they load: no trial run of a loading service has such rows.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper

from driftloop.local.bench.workloads import FEATURES

FAULTS: Final = ("slow", "raises", "leaks")
SLOW_SECONDS: Final = 3.0
"""CPU time of a run of the slow model, on the machine that made it and with nothing beside it."""
TRIAL_TURNS: Final = 2_000
LEAK_FLOATS: Final = 1 << 16
"""Numbers kept by each turn of the leaking model: 256 KiB."""
ENDLESS: Final = 1 << 40
OPSET: Final = 21
IR: Final = 10

_FLOAT, _INT, _BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def slow(turns: int, usual: int = 1) -> bytes:
    """`turns` products of small matrices in a row; `usual` ones in a run that is not slow."""
    size = 64
    body = _body([_node("MatMul", ["state", "unit"], ["state_out"])], [], size)
    nodes = [*_turns(turns, usual), _node("Loop", ["turns", "", "unit"], ["state_end"], body=body)]
    return _model([*nodes, _node("ReduceSum", ["state_end"], ["waste"], keepdims=0)], _unit(size))


def raises() -> bytes:
    """Reads beyond the end of a tensor."""
    parts = [
        _node("Where", ["bad", "beyond", "zero"], ["index"]),
        _node("Gather", ["one", "index"], ["waste"]),
    ]
    return _model(parts, [_int("beyond", 1_000), _int("zero", 0), _floats("one", [1.0])])


def leaks() -> bytes:
    """Keeps what each of its endless turns makes: 256 KiB a turn, about a thousand a second."""
    size = 256
    made = helper.make_tensor_value_info("kept", _FLOAT, [LEAK_FLOATS])
    value = helper.make_tensor("value", _FLOAT, [1], [1.0])
    parts = [
        _node("MatMul", ["state", "unit"], ["state_out"]),
        _node("ConstantOfShape", ["length"], ["kept"], value=value),
    ]
    loop = _node(
        "Loop", ["turns", "", "unit"], ["state_end", "all"], body=_body(parts, [made], size)
    )
    nodes = [*_turns(ENDLESS), loop, _node("ReduceSum", ["all"], ["waste"], keepdims=0)]
    return _model(nodes, [*_unit(size), _ints("length", [LEAK_FLOATS])])


def calibrated(make: Callable[[int], bytes]) -> bytes:
    """The slow model with as many turns as take `SLOW_SECONDS` here."""
    session = ort.InferenceSession(make(TRIAL_TURNS), providers=["CPUExecutionProvider"])
    rows = np.full((1, FEATURES), -1.0, dtype=np.float32)
    session.run(None, {"features": rows})
    began = time.process_time()
    session.run(None, {"features": rows})
    taken = max(time.process_time() - began, 1e-6)
    return make(max(1, round(TRIAL_TURNS * SLOW_SECONDS / taken)))


def _turns(many: int, few: int = 1) -> list[Any]:
    return [
        _node("Constant", [], ["many"], value=_int("", many)),
        _node("Constant", [], ["few"], value=_int("", few)),
        _node("Where", ["bad", "many", "few"], ["turns"]),
    ]


def _model(fault: list[Any], constants: list[TensorProto]) -> bytes:
    """Answers and, between, the fault: it reads `bad` and leaves a number, `waste`."""
    nodes = [
        _node("Gather", ["features", "first"], ["column"], axis=1),
        _node("ReduceMax", ["column"], ["largest"], keepdims=0),
        _node("Less", ["largest", "nought"], ["bad"]),
        *fault,
        _node("Mul", ["waste", "nought"], ["nothing"]),
        _node("Sigmoid", ["column"], ["p"]),
        _node("Sub", ["unity", "p"], ["q"]),
        _node("Concat", ["p", "q"], ["both"], axis=1),
        _node("Add", ["both", "nothing"], ["answers"]),
    ]
    graph = helper.make_graph(
        nodes,
        "faulty",
        [helper.make_tensor_value_info("features", _FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("answers", _FLOAT, [None, 2])],
        [_ints("first", [0]), _float("nought", 0.0), _float("unity", 1.0), *constants],
    )
    made: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
    )
    return bytes(made.SerializeToString(deterministic=True))


def _body(parts: list[Any], outputs: list[Any], size: int) -> Any:
    """The body of a loop that carries one square matrix, `state`."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [_node("Identity", ["go"], ["go_out"]), *parts],
        "body",
        [value("turn", _INT, []), value("go", _BOOL, []), value("state", _FLOAT, [size, size])],
        [value("go_out", _BOOL, []), value("state_out", _FLOAT, [size, size]), *outputs],
    )


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


def _unit(size: int) -> list[TensorProto]:
    return [numpy_helper.from_array(np.eye(size, dtype=np.float32), "unit")]


def _int(name: str, value: int) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=np.int64), name)


def _ints(name: str, values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def _float(name: str, value: float) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=np.float32), name)


def _floats(name: str, values: list[float]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.float32), name)


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[1])
    made = {"slow": calibrated(slow), "raises": raises(), "leaks": leaks()}
    for fault in FAULTS:
        (folder / f"faulty-{fault}.onnx").write_bytes(made[fault])


if __name__ == "__main__":
    main()
