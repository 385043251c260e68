"""Looks into ONNX bytes before onnxruntime does, and refuses what is not a safe model of a table.

Refused are: what is no ONNX, tensors in other files, operators that are not on the list, tensors no
machine holds, and inputs or outputs that are not those of the spec.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from driftloop.artifacts.onnx_fields import ATTRIBUTE, MODEL, without_numbers
from driftloop.artifacts.onnx_operators import OPERATORS
from driftloop.artifacts.onnx_sizes import ModelRefused as ModelRefused
from driftloop.artifacts.onnx_sizes import Sizes, bytes_of, size_of
from driftloop.contracts.manifest import Tensor

DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml")
"""Operator sets a model may use; none of them reads files or runs foreign code."""
EXTERNAL: Final = 1
"""`TensorProto.DataLocation` of a tensor that lies in another file."""
DEEPEST: Final = 32
"""Graphs within graphs; about as many as the readers of protobuf take."""
MOST_NODES: Final = 100_000
FLOAT: Final = "tensor(float)"
TYPES: Final = {
    1: "float",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "double",
}
OTHER_FILES: Final = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\x89HDF": "an HDF5 file",
    b"\x7fELF": "a program",
    b"\x93NUMPY": "a NumPy array",
    b"PAR1": "a Parquet file",
}
PICKLE: Final = (b"\x80", range(2, 6))
"""Its first byte, and the protocols that the second may name."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is accepted: megabytes of the file, and of its tensors; operators beside the usual."""

    file_mb: int = 256
    tensor_mb: int = 256
    operators: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes, answers and is made of, as its bytes say."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: dict[str, int]
    operators: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The name of the output with the numbers."""
        return next(each.name for each in self.outputs if each.type == FLOAT)


DEFAULTS: Final = Limits()


def check(data: bytes, features: int, width: int, limits: Limits | None = DEFAULTS) -> Found:
    """What a model of `features` inputs and answers of `width` numbers is made of.

    Raises `ModelRefused`, which says what was found and what is accepted. Without `limits` sizes
    and the list of operators are not looked at: for bytes that were checked before.
    """
    if limits is not None and len(data) > limits.file_mb << 20:
        raise ModelRefused(
            f"model: {len(data) >> 20} MB; accepted: {limits.file_mb} MB at most"
            " (DRIFTLOOP_MODEL_MB)"
        )
    seen, model = _Seen(), _read(data)
    try:
        seen.model(model)
    except DecodeError as error:  # an attribute, which is read by itself
        raise ModelRefused(f"model: {len(data)} bytes are not ONNX ({error})") from error
    _check_parts(seen, model)
    if limits is not None:
        _check_operators(seen, limits)
        _check_sizes(seen, model.graph, limits.tensor_mb << 20)
    found = Found(
        inputs=tuple(_inputs(model.graph)),
        outputs=tuple(map(_tensor, model.graph.output)),
        opset=_opset(model),
        operators=tuple(sorted(seen.operators)),
    )
    _check_signature(found, features, width)
    return found


def limits_of(file_mb: int, tensor_mb: int, operators: str) -> Limits:
    """Limits of settings; `operators` are names with comma between."""
    named = tuple(filter(None, operators.replace(" ", "").split(",")))
    return Limits(file_mb=file_mb, tensor_mb=tensor_mb, operators=named)


def _read(data: bytes) -> Any:
    what = next((name for start, name in OTHER_FILES.items() if data.startswith(start)), "")
    if data[:1] == PICKLE[0] and data[1:2] and data[1] in PICKLE[1]:
        what = "a pickle"
    if what or not data:
        what = what or "empty"
        raise ModelRefused(f"model: {len(data)} bytes are not ONNX: {what}; accepted: an ONNX file")
    try:
        model = MODEL.FromString(data)
    except DecodeError as error:
        what = f"{len(data)} bytes are not ONNX ({error})"
        raise ModelRefused(f"model: {what}; accepted: an ONNX file") from error
    return model


def _check_parts(seen: "_Seen", model: Any) -> None:
    strange = sorted(seen.domains - set(DOMAINS))
    if strange:
        raise ModelRefused(
            f"model: uses operators of {', '.join(strange)}; accepted: those of ai.onnx, ai.onnx.ml"
        )
    if seen.outside:
        raise ModelRefused(
            f"model: tensor {seen.outside[0]!r} lies in another file; accepted: one file"
        )
    for what, there in (("functions", model.functions), ("training graphs", model.training_info)):
        if there:
            raise ModelRefused(f"model: has {len(there)} {what} of its own; accepted: none")
    if not model.graph.node or not model.graph.output:
        nodes, outputs = len(model.graph.node), len(model.graph.output)
        raise ModelRefused(
            f"model: {nodes} nodes and {outputs} outputs are not ONNX that answers, or it was cut "
            "off; accepted: a whole ONNX file"
        )
    missing = {_set(domain) for domain in seen.domains} - _opset(model).keys()
    if missing:
        raise ModelRefused(
            f"model: does not say which version of {', '.join(sorted(missing))} it uses, or it was "
            "cut off; accepted: a whole ONNX file"
        )


def _check_operators(seen: "_Seen", limits: Limits) -> None:
    strange = sorted(seen.operators - OPERATORS - set(limits.operators))
    if strange:
        raise ModelRefused(
            f"model: uses the operators {', '.join(strange[:10])}; accepted: the {len(OPERATORS)} "
            "of models on tables, and those that DRIFTLOOP_MODEL_OPERATORS names"
        )


def _check_sizes(seen: "_Seen", graph: Any, most: int) -> None:
    if seen.nodes > MOST_NODES:
        raise ModelRefused(f"model: has {seen.nodes} nodes; accepted: {MOST_NODES} at most")
    if seen.constants > most:
        raise ModelRefused(
            f"model: its constants take {seen.constants / 2**20:.3g} MB; accepted: {most >> 20} MB "
            "at most (DRIFTLOOP_MODEL_TENSOR_MB)"
        )
    Sizes(most).graph(graph, {})


def _check_signature(found: Found, features: int, width: int) -> None:
    its = found.inputs
    if len(its) != 1 or its[0].type != FLOAT or not _fits(its[0].shape, features, ranks=(2,)):
        raise ModelRefused(
            f"model: has inputs {_shown(its)}; accepted: one {FLOAT} of shape [rows, {features}]"
        )
    # skl2onnx without zipmap: a classifier has (label, probabilities), a regressor (variable).
    numbers = [each for each in found.outputs if each.type == FLOAT]
    ranks = (0, 1, 2) if width == 1 else (0, 2)  # some files leave the shape of an answer open
    if len(numbers) != 1 or not _fits(numbers[0].shape, width, ranks):
        raise ModelRefused(
            f"model: has outputs {_shown(found.outputs)}; accepted: one {FLOAT} of shape "
            f"[rows, {width}], beside the label"
        )


def _fits(shape: tuple[int, ...], last: int, ranks: tuple[int, ...]) -> bool:
    return len(shape) in ranks and (len(shape) < 2 or shape[-1] in (-1, last))


class _Seen:
    """What a walk over a model found: operators, tensors in other files, and how much there is."""

    def __init__(self) -> None:
        self.domains: set[str] = set()
        self.operators: set[str] = set()
        self.outside: list[str] = []
        self.constants = 0.0
        self.nodes = 0
        self._depth = 0

    def model(self, model: Any) -> None:
        """Everything: the graph, the functions, and what is for training only."""
        self._opsets(model.opset_import)
        self._graph(model.graph)
        for training in model.training_info:
            self._graph(training.initialization)
            self._graph(training.algorithm)
        for function in model.functions:
            self._opsets(function.opset_import)
            self._nodes(function.node)
            self._attributes(function.attribute_proto)

    def _opsets(self, opsets: Iterable[Any]) -> None:
        self.domains.update(_text(opset.domain) for opset in opsets)

    def _graph(self, graph: Any) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ModelRefused(
                f"model: graphs lie over {DEEPEST} deep; accepted: {DEEPEST} at most"
            )
        self._tensors(graph.initializer)
        self._sparse(graph.sparse_initializer)
        self._nodes(graph.node)
        self._depth -= 1

    def _nodes(self, nodes: Iterable[Any]) -> None:
        for node in nodes:
            # onnxruntime knows further operator sets, imported by the model or not.
            domain, name = _text(node.domain), _text(node.op_type)
            self.domains.add(domain)
            self.operators.add(name if domain in ("", "ai.onnx") else f"{domain}.{name}")
            self.nodes += 1
            self._attributes(node.attribute)

    def _attributes(self, attributes: Iterable[bytes]) -> None:
        for raw in attributes:
            attribute = ATTRIBUTE.FromString(without_numbers(raw))
            held = [attribute.t] if attribute.HasField("t") else []
            self._tensors((*held, *attribute.tensors))
            self._sparse((attribute.sparse_tensor, *attribute.sparse_tensors))
            inner = [attribute.g] if attribute.HasField("g") else []
            for graph in (*inner, *attribute.graphs):
                self._graph(graph)

    def _tensors(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            if tensor.data_location == EXTERNAL:
                self.outside.append(_text(tensor.name))
            self.constants += bytes_of(tensor)

    def _sparse(self, sparse: Iterable[Any]) -> None:
        for tensor in sparse:
            self._tensors((tensor.values, tensor.indices))
            self.constants += 4 * size_of(tensor.dims)


def _set(domain: str) -> str:
    """The name of an operator set; ONNX's own has two."""
    return domain or "ai.onnx"


def _opset(model: Any) -> dict[str, int]:
    return {_set(_text(each.domain)): each.version for each in model.opset_import}


def _inputs(graph: Any) -> Iterator[Tensor]:
    """The inputs that are no constants: old files name these too."""
    constants = {tensor.name for tensor in graph.initializer}
    return (_tensor(value) for value in graph.input if value.name not in constants)


def _tensor(value: Any) -> Tensor:
    its = value.type.tensor_type
    name = TYPES.get(its.elem_type, f"type {its.elem_type}")
    dims = (dim.dim_value if dim.HasField("dim_value") else -1 for dim in its.shape.dim)
    return Tensor(name=_text(value.name), type=f"tensor({name})", shape=tuple(dims))


def _shown(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"{t.name}: {t.type} {list(t.shape)}" for t in tensors) or "none"


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
