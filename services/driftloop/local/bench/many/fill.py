"""Registers many models with a champion each, as the registry and the trainer leave them."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.events import Dataset, Manifest
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Version
from driftloop.local.bench.many.models import CLASSES, Known
from driftloop.modelspec.spec import Registered

AT_ONCE: Final = 16
NOTHING: Final = Dataset(stream="OUTCOMES", first_seq=0, last_seq=0, rows=0, sha256="")


async def fill(bus: Bus, models: Iterable[Known]) -> None:
    """Keep spec, artifact and state of each model."""
    store, free = Artifacts(bus), asyncio.Semaphore(AT_ONCE)

    async def one(model: Known) -> None:
        async with free:
            data = model.onnx()
            await store.put(data)
            registered = Registered(spec=model.spec(), revision=1, by="bench", at=time.time())
            await bus.specs.write(model.name, registered, 0)
            await bus.models.write(model.name, state(model, data), 0)

    async with asyncio.TaskGroup() as tasks:
        for model in models:
            tasks.create_task(one(model))


def state(model: Known, data: bytes) -> ModelState:
    """The registry's state of a model whose first version is champion."""
    version = Version(
        manifest=_manifest(model, data), manifest_sha256="", run="bench", stage="champion"
    )
    return ModelState(
        model=model.name,
        champion=1,
        champion_since_scored=1,
        champion_since_outcomes=1,
        next_version=2,
        versions={1: version},
    )


def _manifest(model: Known, data: bytes) -> Manifest:
    """What services read of a manifest; there was no training in the loop to tell of."""
    return Manifest(
        model=model.name,
        version=1,
        model_sha256=digest(data),
        model_bytes=len(data),
        train=NOTHING,
        holdout=NOTHING,
        holdout_answers_sha256="",
        snapshot_sha256="",
        spec_revision=1,
        features=model.features,
        width=len(CLASSES),
        estimator="",
        window="",
        metrics={},
        seconds=0.0,
        cpu_seconds=0.0,
        environment={},
    )
