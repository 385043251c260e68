"""How large the tensors of a model get, from its file alone: an upper bound for one row.

For each tensor two numbers are kept: a bound on its elements, and, where its entries are sizes
(shapes, counts), a bound on their product. So a size that is computed from shapes is bounded too,
and one that is computed from rows is refused. Operators that broadcast count as their largest
input: an outer product of two tensors that both come from rows is not seen here.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from driftloop.artifacts.onnx_fields import ATTRIBUTE, without_numbers
from driftloop.contracts.errors import Reject

RANK: Final = 8
"""Dimensions of a tensor, at most: so many entries has a shape."""
ENTRIES: Final = 64
"""Numbers read of a constant; what has more is no shape."""
BYTES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Of each type of element; a text counts 16."""
INT32: Final = 6
INT64: Final = 7
COUNTS: Final = (b"n_targets", b"targets", b"num_outputs")
"""Attributes that say how many numbers an answer has."""
MOST_TARGETS: Final = 100_000


class ModelRefused(Reject):
    """An artifact that may not answer; the text says what it has and what is accepted."""


class Bound(NamedTuple):
    """At most so many elements; the product of its entries, infinite where they are no sizes.

    `vector`: a constant of one dimension.
    """

    elements: float
    product: float = math.inf
    vector: bool = False


NONE: Final = Bound(1.0)


def size_of(dims: Iterable[int]) -> float:
    """The elements of a tensor of this shape; raises `ModelRefused` for one that is none."""
    shape = list(dims)
    if len(shape) > RANK or any(dim < 0 for dim in shape):
        shown = str(shape[: RANK + 1])
        raise ModelRefused(
            f"model: a tensor of shape {shown}; accepted: {RANK} dimensions at most, none below 0"
        )
    return float(math.prod(float(dim) for dim in shape))


def bytes_of(tensor: Any) -> float:
    """What the memory of a constant takes."""
    return size_of(tensor.dims) * BYTES.get(tensor.data_type, 16)


class Sizes:
    """Walks a graph in the order of its nodes; `most` is the bound on the bytes of a tensor."""

    def __init__(self, most: float) -> None:
        self._most = most

    def graph(self, graph: Any, outer: Mapping[bytes, Bound]) -> Bound:
        """Bound every tensor of a graph within `outer` names; that of its largest output.

        Raises `ModelRefused` for a tensor that may become too large.
        """
        known = dict(outer)
        for value in graph.input:
            known.setdefault(value.name, Bound(_declared(value)))
        known.update((tensor.name, _constant(tensor)) for tensor in graph.initializer)
        for node in graph.node:
            self._node(node, known)
        return Bound(max((_of(known, o.name).elements for o in graph.output), default=1.0))

    def _node(self, node: Any, known: dict[bytes, Bound]) -> None:
        name = node.op_type.decode(errors="replace")
        inputs = [_of(known, each) for each in node.input] or [NONE]
        attributes = [ATTRIBUTE.FromString(without_numbers(raw)) for raw in node.attribute]
        for attribute in attributes:
            if attribute.name in COUNTS and not 0 <= attribute.i <= MOST_TARGETS:
                raise ModelRefused(
                    f"model: {name} answers {attribute.i} numbers a row; "
                    f"accepted: {MOST_TARGETS} at most"
                )
        made = _made(name, inputs, attributes)
        for graph in (g for a in attributes for g in ([a.g] if a.HasField("g") else a.graphs)):
            largest = Bound(max(each.elements for each in inputs))
            inner = {value.name: largest for value in graph.input}
            its = self.graph(graph, {**known, **inner})
            made = Bound(max(made.elements, its.elements))
        if made.elements * 4 > self._most:
            raise ModelRefused(
                f"model: {name} makes a tensor of {made.elements:.3g} numbers for one row, or of a "
                f"size that its rows give; accepted: {self._most / 4:.3g} at most"
            )
        known.update(dict.fromkeys(node.output, made))


def _of(known: Mapping[bytes, Bound], name: bytes) -> Bound:
    return known.get(name, NONE)


def _declared(value: Any) -> float:
    """The elements of an input for one row; a dimension that is not given counts as one."""
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return size_of(max(1, dim) for dim in dims) if all(dim >= 0 for dim in dims) else size_of(dims)


def _constant(tensor: Any) -> Bound:
    elements, vector = size_of(tensor.dims), len(tensor.dims) < 2
    if elements > ENTRIES or tensor.data_type not in (INT32, INT64):
        return Bound(elements, vector=vector)
    if tensor.raw_data:
        kind = np.int64 if tensor.data_type == INT64 else np.int32
        whole = len(tensor.raw_data) // np.dtype(kind).itemsize
        entries = np.frombuffer(tensor.raw_data, kind, min(whole, ENTRIES)).tolist()
    else:
        entries = list(tensor.int64_data or tensor.int32_data)[:ENTRIES]
    return Bound(elements, _product(entries), vector)


def _product(entries: Iterable[int]) -> float:
    return math.prod(max(1.0, abs(float(entry))) for entry in entries)


def _made(name: str, inputs: list[Bound], attributes: list[Any]) -> Bound:
    """What an operator makes of its inputs."""
    if name == "Constant":
        for attribute in attributes:
            if attribute.HasField("t"):
                return _constant(attribute.t)
            if attribute.ints or attribute.HasField("i"):
                entries = list(attribute.ints) or [attribute.i]
                return Bound(float(len(entries)), _product(entries), vector=True)
        return NONE
    rule = _RULES.get(name)
    if rule is not None:
        padded = [*inputs, NONE, NONE]
        return rule(*padded[:3]) if name != "Concat" else _concat(inputs)
    return Bound(max(each.elements for each in inputs))


def _concat(inputs: list[Bound]) -> Bound:
    return Bound(sum(i.elements for i in inputs), math.prod(i.product for i in inputs))


def _times(a: Bound, b: Bound, _: Bound) -> Bound:
    """Entry by entry; one number goes with each of many."""
    many = max(a.elements, b.elements)
    if many > ENTRIES:
        return Bound(many)
    return Bound(many, _power(a, many) * _power(b, many))


def _plus(a: Bound, b: Bound, c: Bound) -> Bound:
    made = _times(a, b, c)  # a + b is at most 2ab where both are at least 1
    return Bound(made.elements, made.product * 2.0 ** min(made.elements, ENTRIES))


def _power(a: Bound, many: float) -> float:
    if a.elements == many or a.product <= 1:
        return a.product
    return float(a.product**many) if a.product < 1e9 else math.inf


def _gather(data: Bound, indices: Bound, _: Bound) -> Bound:
    many = indices.elements
    product = data.product if many <= 1 else _power(data, many) if many <= RANK else math.inf
    vector = data.vector or data.product < math.inf  # a shape is one
    elements = many if vector else data.elements * many
    return Bound(elements, product)


def _matmul(a: Bound, b: Bound, _: Bound) -> Bound:
    """Rows times weights: for one row the answer has at most as many numbers as either has."""
    return Bound(max(a.elements, b.elements))


def _same(a: Bound, _: Bound, __: Bound) -> Bound:
    return a


def _sized(*, by: int, grows: bool) -> Callable[[Bound, Bound, Bound], Bound]:
    """A tensor whose size is the product of input `by`, times the first input if it `grows`."""

    def rule(*inputs: Bound) -> Bound:
        return Bound(inputs[by].product * (inputs[0].elements if grows else 1.0))

    return rule


def _pad(data: Bound, pads: Bound, _: Bound) -> Bound:
    return Bound(data.elements * pads.product * 2.0 ** min(pads.elements, 2 * RANK))


def _range(start: Bound, limit: Bound, step: Bound) -> Bound:
    """Whole numbers only: so the step is at least one."""
    if math.inf in (start.product, limit.product, step.product):
        return Bound(math.inf)
    return Bound(start.product + limit.product)


_RULES: Final[dict[str, Callable[..., Bound]]] = {
    "Shape": lambda x, _, __: Bound(float(RANK), x.elements),
    "Size": lambda x, _, __: Bound(1.0, x.elements),
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": lambda x, i, _: Bound(max(x.elements, i.elements)),
    "GatherND": _gather,
    "ArrayFeatureExtractor": lambda x, i, _: Bound(i.elements),
    "Mul": _times,
    "Max": _times,
    "Add": _plus,
    "Sub": _plus,
    "Div": _same,
    "Mod": _same,
    "Min": _same,
    "ReduceProd": lambda x, _, __: Bound(x.elements, x.product),
    "Slice": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "Flatten": _same,
    "Cast": _same,
    "Identity": _same,
    "MatMul": _matmul,
    "Gemm": _matmul,
    "ConstantOfShape": _sized(by=0, grows=False),
    "Expand": _sized(by=1, grows=True),
    "Tile": _sized(by=1, grows=True),
    "OneHot": _sized(by=1, grows=True),
    "Pad": _pad,
    "Range": _range,
}
