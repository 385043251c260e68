"""Asks the operator API for all that a report tells of one model."""

from typing import TYPE_CHECKING, Final

import msgspec

from driftloop.console.api.shapes import Costs, Data, DataOf, Events, Model, Timeline
from driftloop.contracts.facts import Fact

if TYPE_CHECKING:
    from driftloop.cli.api import Api

PAGE: Final = 1_000
MOST: Final = 20_000
"""Events of a report, the newest."""
POINTS: Final = 240


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of the console about one model. `facts` are in the order of the log, from `since`
    on (ISO 8601; "" is all); `older` says that there are more than fit.
    """

    model: Model
    timeline: Timeline
    data: DataOf | None
    costs: Costs
    facts: tuple[Fact, ...]
    since: str = ""
    older: bool = False


def gather(api: "Api", name: str, since: float, since_text: str) -> Gathered:
    """All answers about a model since a wall time (seconds since 1970, and the same as ISO 8601).

    Raises as `Api.get`.
    """
    model = api.get(f"/api/models/{name}", Model)
    facts, clock, older = _events(api, name, since_text)
    query = {"since": clock, "points": POINTS}
    timeline = api.get(f"/api/models/{name}/timeline", Timeline, query)
    data = api.get("/api/data", Data, {"model": name})
    costs = api.get(f"/api/models/{name}/costs", Costs, {"since": f"{since:.3f}"})
    return Gathered(
        model=model,
        timeline=timeline,
        data=next((one for one in data.models if one.model == name), None),
        costs=costs,
        facts=tuple(facts),
        since=since_text,
        older=older,
    )


def _events(api: "Api", name: str, since: str) -> tuple[list[Fact], int, bool]:
    """Events since a wall time, the clock of the data then (0: from the start), and whether there
    are more than are read.
    """
    found: list[Fact] = []
    before = 0
    while True:
        query: dict[str, str | int] = {"model": name, "limit": PAGE, "before": before}
        page = api.get("/api/events", Events, query)
        for told in page.events:
            if since and told.time < since:
                return found[::-1], told.event.data_time, False
            if len(found) == MOST:
                return found[::-1], 0, True
            found.append(told)
        before = page.before
        if not before:
            return found[::-1], 0, False
