"""Registers many models with a champion each, as the registry and the trainer leave them."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.state import ModelState, Version
from driftloop.local.bench.many.models import Known
from driftloop.local.bench.ours import bare_manifest
from driftloop.modelspec.spec import Registered

AT_ONCE: Final = 16


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
    manifest = bare_manifest(model.name, 1, data, model.features)
    version = Version(manifest=manifest, manifest_sha256="", run="bench", stage="champion")
    return ModelState(
        model=model.name,
        champion=1,
        champion_since_scored=1,
        champion_since_outcomes=1,
        next_version=2,
        versions={1: version},
    )
