"""Wires the console: it hears every event and measurement, and says nothing but orders."""

from driftloop.bus.bus import Bus
from driftloop.console.handlers import Console
from driftloop.console.http import create_app
from driftloop.console.settings import ConsoleSettings
from driftloop.runtime.service import Service, Wired


async def wire(settings: ConsoleSettings, bus: Bus) -> Wired:
    """What the console hears, and its pages."""
    console = Console(bus, settings)
    return Wired(
        tasks=[console.hear_events(), console.hear_stats(), console.refresh()],
        http=create_app(console),
    )


SERVICE = Service(name="console", settings=ConsoleSettings, wire=wire)
