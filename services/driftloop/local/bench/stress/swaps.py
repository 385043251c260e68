"""The champion changes under load: is every answer that of the version it names, and how late?"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from driftloop.inference.session import BASE_BYTES, BYTES_EACH
from driftloop.local.bench import bodies, wrk
from driftloop.local.bench.models import versions
from driftloop.local.bench.stress import job
from driftloop.local.bench.stress.counters import grown
from driftloop.local.bench.stress.job import Job, Tally
from driftloop.local.bench.stress.results import Condition, Visit, of_counts, of_tally
from driftloop.local.bench.stress.scene import Scene, Times
from driftloop.local.bench.stress.stage import Stage, Watch, chosen_rows, rightly, together
from driftloop.local.bench.workloads import Workload

EARLY: Final = 50
"""The swap after which memory is looked at first; what is kept once is there by then."""
BUDGET_MB: Final = 1
SEEN: Final = "versions seen"


class Swaps(Scene):
    """Two versions, both loaded, that change places."""

    conditions = (
        Condition("steady"),
        Condition("swaps", "steady"),
        Condition("steady, wrk"),
        Condition("swaps, wrk", "steady, wrk"),
    )

    def __init__(self, workload: Workload, model: str, kept: Path, times: Times) -> None:
        super().__init__(workload, model, kept, times)
        self._versions = versions(model, kept, range(1, self._count() + 1))
        self._job: Job | None = None
        self._script = Path()
        self._early = self._last = 0.0
        self._swaps = 0

    def artifacts(self) -> list[bytes]:
        """The versions' bytes."""
        return [version.path.read_bytes() for version in self._versions]

    async def begin(self, stage: Stage) -> None:
        """Write the requests for both load clients."""
        workload = self.workload
        rows, expected = chosen_rows(self._versions, workload.bodies, workload.rows)
        self._job = rightly(stage, rows, expected)
        made = bodies.requests("v2", stage.state.model, list(rows))
        self._script = wrk.prepare(stage.folder, workload.name, made)
        await stage.warm(self._job, self.times.warm)

    async def visit(self, stage: Stage, condition: str) -> Visit:
        """Load, and change the champion meanwhile unless it is a steady one."""
        swapping, by_wrk = condition.startswith("swaps"), condition.endswith("wrk")
        seconds = self._seconds(by_wrk)
        before, watch = await stage.counters(), Watch(stage)
        asked = round(seconds * self.times.swap_rate) if swapping else 0
        begun = asyncio.Event()
        load = self._load(stage, seconds, by_wrk, begun)
        visit, _ = await together(load, self._swap(stage, asked, begun))
        after = await stage.counters()
        self._last, self._swaps = stage.resident(), stage.swaps
        if swapping:
            counts = {
                "swaps asked": asked,
                "done": grown("champion_swaps_total", before, after),
                "unloaded": grown("sessions_evicted_total", before, after),
            }
            visit = msgspec.structs.replace(visit, counts=visit.counts | counts)
            if visit.figures.get(SEEN, 2) < 2 <= asked:
                visit.problems.append("one version gave all answers: no swap was seen")
        visit = msgspec.structs.replace(visit, figures=visit.figures | {"RSS MB": self._last})
        return await watch.end(visit)

    def totals(self) -> dict[str, float]:
        """Memory early and late."""
        if not self._early:
            return {}
        return {
            f"RSS MB after swap {EARLY}": self._early,
            f"RSS MB after swap {self._swaps}": self._last,
        }

    def _count(self) -> int:
        return 2

    def _seconds(self, by_wrk: bool) -> float:
        times = self.times
        return times.seconds if by_wrk else times.swaps / times.repeats / times.swap_rate

    async def _load(
        self, stage: Stage, seconds: float, by_wrk: bool, begun: asyncio.Event
    ) -> Visit:
        assert self._job is not None
        if by_wrk:
            begun.set()  # it starts at once
            url, connections = stage.target.address.url, self.workload.in_flight
            return of_counts(await job.run_wrk(self._script, url, connections, seconds))
        task = msgspec.structs.replace(self._job, seconds=seconds)
        tally = await job.run("loadchecked", task, Tally, begun)
        made = of_tally(tally)
        return msgspec.structs.replace(made, figures=made.figures | {SEEN: len(tally.versions)})

    async def _swap(self, stage: Stage, count: int, begun: asyncio.Event) -> None:
        """Change the champion so often, evenly over the load once it has begun."""
        await begun.wait()
        began, known = time.monotonic(), len(self._versions)
        for number in range(1, count + 1):
            await asyncio.sleep(max(0.0, began + number / self.times.swap_rate - time.monotonic()))
            await stage.promote(stage.state.champion % known + 1)
            if stage.swaps == EARLY:
                self._early = stage.resident()


class ColdSwaps(Swaps):
    """More versions than the budget of loaded ones holds, in turn: each is loaded anew."""

    settings: ClassVar[Mapping[str, str]] = {"sessions_mb": str(BUDGET_MB)}

    def _count(self) -> int:
        size = versions(self.model, self.kept, [1])[0].path.stat().st_size
        return max(3, (BUDGET_MB << 20) // (BASE_BYTES + BYTES_EACH * size) + 2)
