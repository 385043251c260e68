"""Wires the console: it hears every event and measurement, and says nothing but orders."""

from driftloop.bus.bus import Bus
from driftloop.console.handlers import Console
from driftloop.console.http import RULES, create_app, tell
from driftloop.console.login import COOKIE
from driftloop.console.settings import ConsoleSettings
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.service import Service, Wired


async def wire(settings: ConsoleSettings, bus: Bus) -> Wired:
    """What the console hears, and its pages."""
    console = Console(bus, settings)
    access = Access(bus, settings)
    app = create_app(console, access)
    return Wired(
        tasks=[console.hear_events(), console.hear_stats(), console.refresh(), access.run()],
        http=Guarded(app, access, RULES, tell, COOKIE),
        access=access,
    )


SERVICE = Service(name="console", settings=ConsoleSettings, wire=wire)
