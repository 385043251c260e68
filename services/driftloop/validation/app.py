"""The validation service: what it hears, and who judges."""

from driftloop.bus.bus import Bus
from driftloop.bus.work import Work
from driftloop.contracts.events import CandidateTrained
from driftloop.runtime.service import Service, Wired
from driftloop.validation.handlers import RowChecks
from driftloop.validation.live import LiveGates
from driftloop.validation.offline import OfflineGate
from driftloop.validation.settings import ValidationSettings


async def wire(settings: ValidationSettings, bus: Bus) -> Wired:
    """Hears received rows, candidates and, for their shadows, outcomes; says rows and verdicts."""
    checks = RowChecks(bus, settings.batch_bytes)
    received = Work(
        stream="ROWS",
        subjects=("rows.*.received.*",),
        durable="validation-rows",
        handler=checks.check,
        group=settings.group,
        ack_wait=5.0,  # after a crash the rows in hand wait so long; a second look does no harm
    )
    gate = OfflineGate(bus)
    await bus.control({CandidateTrained: gate.on_candidate})
    return Wired(tasks=[bus.work(received), LiveGates(bus).run()], close=gate.close)


SERVICE = Service(name="validation", settings=ValidationSettings, wire=wire)
