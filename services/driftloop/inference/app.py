"""The inference service: what it hears, and who answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.work import Work
from driftloop.contracts.subjects import BACKLOG, LIVE
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.queue import Bounds
from driftloop.inference.core.serving import Serving
from driftloop.inference.explain import Explainer
from driftloop.inference.handlers import Scoring
from driftloop.inference.http import RULES, create_app, tell
from driftloop.inference.plain.describe import describer
from driftloop.inference.plain.nats import NatsRequests
from driftloop.inference.prediction_log import PredictionLog
from driftloop.inference.routes import router
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.v2.service import V2
from driftloop.inference.versions import Versions
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.http1 import Limits, Router
from driftloop.runtime.service import Hot, Service, Wired

GRACE_SECONDS: Final = 2.0


async def wire(settings: InferenceSettings, bus: Bus) -> Wired:
    """Hear stage changes, valid rows and requests."""
    artifacts = Artifacts(bus)
    versions = Versions(bus, artifacts, settings)
    log = PredictionLog(bus, versions, settings)
    serving = Serving(bus, versions)
    engine = _engine(settings, serving, log)
    explainer = Explainer(artifacts)
    v2 = V2(engine, versions, explainer, versions.problem, settings.model_control)
    scoring = Scoring(bus, versions, settings.shadow_seconds)

    await bus.hear("events.*.model.*", versions.heard)
    await bus.hear("events.*.shadow.*", versions.heard)
    await versions.refresh_all()
    await NatsRequests(bus, engine).start()
    access = Access(bus, settings)
    grpc = await _grpc(settings, v2, engine, access)

    async def close() -> None:
        if grpc is not None:
            await grpc.stop(GRACE_SECONDS)
        engine.close()
        await log.close()
        await versions.close()

    return Wired(
        tasks=[
            bus.work(*_valid_rows(settings, scoring)),
            versions.keep_current(settings.refresh_seconds),
            serving.keep_current(settings.refresh_seconds),
            log.run(),
            access.run(),
        ],
        http=Guarded(create_app(describer(bus, versions), v2), access, RULES, tell),
        hot=_hot(settings, router(engine, v2, explainer, access)),
        access=access,
        problem=versions.problem,
        note=versions.note,
        close=close,
    )


def _engine(settings: InferenceSettings, serving: Serving, log: PredictionLog) -> Engine:
    bounds = Bounds(settings.queue_rows, settings.run_rows, settings.queue_ms / 1000)
    return Engine(serving, bounds, log, settings.cache_mb << 20, settings.busy_poll_ms / 1000)


def _valid_rows(settings: InferenceSettings, scoring: Scoring) -> Iterator[Work]:
    """Valid rows, the live lane first."""
    for lane, durable in ((LIVE, "inference-scored"), (BACKLOG, "inference-backlog")):
        yield Work(
            stream="ROWS",
            subjects=(f"rows.*.valid.{lane}",),
            durable=durable,
            handler=scoring.score,
            group=settings.group,
            ahead=2,  # the loop reads and writes while a thread runs the model
            ack_wait=settings.ack_seconds,
        )


def _hot(settings: InferenceSettings, routes: Router) -> Hot:
    return Hot(
        router=routes,
        limits=Limits(body_bytes=settings.body_bytes, connections=settings.connections),
        cors=tuple(filter(None, settings.cors_origins.replace(" ", "").split(","))),
        compress=settings.compress,
    )


async def _grpc(settings: InferenceSettings, v2: V2, engine: Engine, access: Access) -> Any:
    """The gRPC server if it is on; only then protobuf is loaded, which costs memory."""
    if settings.grpc_port < 0:
        return None
    from driftloop.inference.grpc_v2.server import GrpcServer, Tls

    tls = Tls(*_files(settings.tls_key, settings.tls_cert)) if settings.tls_cert else None
    server = GrpcServer(
        v2,
        settings.host,
        settings.grpc_port,
        max_message_bytes=settings.body_bytes,
        engine=engine,
        access=access,
        tls=tls,
        reuse_port=settings.workers > 1,
    )
    await server.start()
    return server


def _files(*names: str) -> tuple[bytes, bytes]:
    key, certificate = (Path(name).read_bytes() for name in names)
    return key, certificate


def _ports(settings: InferenceSettings) -> tuple[int, ...]:
    return tuple(port for port in (settings.port, settings.grpc_port) if port > 0)


SERVICE = Service(
    name="inference",
    settings=InferenceSettings,
    wire=wire,
    workers=lambda settings: settings.workers,
    ports=_ports,
)
