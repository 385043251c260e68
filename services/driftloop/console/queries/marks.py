"""What happened to a model, on the clock of its data."""

from collections.abc import Mapping, Sequence
from typing import Final

from driftloop.console.api.shapes import Mark
from driftloop.console.queries.facts import millis, moment, select
from driftloop.console.queries.past import Past
from driftloop.contracts.alarms import Alarm
from driftloop.contracts.facts import Fact
from driftloop.contracts.sql import text

MOST: Final = 2_000
"""Events looked at, the newest."""
UNMARKED: Final = (
    "data.accumulated",
    "letter.dropped",
    "letter.replayed",
    "schedule.due",
    "trigger.declined",
)
"""Kinds that are no turn of the loop, and may be many."""


async def marks(past: Past, model: str) -> tuple[list[Mark], list[Fact]]:
    """The marks of a model's newest events in order, and these events."""
    kinds = ", ".join(map(text, UNMARKED))
    facts = await select(past, model, f"kind NOT IN ({kinds})", MOST, _is_marked)
    clock = await _clock(past, model, [told for told in facts if not told.event.data_time])
    times = data_times(facts, clock)
    return [mark(told, times[told.id]) for told in facts], facts


def _is_marked(told: Fact) -> bool:
    return told.kind not in UNMARKED


def data_times(facts: Sequence[Fact], clock: Mapping[str, int]) -> dict[str, int]:
    """Where each event stands on the clock of the data (milliseconds since 1970; 0: not known).

    What an event does not say itself is that of its cause, or what `clock` has at its wall time, or
    that of the event before it. `facts` are in the order of the log.
    """
    found: dict[str, int] = {}
    last = 0
    for told in facts:
        time = told.event.data_time or found.get(told.causation) or clock.get(told.time) or last
        found[told.id] = time
        last = time or last
    return found


def mark(told: Fact, data_time: int) -> Mark:
    """An event as a mark."""
    event = told.event
    return Mark(
        time=told.time,
        data_time=data_time,
        kind=told.kind,
        text=told.text,
        id=told.id,
        run=told.correlation or getattr(event, "run", ""),
        version=getattr(event, "version", 0),
        since_time=event.since_time if isinstance(event, Alarm) else 0,
    )


async def _clock(past: Past, model: str, facts: Sequence[Fact]) -> dict[str, int]:
    """How far the data was at the wall times of these events, as the label join said then."""
    if not facts:
        return {}
    moments = ", ".join(text(told.time[:23].replace("T", " ")) for told in facts)
    its = text(model)
    sql = (
        "SELECT e.at AS at, j.data_time AS data_time FROM"
        f" (SELECT arrayJoin([{moments}]::Array(DateTime64(3, 'UTC'))) AS at, {its} AS model) AS e"
        f" ASOF JOIN (SELECT at, data_time, model FROM join_stats WHERE model = {its}) AS j"
        " ON e.model = j.model AND e.at >= j.at"
    )
    return {moment(row["at"]): millis(row["data_time"]) for row in await past.ask(sql)}
