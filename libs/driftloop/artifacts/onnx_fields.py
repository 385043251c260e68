"""The fields of ONNX that are looked at, and readers of them that step over long lists of numbers.

Only these fields are described, by their numbers in the ONNX standard (onnx.proto); all others are
skipped. The package `onnx` is not needed for that. Attributes are read one by one and without their
long lists of numbers, which is where trees keep millions of them: the reader of protobuf would hold
Python's lock all the while.
"""

from typing import Any, Final

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

FIELDS: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "ModelProto": {
        "graph": (7, "GraphProto"),
        "opset_import": (8, "OperatorSetIdProto*"),
        "training_info": (20, "TrainingInfoProto*"),
        "functions": (25, "FunctionProto*"),
    },
    "OperatorSetIdProto": {"domain": (1, "bytes"), "version": (2, "int64")},
    "TrainingInfoProto": {"initialization": (1, "GraphProto"), "algorithm": (2, "GraphProto")},
    "FunctionProto": {
        "node": (7, "NodeProto*"),
        "opset_import": (9, "OperatorSetIdProto*"),
        "attribute_proto": (11, "bytes*"),
    },
    "GraphProto": {
        "node": (1, "NodeProto*"),
        "initializer": (5, "TensorProto*"),
        "input": (11, "ValueInfoProto*"),
        "output": (12, "ValueInfoProto*"),
        "sparse_initializer": (15, "SparseTensorProto*"),
    },
    "NodeProto": {
        "input": (1, "bytes*"),
        "output": (2, "bytes*"),
        "op_type": (4, "bytes"),
        "attribute": (5, "bytes*"),
        "domain": (7, "bytes"),
    },
    "AttributeProto": {
        "name": (1, "bytes"),
        "i": (3, "int64"),
        "t": (5, "TensorProto"),
        "g": (6, "GraphProto"),
        "ints": (8, "int64*"),
        "strings": (9, "bytes*"),
        "tensors": (10, "TensorProto*"),
        "graphs": (11, "GraphProto*"),
        "sparse_tensor": (22, "SparseTensorProto"),
        "sparse_tensors": (23, "SparseTensorProto*"),
    },
    "TensorProto": {
        "dims": (1, "int64*"),
        "data_type": (2, "int32"),
        "int32_data": (5, "int32*"),
        "int64_data": (7, "int64*"),
        "name": (8, "bytes"),
        "raw_data": (9, "bytes"),
        "data_location": (14, "int32"),
    },
    "SparseTensorProto": {
        "values": (1, "TensorProto"),
        "indices": (2, "TensorProto"),
        "dims": (3, "int64*"),
    },
    "ValueInfoProto": {"name": (1, "bytes"), "type": (2, "TypeProto")},
    "TypeProto": {"tensor_type": (1, "Tensor")},
    "Tensor": {"elem_type": (1, "int32"), "shape": (2, "TensorShapeProto")},
    "TensorShapeProto": {"dim": (1, "Dimension*")},
    "Dimension": {"dim_value": (1, "int64")},
}
"""Message, field, its number and its kind; `*` is a repeated field. Attributes come as bytes."""
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


MODEL, ATTRIBUTE = _messages()
"""Their readers: `FromString`."""
