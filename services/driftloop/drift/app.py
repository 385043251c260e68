"""Wiring of drift."""

from driftloop.bus.bus import Bus
from driftloop.drift.handlers import Drift
from driftloop.drift.settings import DriftSettings
from driftloop.runtime.service import Service, Wired


async def wire(settings: DriftSettings, bus: Bus) -> Wired:
    """Hears scored rows and outcomes; says drift detected and performance degraded."""
    return Wired(tasks=[Drift(bus, settings).run()])


SERVICE = Service(name="drift", settings=DriftSettings, wire=wire, unused=())
