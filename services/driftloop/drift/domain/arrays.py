"""Arrays as plain numbers in a snapshot: type, shape and little-endian bytes; never a pickle."""

import msgspec
import numpy as np


class Array(msgspec.Struct, frozen=True, array_like=True):
    """An array: numpy's name of its type, its shape, and its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


ACCEPTED = frozenset({"<f8", "<f4", "<i8", "|u1", "|b1"})


def packed(array: np.ndarray) -> Array:
    """The array as plain numbers."""
    made = np.ascontiguousarray(array)
    return Array(made.dtype.newbyteorder("<").str, made.shape, made.tobytes())


def unpacked(packed: Array) -> np.ndarray:
    """The array, to be written to; raises ValueError for a type or size that does not fit."""
    if packed.dtype not in ACCEPTED:
        accepted = ", ".join(sorted(ACCEPTED))
        raise ValueError(f"dtype is {packed.dtype}; accepted: {accepted}")
    return np.frombuffer(packed.data, dtype=packed.dtype).reshape(packed.shape).copy()
