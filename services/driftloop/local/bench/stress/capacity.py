"""How many requests a second the service can answer."""

import msgspec

from driftloop.local.bench.stress import job
from driftloop.local.bench.stress.job import Job, Tally


async def capacity(good: Job, seconds: float) -> float:
    """Requests/s with all connections of a job always busy; raises `RuntimeError` if one failed."""
    tally = await job.run("loadchecked", msgspec.structs.replace(good, seconds=seconds), Tally)
    refused = tally.status(503)  # which it may, when it is about as much as it can answer
    if tally.wrong or tally.failed > refused or not tally.answered:
        raise RuntimeError(f"capacity: {tally.problem or 'nothing was answered'}")
    return tally.answered / tally.seconds
