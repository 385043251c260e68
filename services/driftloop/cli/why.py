"""Why a champion is live: a walk along causation ids from its promotion back to the trigger."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from driftloop.contracts.events import ModelPromoted, ModelRolledBack
from driftloop.contracts.facts import Fact

CROWNED: Final = (ModelPromoted, ModelRolledBack)


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The champion (0: none yet), the events that led to it, and what its run has led to since."""

    model: str
    champion: int
    chain: tuple[Fact, ...] = ()
    since: tuple[Fact, ...] = ()


def explain(model: str, facts: Sequence[Fact]) -> Why:
    """The chain behind the newest promotion or roll-back among `facts`, in the order of the log."""
    own = [told for told in facts if told.model == model]
    crowned = [told for told in own if isinstance(told.event, CROWNED)]
    if not crowned:
        return Why(model=model, champion=0)
    last = crowned[-1]
    assert isinstance(last.event, CROWNED)
    path = _path(last, {told.id: told for told in own})
    return Why(
        model=model,
        champion=last.event.version,
        chain=tuple(_with_siblings(path, own)),
        since=tuple(t for t in own if t.seq > last.seq and t.correlation == last.correlation),
    )


def _path(last: Fact, by_id: dict[str, Fact]) -> list[Fact]:
    """From the event without a known cause to `last`; a cause that comes later is no cause."""
    path = [last]
    while (cause := by_id.get(path[-1].causation)) is not None and cause.seq < path[-1].seq:
        path.append(cause)
    return path[::-1]


def _with_siblings(path: list[Fact], facts: Sequence[Fact]) -> list[Fact]:
    """The path, and what else its events led to on the way, such as the start of a fit."""
    ids, runs = {told.id for told in path}, {told.correlation for told in path if told.correlation}
    beside = [
        told
        for told in facts
        if told.id not in ids
        and told.causation in ids
        and told.correlation in runs
        and told.seq < path[-1].seq
    ]
    return sorted([*path, *beside], key=lambda told: told.seq)


def lines(why: Why) -> Iterator[str]:
    """The explanation for a person, one line an event."""
    if not why.champion:
        yield f"{why.model} has no champion yet: no candidate has been promoted."
        return
    runs = list(dict.fromkeys(told.correlation for told in why.chain if told.correlation))
    yield f"Version {why.champion} of {why.model} is live because ({', '.join(runs)}):"
    for number, told in enumerate(why.chain, start=1):
        yield f"{number:>3}. {_when(told)}  {told.kind}: {told.text}"
    if why.since:
        yield "Since then:"
        for told in why.since:
            yield f"     {_when(told)}  {told.kind}: {told.text}"


def _when(told: Fact) -> str:
    return told.time[:19].replace("T", " ")
