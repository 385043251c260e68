"""Running a version on a matrix without holding up the event loop."""

import asyncio
from typing import Final

from driftloop.contracts.batches import Matrix
from driftloop.inference.domain.lineup import Answers

INLINE_ROWS: Final = 2_000
"""Up to so many rows a run is shorter than the way to a thread and back is worth."""


async def run(session: Answers, matrix: Matrix) -> Matrix:
    """The session's answers; many rows are run in a thread."""
    if len(matrix) <= INLINE_ROWS:
        return session.run(matrix)
    return await asyncio.to_thread(session.run, matrix)
