"""Runs a stress workload: every repeat visits every condition in turn."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from driftloop.local.bench.stress.hostile import Hostile
from driftloop.local.bench.stress.overload import Overload
from driftloop.local.bench.stress.results import StressResult, Visit, result
from driftloop.local.bench.stress.scene import Scene, Times
from driftloop.local.bench.stress.shadows import Shadows
from driftloop.local.bench.stress.stage import staged
from driftloop.local.bench.stress.swaps import ColdSwaps, Swaps
from driftloop.local.bench.workloads import Workload
from driftloop.local.nats import NatsServer

SCENES: Final[dict[str, type[Scene]]] = {
    "swaps": Swaps,
    "swaps-cold": ColdSwaps,
    "shadows": Shadows,
    "overload": Overload,
    "hostile": Hostile,
}
WITH_WRK: Final = ("swaps", "swaps-cold")


def run_stress(
    workload: Workload, model: str, kept: Path, times: Times, tell: Callable[[str], None]
) -> StressResult:
    """Start NATS and the service for this workload alone; `kept` is the folder of the models.

    Raises `RuntimeError` where the service or a load client failed.
    """
    tell(f"{workload.name}: models, made or taken from {kept}")
    scene = SCENES[workload.name](workload, model, kept, times)
    artifacts = scene.artifacts()
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
        nats = NatsServer(Path(folder) / "nats", port=0)
        try:
            nats.start()
            return asyncio.run(
                _run(scene, workload, model, artifacts, nats, Path(folder), times, tell)
            )
        finally:
            nats.stop()


async def _run(
    scene: Scene,
    workload: Workload,
    model: str,
    artifacts: list[bytes],
    nats: NatsServer,
    folder: Path,
    times: Times,
    tell: Callable[[str], None],
) -> StressResult:
    visits: dict[str, list[Visit]] = {condition.name: [] for condition in scene.conditions}
    async with staged(workload, model, artifacts, nats, folder, scene.settings) as stage:
        await scene.begin(stage)
        for repeat in range(times.repeats):
            for condition in scene.conditions:
                tell(f"{workload.name}: repeat {repeat + 1} of {times.repeats}, {condition.name}")
                await stage.make_room()
                visits[condition.name].append(await scene.visit(stage, condition.name))
    return result(workload, scene.conditions, visits, scene.totals(), [])
