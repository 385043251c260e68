"""What is still on its way: messages that a consumer has not acknowledged, or the join not read."""

from collections.abc import Sequence
from typing import Final

import msgspec

from driftloop.bus.audit.sums import Join
from driftloop.bus.bus import Bus
from driftloop.bus.rights import PARTS
from driftloop.contracts import codec, subjects
from driftloop.contracts.stats import JoinStats

STREAMS: Final = ("ROWS", "LABELS", "SCORED", "OUTCOMES", "DEAD")
CONSUMERS: Final = tuple(
    (stream, name) for part in PARTS.values() for stream, name in part.durables if stream in STREAMS
)
"""The durable consumers that rows and labels pass."""


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of a stream that somebody still has to work on; for feedback at most so many."""

    who: str
    stream: str
    messages: int


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """Where the join of a model stands: what waits in it, and up to where it has read."""

    join: Join = Join()
    outcomes: int = 0
    scored: int = 0
    labels: int = 0
    quarantined: int = 0


async def joining(bus: Bus, model: str) -> Joining | None:
    """What feedback said last of the join of a model; None where it said nothing for a day."""
    last = await bus.log.last("STATS", subjects.stats(JoinStats.kind, model))
    stat = codec.decode_stat(last.payload) if last is not None else None
    if not isinstance(stat, JoinStats):
        return None
    join = Join(waiting_labels=stat.waiting_labels, waiting_predictions=stat.waiting_predictions)
    return Joining(
        join=join,
        outcomes=stat.outcomes_total,
        scored=stat.scored_seq,
        labels=stat.labels_seq,
        quarantined=stat.rows_seq,
    )


async def in_flight(bus: Bus, models: Sequence[str]) -> list[InFlight]:
    """All that is on its way; of what feedback has to read, of these models."""
    found: list[InFlight] = []
    for stream, durable in CONSUMERS:
        behind = await bus.log.lag(stream, durable)
        if behind:
            found.append(InFlight(who=durable, stream=stream, messages=behind))
    for model in models:
        found += await _unread(bus, model)
    return found


async def at_rest(bus: Bus, model: str) -> tuple[int, ...] | None:
    """The last sequences of a model in `STREAMS`, if all of it is handled; None while it is not.

    If they are the same before and after a count, nothing of the model was on its way meanwhile.
    """
    last: dict[str, int] = {}
    for stream, subject in zip(STREAMS, _subjects(model), strict=True):
        found = await bus.log.last(stream, subject)
        last[stream] = found.seq if found is not None else 0
    for stream, durable in CONSUMERS:
        reached = await bus.log.reached(stream, durable)
        if reached.behind and reached.acknowledged < last[stream]:
            return None
    return None if await _unread(bus, model) else tuple(last.values())


def _subjects(model: str) -> tuple[str, ...]:
    """The subjects of a model in `STREAMS`."""
    return (
        f"rows.{model}.*.*",
        subjects.labels(model),
        subjects.scored(model),
        subjects.outcomes(model),
        f"dead.*.{model}",
    )


async def _unread(bus: Bus, model: str) -> list[InFlight]:
    at = await joining(bus, model) or Joining()
    found: list[InFlight] = []
    for stream, subject, read in (
        ("SCORED", subjects.scored(model), at.scored),
        ("LABELS", subjects.labels(model), at.labels),
        ("ROWS", subjects.rows(model, "quarantined", "*"), at.quarantined),
    ):
        last = await bus.log.last(stream, subject)
        if last is not None and last.seq > read:
            found.append(InFlight(who=f"feedback {model}", stream=stream, messages=last.seq - read))
    return found
