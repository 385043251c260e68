"""Explains an answer: what each feature contributed, by occlusion.

A feature's contribution is the answer less the answer to the same row with a typical value in the
feature's place (Robnik-Sikonja and Kononenko, "Explaining Classifications for Individual
Instances", 2008). Typical is the median of the version's training rows. One explained row costs as
many more rows in the model as there are features, and the first explanation of a version also the
download of its training rows.
"""

import asyncio
import io
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from driftloop.artifacts.store import ArtifactMissing, Artifacts
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.manifest import Manifest
from driftloop.inference.core.call import Answered

MOST_ROWS: Final = 200_000
"""Rows that one explanation may put through the model."""
MOST_VALUES: Final = 4_000_000
"""Values of the rows put through the model at once (16 MB)."""
KEPT: Final = 32
"""Versions whose typical row is remembered."""


class Explainer:
    """Contributions of features to answers."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._typical: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    async def contributions(self, answered: Answered, matrix: Matrix) -> Matrix:
        """Shape (rows, features): what each value added to the answer.

        The answer is the probability of the predicted class, or the value of a regression. Raises
        `InvalidInput` for too many rows.
        """
        rows, features = matrix.shape
        if rows * features > MOST_ROWS:
            raise InvalidInput(
                f"explain: {rows} rows of {features} features cost {rows * features} rows of the "
                f"model; accepted: at most {MOST_ROWS}, ask for fewer rows"
            )
        typical = await self._typical_row(answered.served.champion.manifest)
        return await asyncio.to_thread(occluded, answered, matrix, typical)

    async def _typical_row(self, manifest: Manifest) -> NDArray[np.float32]:
        known = self._typical.get(manifest.snapshot_sha256)
        if known is None:
            try:
                snapshot = await self._artifacts.get(manifest.snapshot_sha256)
            except ArtifactMissing as error:
                raise InvalidInput(
                    f"explain: the training rows of version {manifest.version} are not kept; "
                    "accepted: versions whose training rows are"
                ) from error
            known = await asyncio.to_thread(typical, snapshot)
            self._typical[manifest.snapshot_sha256] = known
            if len(self._typical) > KEPT:
                self._typical.popitem(last=False)
        return known


def typical(snapshot: bytes) -> NDArray[np.float32]:
    """The median of each feature in a snapshot of training rows; NaN where there is no value."""
    from pyarrow import parquet  # few processes ever explain, and it costs them 6 MB

    table = parquet.read_table(io.BytesIO(snapshot), columns=["features"]).combine_chunks()
    matrix = matrix_of(table.column("features").chunk(0))
    made: NDArray[np.float32] = np.full(matrix.shape[1], np.nan, dtype=np.float32)
    for at in range(matrix.shape[1]):
        given = matrix[~np.isnan(matrix[:, at]), at]
        if len(given):
            # A value that occurs, so that the code of a category stays one.
            made[at] = np.partition(given, len(given) // 2)[len(given) // 2]
    return made


def occluded(answered: Answered, matrix: Matrix, typical: NDArray[np.float32]) -> Matrix:
    """The contributions, given the typical row; see the module."""
    rows, features = matrix.shape
    run = answered.served.champion.session.run
    best = np.array(answered.best or [0] * rows)
    made: Matrix = np.empty((rows, features), dtype=np.float32)
    at = np.arange(features)
    most = max(1, MOST_VALUES // features**2)
    for first in range(0, rows, most):
        part = slice(first, min(first + most, rows))
        changed = np.repeat(matrix[part, None, :], features, axis=1)
        changed[:, at, at] = typical
        answers = run(changed.reshape(-1, features)).reshape(len(changed), features, -1)
        chosen = best[part, None, None]
        there = np.take_along_axis(answers, chosen, axis=2)[:, :, 0]
        made[part] = np.take_along_axis(answered.answers[part], chosen[:, 0], axis=1) - there
    return made
