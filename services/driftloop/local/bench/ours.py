"""The inference service with its models: a NATS server of its own, filled as the registry does."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts import requests
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import Dataset, Manifest
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Version
from driftloop.inference.settings import InferenceSettings
from driftloop.local.bench.bodies import NAMES
from driftloop.local.bench.models import Fitted
from driftloop.local.bench.targets import Address, Target
from driftloop.local.bench.workloads import Workload
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.modelspec.spec import Feature, Registered, Spec
from driftloop.modelspec.spec import Target as Labels
from driftloop.runtime.settings import PREFIX

LOG_GB = 16.0
"""Nobody reads what is scored here, so there must be room for all answers of a workload."""
GRPC_SETTING = "grpc_port"
CLASSES = ("0", "1")


def serve(nats: NatsServer, models: Sequence[Fitted]) -> None:
    """Start NATS and make the models its champions: spec, artifact, state."""
    nats.start()
    asyncio.run(_serve(nats.url, models))


async def _serve(url: str, models: Sequence[Fitted]) -> None:
    bus = await opened(url)
    try:
        for model in models:
            await register(bus, model.name, [model.path.read_bytes()])
    finally:
        await bus.close()


async def opened(url: str) -> Bus:
    """The bench on a NATS server."""
    return await Bus.open(url, "bench", layout=Layout(log_gb=LOG_GB))


async def register(bus: Bus, name: str, artifacts: Sequence[bytes]) -> ModelState:
    """Register a model with these versions, from 1 on; the first is champion."""
    store = Artifacts(bus)
    for data in artifacts:
        await store.put(data)
    registered = Registered(spec=spec(name), revision=1, by="bench", at=time.time())
    await bus.specs.write(name, registered, 0)
    versions = {
        number: Version(
            manifest=bare_manifest(name, number, data, NAMES),
            manifest_sha256="",
            run="bench",
            stage="champion",
        )
        for number, data in enumerate(artifacts, 1)
    }
    state = ModelState(model=name, champion=1, next_version=len(versions) + 1, versions=versions)
    await bus.models.write(name, state, 0)
    return state


def spec(name: str) -> Spec:
    """The model's spec: numbers and two classes."""
    return Spec(
        name=name,
        task="classification",
        target=Labels(classes=CLASSES),
        features=tuple(Feature(name=feature) for feature in NAMES),
    )


def bare_manifest(name: str, version: int, data: bytes, features: tuple[str, ...]) -> Manifest:
    """What inference reads of a manifest; there was no training in the loop to tell of."""
    nothing = Dataset(stream="OUTCOMES", first_seq=0, last_seq=0, rows=0, sha256="")
    return Manifest(
        model=name,
        version=version,
        model_sha256=digest(data),
        model_bytes=len(data),
        train=nothing,
        holdout=nothing,
        holdout_answers_sha256="",
        snapshot_sha256="",
        spec_revision=1,
        features=features,
        width=len(CLASSES),
        estimator="",
        window="",
        metrics={},
        seconds=0.0,
        cpu_seconds=0.0,
        environment={},
    )


def require(workload: Workload) -> None:
    """Raise `InvalidInput` if the service has not what a workload asks."""
    if workload.kind == "grpc" and GRPC_SETTING not in InferenceSettings.__struct_fields__:
        raise InvalidInput(
            f"workload: {workload.name}: inference has no setting {GRPC_SETTING}; "
            "accepted: another workload"
        )


def target(
    workload: Workload,
    model: str,
    nats: NatsServer,
    folder: Path,
    name: str = "ours",
    more: Mapping[str, str] | None = None,
) -> Target:
    """The service as the target of a workload, with `more` settings of its own by name."""
    port, grpc_port = free_port(), free_port()
    settings = {
        f"{PREFIX}NATS_URL": nats.url,
        f"{PREFIX}NATS_LOG_GB": str(LOG_GB),
        f"{PREFIX}PORT": str(port),
        f"{PREFIX}LOG_LEVEL": "warning",
    }
    for setting, value in (more or {}).items():
        settings[f"{PREFIX}INFERENCE_{setting.upper()}"] = value
    if GRPC_SETTING in InferenceSettings.__struct_fields__:
        settings[f"{PREFIX}INFERENCE_{GRPC_SETTING.upper()}"] = str(grpc_port)
    http = f"http://127.0.0.1:{port}"
    address = Address(url=f"{http}/v2/models/{model}/infer", encoding="v2")
    if workload.kind == "nats":
        subject = requests.infer(model)
        address = Address(url=nats.url, encoding="msgpack", subject=subject)
    elif workload.kind == "grpc":
        address = Address(url=f"127.0.0.1:{grpc_port}", encoding="grpc")
    elif workload.encoding == "arrow":
        address = Address(url=f"{http}/v1/models/{model}/predict", encoding="arrow")
    return Target(
        name,
        address,
        (sys.executable, "-m", "driftloop.inference"),
        settings=settings,
        log=folder / f"{name}.log".replace(" ", "-"),
    )
