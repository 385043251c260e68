"""Rows of a request into model input, and answers into what the caller reads."""

from typing import Final

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import VERSION, Matrix, matrix_column
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.requests import Prediction
from driftloop.inference.domain.scored import infinite_rows
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.spec import Spec

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
    _, found = contract.features(rows.take(pa.array(shown)))
    told = [f"row {row}: {why}" for row, why in zip(shown, found.reasons(), strict=True)]
    left = len(bad) - len(shown)
    return "\n".join([*told, f"and {left} more bad rows"] if left else told)


def prediction(spec: Spec, version: int, answers: Matrix) -> Prediction:
    """The answers by name; raises `NoAnswer` for a number that is not finite."""
    broken = infinite_rows(answers)
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise NoAnswer(
            f"row {row}: version {version} of {spec.name} answered {answers[row].tolist()}; "
            "expected: finite numbers"
        )
    if spec.task == "regression":
        return Prediction(model=spec.name, version=version, predictions=answers[:, 0].tolist())
    classes = spec.target.classes
    return Prediction(
        model=spec.name,
        version=version,
        predictions=[classes[best] for best in answers.argmax(axis=1).tolist()],
        probabilities=[dict(zip(classes, row, strict=True)) for row in answers.tolist()],
    )


def prediction_batch(version: int, answers: Matrix) -> pa.RecordBatch:
    """The same as columns: `answer` and the `version` that gave it."""
    versions = pa.array([version] * len(answers), VERSION.type)
    return pa.RecordBatch.from_arrays(
        [matrix_column(answers), versions], names=["answer", "version"]
    )
