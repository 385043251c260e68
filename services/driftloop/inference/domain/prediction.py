"""Rows of a request into model input, with every bad row named."""

from typing import Final

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.rows import plain

SHOWN: Final = 20
"""Bad rows told one by one; the rest is counted."""


class NoAnswer(DriftloopError):
    """The model ran and gave nothing that could be passed on."""


def model_input(contract: Contract, rows: pa.RecordBatch) -> Matrix:
    """The model input of rows; raises `InvalidInput` that names every bad row and field."""
    if rows.num_rows == 0:
        raise InvalidInput("rows: there is none; accepted: at least one row")
    matrix, found = contract.features(rows)
    if found.bad.any():
        raise InvalidInput(_complaint(contract, rows, np.flatnonzero(found.bad).tolist()))
    return matrix


def _complaint(contract: Contract, rows: pa.RecordBatch, bad: list[int]) -> str:
    shown = bad[:SHOWN]
    _, found = contract.features(plain(rows).take(pa.array(shown)))
    told = [f"row {row}: {why}" for row, why in zip(shown, found.reasons(), strict=True)]
    left = len(bad) - len(shown)
    return "\n".join([*told, f"and {left} more bad rows"] if left else told)
