"""Ten times what the service can answer: how late are those answered, how soon is it over?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from driftloop.local.bench.models import fitted
from driftloop.local.bench.samples import quantile
from driftloop.local.bench.stress import job
from driftloop.local.bench.stress.capacity import capacity
from driftloop.local.bench.stress.counting import SLICE_SECONDS
from driftloop.local.bench.stress.job import Job, Phase, Slice, Tally
from driftloop.local.bench.stress.results import Condition, Visit, of_tally
from driftloop.local.bench.stress.scene import Scene, Times
from driftloop.local.bench.stress.stage import Stage, Watch, chosen_rows, rightly
from driftloop.local.bench.workloads import Workload

TIMES: Final = 10
STEADY_SHARE: Final = 0.5
CONNECTIONS: Final = 512
USUAL: Final = 0.9
"""Share of the steady slices that are as quick as what counts as back to steady."""


class Overload(Scene):
    """Half of what the service can answer, and ten times as much as it can."""

    conditions = (
        Condition("half capacity"),
        Condition("ten times capacity", "half capacity"),
    )

    def __init__(self, workload: Workload, model: str, kept: Path, times: Times) -> None:
        super().__init__(workload, model, kept, times)
        self._model = fitted(model, kept)
        self._job: Job | None = None
        self._capacity = 0.0
        self._usual_ms = 0.0

    def artifacts(self) -> list[bytes]:
        """One version."""
        return [self._model.path.read_bytes()]

    async def begin(self, stage: Stage) -> None:
        """Find how many requests a second it answers, all connections of the workload busy."""
        workload = self.workload
        self._job = rightly(stage, *chosen_rows([self._model], workload.bodies, workload.rows))
        await stage.warm(self._job, self.times.warm)
        self._capacity = await capacity(self._job, self.times.seconds)

    async def visit(self, stage: Stage, condition: str) -> Visit:
        """Load at half of it; or at ten times of it, and then at half of it."""
        assert self._job is not None
        seconds = self.times.seconds
        half = Phase(seconds=seconds, rate=self._capacity * STEADY_SHARE)
        over = Phase(seconds=seconds, rate=self._capacity * TIMES)
        overloaded = condition == "ten times capacity"
        phases = [over, half] if overloaded else [half]
        before, watch = stage.resident(), Watch(stage)
        task = msgspec.structs.replace(self._job, phases=phases, connections=CONNECTIONS)
        first, *rest = await job.run("loadopen", task, list[Tally])
        visit = of_tally(first)
        figures = {"offered/s": phases[0].rate, **visit.figures}
        if rest:
            figures |= {"refused/s": first.status(503) / first.seconds}
            figures |= {"refused p99 ms": first.refused_p99_ms}
            found = back(rest[0].slices, self._usual_ms)
            if found is not None:
                figures["steady again after s"] = found
        else:
            self._usual_ms = usual(first.slices)
        figures |= {"RSS MB before": before, "peak": watch.peak, "after": stage.resident()}
        counts = visit.counts | _statuses(first) | {"unsent": first.unsent}
        problems = [one.problem for one in (first, *rest) if one.failed or one.wrong]
        return await watch.end(Visit(figures=figures, counts=counts, problems=problems))

    def totals(self) -> dict[str, float]:
        """What the rates are shares of."""
        return {"capacity, requests/s": self._capacity}


def usual(slices: Sequence[Slice]) -> float:
    """A p99 (ms) that most tenths of a second keep to without trouble."""
    return quantile(sorted(one.p99_ms for one in slices if one.answered), USUAL)


def back(slices: Sequence[Slice], usual_ms: float) -> float | None:
    """Seconds from the end of trouble to the end of the first tenth of a second like a usual one.

    Such a one has answers, refusals none, and a p99 of at most `usual_ms`. None if there is none.
    """
    for at, one in enumerate(slices, 1):
        if one.answered and not one.refused and one.p99_ms <= usual_ms:
            return at * SLICE_SECONDS
    return None


def _statuses(tally: Tally) -> dict[str, int]:
    known = sorted({status for kind in tally.statuses.values() for status in kind})
    return {f"status {status}": tally.status(status) for status in known if status}
