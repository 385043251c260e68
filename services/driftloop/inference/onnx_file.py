"""Looks into ONNX bytes before onnxruntime does: refuses other files and foreign operators.

Only the fields looked at are described here, by their numbers in the ONNX standard (onnx.proto);
all others are skipped. The package `onnx` is not needed for that. Attributes are read one by one
and without their long lists of numbers, which is where trees keep millions of them: the reader of
protobuf would hold Python's lock all the while.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from driftloop.contracts.errors import Reject

OPERATORS: Final = ("", "ai.onnx", "ai.onnx.ml")
"""Operator sets a model may use; none of them reads files or runs foreign code."""
EXTERNAL: Final = 1
"""`TensorProto.DataLocation` of a tensor that lies in another file."""

FIELDS: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "ModelProto": {
        "graph": (7, "GraphProto"),
        "opset_import": (8, "OperatorSetIdProto*"),
        "training_info": (20, "TrainingInfoProto*"),
        "functions": (25, "FunctionProto*"),
    },
    "OperatorSetIdProto": {"domain": (1, "bytes")},
    "TrainingInfoProto": {"initialization": (1, "GraphProto"), "algorithm": (2, "GraphProto")},
    "FunctionProto": {
        "node": (7, "NodeProto*"),
        "opset_import": (9, "OperatorSetIdProto*"),
        "attribute_proto": (11, "bytes*"),
    },
    "GraphProto": {
        "node": (1, "NodeProto*"),
        "initializer": (5, "TensorProto*"),
        "sparse_initializer": (15, "SparseTensorProto*"),
    },
    "NodeProto": {"attribute": (5, "bytes*"), "domain": (7, "bytes")},
    "AttributeProto": {
        "t": (5, "TensorProto"),
        "g": (6, "GraphProto"),
        "strings": (9, "bytes*"),
        "tensors": (10, "TensorProto*"),
        "graphs": (11, "GraphProto*"),
        "sparse_tensor": (22, "SparseTensorProto"),
        "sparse_tensors": (23, "SparseTensorProto*"),
    },
    "TensorProto": {"name": (8, "bytes"), "data_location": (14, "int32")},
    "SparseTensorProto": {"values": (1, "TensorProto"), "indices": (2, "TensorProto")},
}
"""Message, field, its number and its kind; `*` is a repeated field. Attributes come as bytes."""
DEEPEST: Final = 32
"""Graphs within graphs; about as many as the readers of protobuf take."""
SMALL: Final = 4_096
"""Bytes up to which an attribute is read as it is."""
OTHERS: Final = 64
"""Records of other kinds that are stepped over in search of numbers."""
CHUNK: Final = 1 << 16
"""Bytes of numbers looked at in one step."""
FLOAT: Final = 0x3D
"""The tag of one of an attribute's `floats`: field 7, four bytes."""
INT: Final = 0x40
"""The tag of one of an attribute's `ints`: field 8, a varint."""


class ModelRefused(Reject):
    """An artifact that may not answer; the text says what it has and what is accepted."""


def check(data: bytes) -> None:
    """Raise `ModelRefused` for bytes that are not ONNX, read other files, or use operators that
    are not ONNX's own.
    """
    seen = _Seen()
    try:
        seen.model(_MODEL.FromString(data))
    except DecodeError as error:
        raise ModelRefused(f"model: {len(data)} bytes are not ONNX ({error})") from error
    strange = sorted(seen.domains - set(OPERATORS))
    if strange:
        raise ModelRefused(
            f"model: uses operators of {', '.join(strange)}; accepted: those of ai.onnx, ai.onnx.ml"
        )
    if seen.outside:
        raise ModelRefused(
            f"model: tensor {seen.outside[0]!r} lies in another file; accepted: one file"
        )


class _Seen:
    """What a walk over a model found: operator sets, and tensors in other files."""

    def __init__(self) -> None:
        self.domains: set[str] = set()
        self.outside: list[str] = []
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
        self._tensors(_parts(graph.sparse_initializer))
        self._nodes(graph.node)
        self._depth -= 1

    def _nodes(self, nodes: Iterable[Any]) -> None:
        for node in nodes:
            # onnxruntime knows further operator sets, imported by the model or not.
            self.domains.add(_text(node.domain))
            self._attributes(node.attribute)

    def _attributes(self, attributes: Iterable[bytes]) -> None:
        for raw in attributes:
            attribute = _ATTRIBUTE.FromString(without_numbers(raw))
            self._tensors((attribute.t, *attribute.tensors))
            self._tensors(_parts((attribute.sparse_tensor, *attribute.sparse_tensors)))
            inner = [attribute.g] if attribute.HasField("g") else []
            for graph in (*inner, *attribute.graphs):
                self._graph(graph)

    def _tensors(self, tensors: Iterable[Any]) -> None:
        self.outside += [_text(t.name) for t in tensors if t.data_location == EXTERNAL]


def _parts(sparse: Iterable[Any]) -> Iterator[Any]:
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def without_numbers(attribute: bytes) -> bytes:
    """An `AttributeProto` without its `floats` and `ints`; what cannot be walked stays in."""
    if len(attribute) <= SMALL:
        return attribute
    kept: list[bytes] = []
    at = 0
    while at < len(attribute) and len(kept) < OTHERS:
        tag = attribute[at]
        ahead = _skip(attribute, at, tag) if tag in (FLOAT, INT) else 0
        if not ahead:
            ahead = _record(attribute, at)
            if not ahead:
                break
            kept.append(attribute[at : at + ahead])
        at += ahead
    return b"".join([*kept, attribute[at:]])


def _skip(data: bytes, at: int, tag: int) -> int:
    """The length of a run of whole records with this tag, within one chunk."""
    part = np.frombuffer(data, np.uint8, min(CHUNK, len(data) - at), at)
    if tag == FLOAT:
        records = len(part) // 5
        return 5 * _run(part[: records * 5 : 5] == FLOAT)
    # Of a varint only the last byte is below 128, as is the tag: such bytes come in pairs.
    low = np.flatnonzero(part < 0x80)
    pairs = len(low) // 2
    tags, ends = low[0 : 2 * pairs : 2], low[1 : 2 * pairs : 2]
    begins = np.concatenate(([0], ends[:-1] + 1))
    good = _run((part[tags] == INT) & (tags == begins) & (ends - tags <= 10))
    return int(ends[good - 1]) + 1 if good else 0


def _run(good: Any) -> int:
    return len(good) if good.all() else int(good.argmin())


def _record(data: bytes, at: int) -> int:
    """The length of one record of any kind; 0 where this is not clear."""
    tag, end = _varint(data, at)
    kind = tag & 7
    if kind == 0:
        _, end = _varint(data, end)
    elif kind == 2:
        length, end = _varint(data, end)
        end += length
    elif kind in (1, 5):
        end += 8 if kind == 1 else 4
    else:
        return 0
    return end - at if end <= len(data) else 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends; past the end of `data` if it does not."""
    number = 0
    for shift in range(10):
        if at + shift >= len(data):
            break
        byte = data[at + shift]
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, at + shift + 1
    return 0, len(data) + 1


def _messages() -> tuple[Any, Any]:
    """The readers of a model and of an attribute, in a pool of their own beside that of `onnx`."""
    file = FileDescriptorProto(name="driftloop/onnx_fields.proto", package="driftloop.onnx")
    file.syntax = "proto2"
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            many, of = kind.endswith("*"), kind.rstrip("*")
            field = described.field.add(name=name, number=number)
            field.label = (
                FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if of in FIELDS:
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".driftloop.onnx.{of}"
            else:
                field.type = getattr(FieldDescriptorProto, f"TYPE_{of.upper()}")
    pool = DescriptorPool()
    pool.Add(file)
    model, attribute = (
        GetMessageClass(pool.FindMessageTypeByName(f"driftloop.onnx.{name}"))
        for name in ("ModelProto", "AttributeProto")
    )
    return model, attribute


_MODEL, _ATTRIBUTE = _messages()
