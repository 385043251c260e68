"""Matrices as ClickHouse arrays: list columns built from offsets, without a loop over rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.errors import Reject

FLOATS = pa.list_(pa.float32())


class Shadows(NamedTuple):
    """The shadows that answered, a list a row: their versions, and their answers in that order."""

    versions: pa.Array
    answers: pa.Array


def float_lists(name: str, column: pa.Array) -> pa.Array:
    """A fixed-size list column as lists; rows that are null become empty. Raises `Reject`."""
    matrix, given = _matrix(name, column)
    if not column.null_count:
        ends = np.arange(len(matrix) + 1, dtype=np.int32) * np.int32(matrix.shape[1])
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(matrix.reshape(-1)))
    return _rows_of(matrix[given], np.where(given, matrix.shape[1], 0))


def shadow_lists(columns: Sequence[tuple[int, str, pa.Array]], rows: int) -> Shadows:
    """The columns of the shadows (version, name, answers) turned into two lists a row.

    Where a shadow's answer is null (it was shed) neither its version nor an answer is in the lists.
    """
    if not columns:
        return Shadows(_empty_lists(rows, pa.int32()), _empty_lists(rows, FLOATS))
    read = [_matrix(name, column) for _, name, column in columns]
    given = np.stack([valid for _, valid in read], axis=1)
    widths = np.array([matrix.shape[1] for matrix, _ in read])
    versions = np.broadcast_to(np.array([v for v, _, _ in columns], np.int32), given.shape)
    each = _offsets(given.sum(axis=1))
    sizes = np.broadcast_to(widths, given.shape)[given]
    answers = pa.ListArray.from_arrays(each, _rows_of(_row_major(read, given), sizes))
    return Shadows(pa.ListArray.from_arrays(each, pa.array(versions[given])), answers)


def _row_major(
    read: Sequence[tuple[Matrix, NDArray[np.bool_]]], given: NDArray[np.bool_]
) -> Matrix:
    """The numbers of the answers that are there, row by row and shadow by shadow within a row."""
    numbers = np.concatenate([matrix for matrix, _ in read], axis=1)
    keep = np.concatenate(
        [np.repeat(given[:, [at]], m.shape[1], axis=1) for at, (m, _) in enumerate(read)], axis=1
    )
    kept: Matrix = numbers[keep]
    return kept


def _matrix(name: str, column: pa.Array) -> tuple[Matrix, NDArray[np.bool_]]:
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        accepted = "a fixed-size list of float32"
        raise Reject(f"{name}: is {kind}; accepted: {accepted}")
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return matrix_of(column), valid


def _rows_of(numbers: Matrix, sizes: NDArray[np.int_]) -> pa.Array:
    flat = np.ascontiguousarray(numbers).reshape(-1)
    return pa.ListArray.from_arrays(_offsets(sizes), pa.array(flat, pa.float32()))


def _offsets(sizes: NDArray[np.int_]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())


def _empty_lists(rows: int, kind: pa.DataType) -> pa.Array:
    return pa.ListArray.from_arrays(_offsets(np.zeros(rows, np.int_)), pa.array([], kind))
