"""The validation service: what it hears, and who judges."""

from driftloop.bus.bus import Bus
from driftloop.bus.work import Work
from driftloop.runtime.service import Service, Wired
from driftloop.validation.handlers import RowChecks
from driftloop.validation.settings import Validation


async def wire(settings: Validation, bus: Bus) -> Wired:
    """Hear received rows."""
    checks = RowChecks(bus, settings.batch_bytes)
    received = Work(
        stream="ROWS",
        subjects=("rows.*.received.*",),
        durable="validation-rows",
        handler=checks.check,
        group=settings.group,
    )
    return Wired(tasks=[bus.work(received)])


SERVICE = Service(name="validation", settings=Validation, wire=wire)
