"""The newest promotion of a model that the log of events proves."""

from driftloop.artifacts import signing
from driftloop.bus.bus import Bus
from driftloop.contracts import subjects
from driftloop.contracts.events import ModelPromoted, ModelRolledBack


async def newest_number(bus: Bus, model: str) -> int:
    """The number of a model's newest promotion or roll-back with a valid signature; 0 without one.

    Without keys signatures are not looked at.
    """
    newest = 0
    for kind in (ModelPromoted.kind, ModelRolledBack.kind):
        last = await bus.log.last("EVENTS", subjects.event(model, kind))
        said = last.event() if last is not None else None
        if isinstance(said, ModelPromoted | ModelRolledBack):
            promotion = signing.promotion_of(said)
            if not signing.promotion_problem(bus.trust, promotion):
                newest = max(newest, promotion.number)
    return newest
