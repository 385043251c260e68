"""Wires the console: it hears every event and measurement, and says nothing but orders."""

from driftloop.bus.bus import Bus
from driftloop.console.handlers import Console
from driftloop.console.http import RULES, create_app, tell
from driftloop.console.login import COOKIE
from driftloop.console.notify.notifier import notifier
from driftloop.console.orders import Orders
from driftloop.console.settings import ConsoleSettings
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.service import Service, Wired


async def wire(settings: ConsoleSettings, bus: Bus) -> Wired:
    """What the console hears, and its pages."""
    console = Console(bus, settings)
    access = Access(bus, settings)
    notify = notifier(bus, settings.notify, settings.public_url, settings.docs_url)
    app = create_app(console, Orders(bus, settings), access)
    return Wired(
        tasks=[
            console.hear_events(),
            console.hear_stats(),
            console.read_states(),
            console.send(),
            console.look(),
            access.run(),
            *(notify.tasks() if notify else ()),
        ],
        http=Guarded(app, access, RULES, tell, COOKIE),
        access=access,
        note=notify.note if notify else lambda: "",
    )


SERVICE = Service(name="console", settings=ConsoleSettings, wire=wire)
