"""The inference service wired in this process behind its real servers, and a model of every type.

The model has numbers, integers, categories, a boolean and missing values; it is fitted and
converted as the trainer does it. `matrix_of_rows` codes rows by hand, so that a test does not
trust the code it tests.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts.batches import matrix_column
from driftloop.contracts.events import Dataset, Manifest, ModelPromoted
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState
from driftloop.inference.app import wire
from driftloop.inference.core.queue import Queue, Read
from driftloop.inference.settings import InferenceSettings
from driftloop.local.ports import free_port
from driftloop.modelspec.check import check
from driftloop.modelspec.spec import Feature, Registered, Spec, Target
from driftloop.runtime.http import operations
from driftloop.runtime.serve import http_server
from driftloop.runtime.service import Wired
from driftloop.runtime.settings import Shared
from driftloop.trainer import estimators
from driftloop.trainer.dataset import Rows, snapshot
from driftloop.trainer.fitting import answer, convert
from tests.support.tiny_models import Tiny, manifest, state

Matrix = NDArray[np.float32]
Row = dict[str, Any]
DEADLINE: Final = 15.0
MIXED: Final = "parcels"
CLASSES: Final = ("early", "on time", "late")
CARRIERS: Final = ("AA", "DL", "Ü 9")
SIZES: Final = ("small", "large")
NAN: Final = float("nan")
NOTHING: Final = Dataset(stream="OUTCOMES", first_seq=1, last_seq=1, rows=1, sha256="")


class Running(NamedTuple):
    """The service wired in this process, an HTTP client of it, and the ports of both servers."""

    wired: Wired
    http: httpx.AsyncClient
    port: int
    grpc_port: int


@contextlib.asynccontextmanager
async def running(url: str, **settings: Any) -> AsyncIterator[Running]:
    """The service on the broker at `url`; `grpc_port=0` starts the gRPC server, too."""
    if settings.get("grpc_port") == 0:
        settings["grpc_port"] = free_port()
    grpc_port = settings.get("grpc_port", -1)
    bus = await Bus.open(url, "inference", layout=Layout())
    wired = await wire(InferenceSettings(nats_url=url, **{"refresh_seconds": 0.2, **settings}), bus)
    tasks = [asyncio.create_task(task) for task in wired.tasks]
    await bus.start()
    shared = Shared(port=free_port())
    assert wired.access is not None
    app = operations("inference", wired.problem, wired.access, wired.http)
    server = http_server(app, shared, wired.hot)
    await server.start()
    try:
        base = f"http://127.0.0.1:{shared.port}"
        async with httpx.AsyncClient(base_url=base, timeout=DEADLINE) as http:
            yield Running(wired, http, shared.port, grpc_port)
    finally:
        bus.stopping.set()
        await asyncio.gather(*tasks)
        await server.stop()
        assert wired.close is not None
        await wired.close()
        await bus.close()


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition, or fail with `what`."""
    deadline = time.monotonic() + DEADLINE
    while not await true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def register(bus: Bus, made: Spec) -> None:
    """What the registry does with a spec."""
    revision = (await bus.specs.read(made.name)).revision
    registered = Registered(spec=made, revision=revision + 1, by="test", at=0.0)
    await bus.specs.write(made.name, registered, revision)


async def decide(bus: Bus, made: ModelState) -> None:
    """What the registry does with a promotion: state first, then the event."""
    revision = (await bus.models.read(made.model)).revision
    await bus.models.write(made.model, made, revision)
    run = f"run-{revision}"
    await bus.emit(
        ModelPromoted(
            model=made.model,
            run=run,
            version=made.champion,
            previous=0,
            model_sha256="",
            reason="test",
        )
    )


def mixed_spec(name: str = MIXED) -> Spec:
    """A feature of each type, with and without bounds, nullable or not, open or closed."""
    return check(
        Spec(
            name=name,
            task="classification",
            target=Target(classes=CLASSES),
            features=(
                Feature(name="distance", min=0, max=1000),
                Feature(name="hour", type="integer", min=0, max=23),
                Feature(name="carrier", type="category", categories=CARRIERS, unseen="accept"),
                Feature(name="size", type="category", categories=SIZES, nullable=True),
                Feature(name="fragile", type="boolean"),
                Feature(name="wind", nullable=True),
            ),
        )
    )


def mixed_rows(count: int, seed: int = 0) -> list[Row]:
    """Rows that the spec accepts, some of them with missing values and unknown carriers."""
    random = np.random.default_rng(seed)
    carriers, sizes = (*CARRIERS, "nobody knows"), (*SIZES, None)
    return [
        {
            "distance": round(float(random.uniform(0, 1000)), 3),
            "hour": int(random.integers(0, 24)),
            "carrier": carriers[int(random.integers(0, 4))],
            "size": sizes[int(random.integers(0, 3))],
            "fragile": bool(random.integers(0, 2)),
            "wind": None if random.random() < 0.3 else round(float(random.normal()), 4),
        }
        for _ in range(count)
    ]


def matrix_of_rows(rows: Sequence[Row]) -> Matrix:
    """The model input of mixed rows, coded by hand."""
    carriers, sizes = {c: i for i, c in enumerate(CARRIERS)}, {s: i for i, s in enumerate(SIZES)}
    return np.array(
        [
            [
                row["distance"],
                row["hour"],
                carriers.get(row["carrier"], -1),
                NAN if row["size"] is None else sizes[row["size"]],
                float(row["fragile"]),
                NAN if row["wind"] is None else row["wind"],
            ]
            for row in rows
        ],
        dtype=np.float32,
    )


class Mixed(NamedTuple):
    """A fitted estimator of the mixed rows, the same as ONNX, and its training rows as Parquet."""

    model: Tiny
    snapshot: bytes
    training: Matrix

    def manifest(self, version: int, name: str = MIXED) -> Manifest:
        """Its manifest, which names the snapshot."""
        names = tuple(feature.name for feature in mixed_spec().features)
        made = manifest(version, self.model.onnx, model=name, features=names, width=len(CLASSES))
        return msgspec.structs.replace(made, snapshot_sha256=digest(self.snapshot))

    def answers(self, rows: Sequence[Row]) -> Matrix:
        """What scikit-learn says to rows."""
        return answer(self.model.estimator, matrix_of_rows(rows), CLASSES)


@cache
def mixed(seed: int = 0) -> Mixed:
    """The trainer's default estimator, fitted on mixed rows."""
    matrix = matrix_of_rows(mixed_rows(1_500, seed + 100))
    wind = np.nan_to_num(matrix[:, 5], nan=0.5)
    score = matrix[:, 0] / 400 + matrix[:, 1] / 12 + matrix[:, 2] * (1 - matrix[:, 4]) - wind
    label = np.digitize(score + seed, np.quantile(score + seed, [0.33, 0.66]))
    estimator: Any = estimators.build("default", {"max_iter": 20}, "classification", seed)
    estimator.fit(matrix, label)
    onnx = convert(estimator, matrix.shape[1], CLASSES)
    return Mixed(Tiny(estimator, onnx), _snapshot(matrix, label), matrix)


def _snapshot(matrix: Matrix, label: NDArray[Any]) -> bytes:
    """Training rows as the trainer keeps them."""
    columns = {"features": matrix_column(matrix), "label": pa.array(label.astype(np.float64))}
    part = Rows(dataset=NOTHING, table=pa.table(columns))
    made = snapshot([part])
    assert pq.read_table(io.BytesIO(made)).num_rows == len(matrix)
    return made


async def serve_mixed(bus: Bus, *seeds: int, name: str = MIXED, champion: int = 1) -> list[Mixed]:
    """Register the mixed spec and promote a model of each seed, versions from 1 on."""
    made = [mixed(seed) for seed in seeds or (0,)]
    await register(bus, mixed_spec(name))
    store = Artifacts(bus)
    for one in made:
        await store.put(one.model.onnx)
        await store.put(one.snapshot)
    manifests = [one.manifest(at, name) for at, one in enumerate(made, 1)]
    await decide(bus, state(champion, *manifests))
    return made


def note_put_off(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of bodies that wait unread from now on."""
    sizes: list[int] = []
    put_off = Queue.put_off

    def noted(queue: Queue, size: int, read: Read) -> None:
        sizes.append(size)
        put_off(queue, size, read)

    monkeypatch.setattr(Queue, "put_off", noted)
    return sizes
