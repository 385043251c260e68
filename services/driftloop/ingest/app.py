"""The ingest service: its two doors, and what it watches."""

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.requests import Reply, Request
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.contracts.requests import BATCH_ID
from driftloop.ingest.handlers import Intake, counted, refused
from driftloop.ingest.http import RULES, create_app
from driftloop.ingest.lanes import Lanes
from driftloop.ingest.level import What
from driftloop.ingest.pressure import Room
from driftloop.ingest.settings import IngestSettings
from driftloop.runtime import traces
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.service import Service, Wired


async def wire(settings: IngestSettings, bus: Bus) -> Wired:
    """Hear rows and labels over HTTP and NATS; watch how far validation is behind."""
    lanes = Lanes(bus, settings.live_rows, settings.max_lag)
    room = Room(settings.held_bytes)
    intake = Intake(bus, settings, lanes)

    async def accept(what: What, request: Request) -> Reply:
        model = request.subject.split(".")[1]
        kind = request.headers.get("content-type", ARROW)
        key = request.headers.get(BATCH_ID, "")
        caller = request.headers.get("traceparent", "")
        with (
            counted(what),
            traces.entering(f"ingest.*.{what}", caller, model=model) as span,
            room.hold(len(request.payload)),
        ):
            accepted = await intake.accept(
                what, model, kind, request.payload, key, span.traceparent
            )
        return Reply(payload=msgspec.msgpack.encode(accepted), headers={"content-type": MSGPACK})

    async def rows(request: Request) -> Reply:
        return await accept("rows", request)

    async def labels(request: Request) -> Reply:
        return await accept("labels", request)

    await bus.serve("ingest.*.rows", rows, lambda _: refused("rows"))
    await bus.serve("ingest.*.labels", labels, lambda _: refused("labels"))
    access = Access(bus, settings)
    http = Guarded(create_app(intake, room, settings.max_body), access, RULES)
    seconds = settings.lag_seconds
    tasks = [lanes.watch(seconds), intake.watch(seconds), access.run()]
    return Wired(tasks=tasks, http=http, access=access, problem=intake.problem)


SERVICE = Service(name="ingest", settings=IngestSettings, wire=wire)
