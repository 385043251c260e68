"""The messages of the Open Inference Protocol V2, without the format they travel in."""

from typing import Any, NamedTuple

import msgspec


class Tensor(NamedTuple):
    """An input as it came, or an output as it goes.

    `data` of an input is a list of its values, or bytes in the protocol's binary form (little
    endian; BYTES elements with a length of 4 bytes before each); of an output a numpy array, or a
    list of bytes for the datatype BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any


class Wanted(NamedTuple):
    """An output that the caller asks for; `classification` asks for the top classes as text."""

    name: str
    binary: bool = False
    classification: int = 0


class InferRequest(msgspec.Struct, kw_only=True):
    """A request; `deadline` is on the clock of `time.perf_counter`, 0 is none."""

    model: str
    version: str = ""
    id: str = ""
    inputs: list[Tensor]
    outputs: list[Wanted] = []
    parameters: dict[str, Any] = {}
    deadline: float = 0.0

    def rows(self, size: int) -> int:
        """The rows it says it has, before they are read: no more than it has bytes (`size`)."""
        shape = self.inputs[0].shape if self.inputs else ()
        return max(0, min(size, shape[0])) if shape else 0


class InferResponse(msgspec.Struct, kw_only=True):
    """An answer; `model_version` is the version that gave it."""

    model_name: str
    model_version: str
    id: str
    outputs: list[Tensor]
    parameters: dict[str, Any] = {}


class TensorMetadata(NamedTuple):
    """Name, datatype and shape of an input or output; -1 is any number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, kw_only=True):
    """What a model accepts and gives, and the versions that answer now."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(msgspec.Struct, kw_only=True):
    """Who answers, and by which extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class IndexEntry(msgspec.Struct, kw_only=True):
    """One model of the repository: READY, or UNAVAILABLE and why."""

    name: str
    version: str
    state: str
    reason: str
