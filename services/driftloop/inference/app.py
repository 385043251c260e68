"""The inference service: what it hears, and who answers."""

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.requests import Reply, Request
from driftloop.bus.work import Work
from driftloop.inference.handlers import Scoring
from driftloop.inference.http import create_app
from driftloop.inference.predict import Predictor
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.versions import Versions
from driftloop.runtime.service import Service, Wired


async def wire(settings: InferenceSettings, bus: Bus) -> Wired:
    """Hear stage changes, valid rows and requests."""
    versions = Versions(bus, Artifacts(bus), settings.sessions)
    scoring = Scoring(bus, versions, settings.shadow_seconds)
    predictor = Predictor(bus, versions)

    async def infer(request: Request) -> Reply:
        model = request.subject.split(".")[1]
        answer = await predictor.answer(
            model, request.headers.get("content-type", ""), request.payload
        )
        return Reply(payload=answer.body, headers={"content-type": answer.content_type})

    await bus.hear("events.*.model.*", versions.heard)
    await bus.hear("events.*.shadow.*", versions.heard)
    await versions.refresh_all()
    await bus.serve("infer.*", infer)
    valid = Work(
        stream="ROWS",
        subjects=("rows.*.valid.*",),
        durable="inference-scored",
        handler=scoring.score,
        group=settings.group,
        ack_wait=settings.ack_seconds,
    )
    return Wired(
        tasks=[bus.work(valid), versions.keep_current(settings.refresh_seconds)],
        http=create_app(predictor, settings.body_bytes),
        problem=versions.problem,
    )


SERVICE = Service(name="inference", settings=InferenceSettings, wire=wire)
