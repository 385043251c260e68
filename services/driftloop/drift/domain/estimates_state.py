"""The state of estimates as bytes: our own numbers, versioned."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.drift.domain import arrays as of_array
from driftloop.drift.domain.arrays import Array

Arrays = dict[str, NDArray[Any]]

STATE: Final = 1
"""Version of the numbers in a state."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that estimates go on from after a restart; `version` says how to read the rest."""

    version: int
    model: str
    champion: int
    loss: str
    features: int
    void: str
    since: int
    skipped: int
    newest: tuple[float, ...]
    estimator: dict[str, Array]
    windows: dict[str, Array]
    waiting: dict[str, Array]
    labelled: dict[str, Array]


_decoder: Final = msgspec.msgpack.Decoder(State)


def decode(data: bytes) -> State:
    """The state in `data`; raises ValueError if there is none."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        text = f"state cannot be read ({error}); accepted is one of version {STATE}"
        raise ValueError(text) from error


def joined(names: Sequence[str], parts: Sequence[tuple[Any, ...]]) -> Arrays:
    """The parts of rows that wait, as one array a name; none without rows."""
    columns = map(np.concatenate, zip(*parts, strict=True))
    return dict(zip(names, columns, strict=True)) if parts else {}


def packed(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
    """Arrays as bytes."""
    return {name: of_array.packed(array) for name, array in arrays.items()}


def unpacked(arrays: Mapping[str, Array]) -> Arrays:
    """Bytes as arrays that can be written to."""
    return {name: of_array.unpacked(array) for name, array in arrays.items()}
