"""Why things are as they are: events in causal order, and the walk from a promotion back."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

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


class Link(NamedTuple):
    """An event of a causal chain, `depth` steps after its first cause (0)."""

    depth: int
    fact: Fact


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


def chain(facts: Sequence[Fact]) -> list[Link]:
    """Each event after its cause and before the next effect of that cause, in the order of the log.

    An event whose cause is not among `facts` is a beginning. A cause that comes later is no cause.
    """
    ordered = sorted({told.id: told for told in facts}.values(), key=lambda told: told.seq)
    by_id = {told.id: told for told in ordered}
    effects: defaultdict[str, list[Fact]] = defaultdict(list)
    waiting: list[Link] = []
    for told in reversed(ordered):
        cause = by_id.get(told.causation)
        if cause is not None and cause.seq < told.seq:
            effects[cause.id].append(told)
        else:
            waiting.append(Link(0, told))
    found: list[Link] = []
    while waiting:
        link = waiting.pop()
        found.append(link)
        waiting += [Link(link.depth + 1, effect) for effect in effects[link.fact.id]]
    return found


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
