"""Scored batches: neighbours put together for one run of the model, and taken apart again."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import (
    SHADOW_PREFIX,
    VERSION,
    Matrix,
    matrix_column,
    null_answers,
    with_column,
)

RUN_ROWS: Final = 16_384
"""Rows put together for one run; a single batch may have more."""

T = TypeVar("T")


class Input(NamedTuple):
    """The features of one message's batch, and the model they are for."""

    model: str
    matrix: Matrix


def neighbours(inputs: Sequence[Input], most: int = RUN_ROWS) -> Iterator[slice]:
    """Runs of consecutive inputs of one model and width, about `most` rows each."""
    start, rows = 0, 0
    for at, given in enumerate(inputs):
        first = inputs[start]
        same = given.model == first.model and given.matrix.shape[1] == first.matrix.shape[1]
        if at > start and (not same or rows + len(given.matrix) > most):
            yield slice(start, at)
            start, rows = at, 0
        rows += len(given.matrix)
    if inputs:
        yield slice(start, len(inputs))


def together(inputs: Sequence[Input]) -> Matrix:
    """The rows of all inputs, in order."""
    if len(inputs) == 1:
        return inputs[0].matrix
    return np.concatenate([given.matrix for given in inputs])


def apart(answers: Matrix | None, inputs: Sequence[Input]) -> list[Matrix | None]:
    """The answers of each input; None for each where there are none."""
    if answers is None:
        return [None] * len(inputs)
    ends = np.cumsum([len(given.matrix) for given in inputs])[:-1]
    return list(np.split(answers, ends))


def scored(
    batch: pa.RecordBatch,
    width: int,
    version: int | None,
    answers: Matrix | None,
    shadows: Sequence[tuple[int, Matrix | None]],
) -> pa.RecordBatch:
    """`batch` with the live answer, who gave it, and a column for each shadow; null where nobody
    answered.
    """
    rows = batch.num_rows
    made = batch.append_column(VERSION, pa.repeat(pa.scalar(version, VERSION.type), rows))
    made = with_column(made, "answer", _column(answers, rows, width))
    for shadow, its in shadows:
        made = with_column(made, f"{SHADOW_PREFIX}{shadow}", _column(its, rows, width))
    return made


def _column(answers: Matrix | None, rows: int, width: int) -> pa.Array:
    return null_answers(rows, width) if answers is None else matrix_column(answers)


def infinite_rows(answers: Matrix) -> NDArray[np.bool_]:
    """The mask of rows whose answer holds a number that is not finite."""
    return np.asarray(~np.isfinite(answers).all(axis=1), dtype=np.bool_)


def unusable(answers: Matrix, rows: int, width: int) -> str:
    """Why a shadow's answers to `rows` rows are dropped, or an empty text."""
    if answers.shape != (rows, width):
        return "shape"
    return "" if np.isfinite(answers).all() else "not_finite"
