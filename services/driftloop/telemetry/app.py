"""Wiring of telemetry."""

from driftloop.bus.bus import Bus
from driftloop.contracts.events import SpecRegistered
from driftloop.contracts.requests import QUERY_SQL
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.service import Service, Wired
from driftloop.telemetry import handlers
from driftloop.telemetry.handlers import Answers, work
from driftloop.telemetry.http import RULES, http_app, tell
from driftloop.telemetry.settings import TelemetrySettings
from driftloop.telemetry.store import Store


async def wire(settings: TelemetrySettings, bus: Bus) -> Wired:
    """Hears everything, and answers questions in SQL."""
    store = Store(settings, bus)
    answers = Answers(store, bus.connection.nc.max_payload)
    hears = [
        work(
            store,
            "ROWS",
            "telemetry-rows",
            handlers.row_batch,
            "rows.*.valid.*",
            "rows.*.quarantined.*",
        ),
        work(store, "LABELS", "telemetry-labels", handlers.label_batch, "labels.*.received.*"),
        work(store, "SCORED", "telemetry-scored", handlers.scored_batch, "scored.*.*"),
        work(store, "OUTCOMES", "telemetry-outcomes", handlers.outcome_batch, "outcomes.*.*"),
        work(store, "EVENTS", "telemetry-events", handlers.event, "events.>"),
        work(store, "STATS", "telemetry-stats", handlers.stat, "stats.>"),
        work(store, "DEAD", "telemetry-dead", handlers.dead, "dead.*.*"),
    ]
    await bus.control({SpecRegistered: answers.registered})
    await bus.serve(QUERY_SQL, answers.sql)
    access = Access(bus, settings)
    return Wired(
        tasks=[store.keep_open(), access.run(), *(bus.work(heard) for heard in hears)],
        http=Guarded(http_app(answers), access, RULES, tell),
        access=access,
        problem=store.problem,
        close=store.close,
    )


SERVICE = Service(name="telemetry", settings=TelemetrySettings, wire=wire)
