"""Wiring of feedback."""

from driftloop.bus.bus import Bus
from driftloop.feedback.handlers import Feedback
from driftloop.feedback.settings import FeedbackSettings
from driftloop.runtime.service import Service, Wired


async def wire(settings: FeedbackSettings, bus: Bus) -> Wired:
    """Hears scored rows, labels and quarantined rows; says outcomes, and labels given up."""
    ownership = bus.ownership(settings.partitions)
    return Wired(
        tasks=[ownership.run(lambda term: Feedback(bus, settings, term).run())],
        problem=ownership.problem,
    )


SERVICE = Service(name="feedback", settings=FeedbackSettings, wire=wire)
