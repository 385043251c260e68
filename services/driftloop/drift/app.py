"""Wiring of drift."""

from driftloop.bus.bus import Bus
from driftloop.drift.handlers import Drift
from driftloop.drift.settings import DriftSettings
from driftloop.runtime.service import Service, Wired


async def wire(settings: DriftSettings, bus: Bus) -> Wired:
    """Hears scored rows and outcomes; says drift detected and performance degraded."""
    ownership, drift = bus.ownership(settings.partitions), Drift(bus, settings)
    return Wired(tasks=[ownership.run(drift.own), drift.run()], problem=ownership.problem)


SERVICE = Service(name="drift", settings=DriftSettings, wire=wire, unused=())
