"""The audit as one answer: all sums of some models, what was dropped, what is on its way."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from driftloop.bus.audit.flight import InFlight, Joining, in_flight, joining
from driftloop.bus.audit.ids import IdSets
from driftloop.bus.audit.pace import FULL, Pace
from driftloop.bus.audit.reading import Progress, Reading
from driftloop.bus.audit.sums import Sum, count, sums
from driftloop.bus.audit.tables import Dropped, dropped, kept
from driftloop.bus.audit.window import Window, window
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Retry

LOOK_SECONDS: Final = 0.5


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found; `since` is when its window begins, empty for all there ever was."""

    since: str
    sums: list[Sum]
    dropped: list[Dropped]
    in_flight: list[InFlight]
    unreadable: int
    ids: int
    seconds: float

    @property
    def closes(self) -> bool:
        """Whether every sum closes."""
        return all(one.closes for one in self.sums)


class _Read(NamedTuple):
    """What the streams said of one model, and feedback before and after they were read."""

    model: str
    numbers: dict[str, int]
    reading: Reading
    join: Joining
    moved: bool


async def settled(
    bus: Bus,
    models: Sequence[str],
    seconds: float,
    waits: Callable[[list[InFlight]], None] = lambda _: None,
) -> None:
    """Wait until nothing is in flight, so many seconds at most; `waits` hears what still is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = await in_flight(bus, models)
        waits(found)
        if not found:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def audit(
    bus: Bus,
    models: Sequence[str],
    since: float = 0.0,
    progress: Progress = lambda _: None,
    *,
    pace: Pace = FULL,
    drops: bool = True,
) -> Report:
    """Count everything of these models from `since` (seconds since 1970) on.

    `pace` rests between messages. Without `drops`, what bounds dropped is not looked for, which
    reads every sample of every service in the window.

    Raises `Retry` when the broker, feedback or telemetry does not answer.
    """
    began = time.monotonic()
    span = await window(bus, since)
    flying = await in_flight(bus, models)
    read = [await _read(bus, model, span, progress, pace) for model in models]
    tables = await kept(bus, models, span)
    found: list[Sum] = []
    for one in read:
        copies, join = one.reading.copies, one.join.join
        kept_here = tables.get(one.model, {})
        found += sums(one.model, copies, one.numbers, kept_here, join, whole=span.whole)
        if one.moved:
            flying.append(InFlight(who=f"feedback {one.model}", stream="OUTCOMES", messages=1))
    return Report(
        since=span.text,
        sums=found,
        dropped=await dropped(bus, list(models), span) if drops else [],
        in_flight=flying,
        unreadable=sum(one.reading.unreadable for one in read),
        ids=sum(one.numbers["ids"] for one in read),
        seconds=time.monotonic() - began,
    )


async def _read(bus: Bus, model: str, span: Window, progress: Progress, pace: Pace) -> _Read:
    before = await joining(bus, model)
    ids = 0

    def heard(more: int) -> None:
        nonlocal ids
        ids += more
        progress(more)

    with tempfile.TemporaryDirectory(prefix="driftloop-audit-") as folder:
        sets = IdSets(Path(folder))
        reading = Reading(bus, model, span, sets, pace)
        await reading.read(heard)
        numbers = await asyncio.to_thread(count, sets.slices(), whole=span.whole)
    after = await joining(bus, model)
    if after is None and reading.copies["labels"]:
        raise Retry(
            f"{model}: feedback has not said for a day how many labels wait; is it running?"
        )
    moved = before is not None and after is not None and _differs(before, after)
    return _Read(model, {**numbers, "ids": ids}, reading, before or Joining(), moved)


def _differs(before: Joining, after: Joining) -> bool:
    return (before.join, before.outcomes) != (after.join, after.outcomes)
