"""Shadows misbehave beside the champion: they sleep, are slow, fail, or take ever more memory.

The load is half of what the service can answer: a shadow works where services leave it time, and
on a machine without any, every process takes some from all others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from driftloop.local.bench import processes
from driftloop.local.bench.models import fitted, place_of, run
from driftloop.local.bench.stress import job
from driftloop.local.bench.stress.capacity import capacity
from driftloop.local.bench.stress.counters import grown_by
from driftloop.local.bench.stress.job import Job, Phase, Tally
from driftloop.local.bench.stress.results import Condition, Visit, of_tally
from driftloop.local.bench.stress.scene import Scene, Times
from driftloop.local.bench.stress.stage import Stage, Watch, chosen_rows, rightly
from driftloop.local.bench.workloads import Workload

FAULTS: Final = ("slow", "raises", "leaks")
"""In the order of their versions, from 2 on; the models are those of `faulty`."""
ASLEEP: Final = "asleep"
"""A shadow like the champion, whose process is stopped."""
SHARE: Final = 0.5
MODULE: Final = "driftloop.local.bench.stress.faulty"


class Shadows(Scene):
    """One champion, and no shadow, one that misbehaves, or all of them."""

    conditions = (
        Condition("no shadow"),
        Condition(ASLEEP, "no shadow"),
        *(Condition(fault, "no shadow") for fault in FAULTS),
        Condition("all three", "no shadow"),
    )
    settings: ClassVar[Mapping[str, str]] = {"model_operators": "Loop"}

    def __init__(self, workload: Workload, model: str, kept: Path, times: Times) -> None:
        super().__init__(workload, model, kept, times)
        self._model = fitted(model, kept)
        place = place_of(kept)
        self._files = [place / f"faulty-{fault}.onnx" for fault in FAULTS]
        if not all(file.exists() for file in self._files):
            run(MODULE, place, "faulty", place)
        self._job: Job | None = None

    def artifacts(self) -> list[bytes]:
        """The champion, the faulty ones, and one like the champion."""
        files = (self._model.path, *self._files, self._model.path)
        return [file.read_bytes() for file in files]

    async def begin(self, stage: Stage) -> None:
        """Write the requests, and find how many it can answer."""
        workload = self.workload
        self._job = rightly(stage, *chosen_rows([self._model], workload.bodies, workload.rows))
        await stage.warm(self._job, self.times.warm)
        seconds = self.times.seconds
        phase = Phase(seconds=seconds, rate=SHARE * await capacity(self._job, seconds))
        self._job = msgspec.structs.replace(self._job, phases=[phase])

    async def visit(self, stage: Stage, condition: str) -> Visit:
        """Start the shadows, then load."""
        assert self._job is not None
        known = {fault: [number] for number, fault in enumerate(FAULTS, 2)}
        known["all three"] = [number for numbers in known.values() for number in numbers]
        known[ASLEEP] = [len(FAULTS) + 2]
        await stage.shadow(known.get(condition, []))
        asleep = [shadow.pid for shadow in stage.shadows()] if condition == ASLEEP else []
        for pid in asleep:
            processes.pause(pid, paused=True)
        before, watch = await stage.logged(), Watch(stage)
        (tally,) = await job.run("loadopen", self._job, list[Tally])
        visit = of_tally(tally)
        after = await stage.logged()
        for pid in asleep:
            processes.pause(pid, paused=False)
        dropped = grown_by("shadow_dropped_rows_total", "reason", before, after)
        ended = grown_by("shadow_processes_ended_total", "reason", before, after)
        memory = {"RSS MB": stage.resident(), "shadows' peak RSS MB": watch.shadows}
        return await watch.end(
            msgspec.structs.replace(
                visit,
                figures=visit.figures | memory,
                counts=visit.counts
                | {f"rows dropped: {reason}": rows for reason, rows in dropped.items()}
                | {f"processes ended: {reason}": count for reason, count in ended.items()},
            )
        )
