"""Rows that validation put into quarantine, watched until it has looked at all that was sent."""

import time
from collections import Counter
from typing import Final

import msgspec

from driftloop.bus.bus import Bus
from driftloop.contracts import headers, subjects

CHECK_SECONDS: Final = 3.0
"""How long validation may stand still before we stop waiting for it."""
MOST_REASONS: Final = 1_000


class Quarantined(msgspec.Struct, kw_only=True):
    """Rows in quarantine by reason, and whether validation saw all that was sent in time."""

    rows: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    all_checked: bool = True

    def add(self, reason: str) -> None:
        """Count one row, by its field and what is wrong with it."""
        self.rows += 1
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            self.reasons[reason] += 1


async def checked(bus: Bus, model: str, lane: subjects.Lane, start: int) -> int:
    """The newest received message, from `start` on, that validation has looked at; 0 for none."""
    states: tuple[subjects.RowState, ...] = ("valid", "quarantined")
    last = [await bus.log.last("ROWS", subjects.rows(model, state, lane)) for state in states]
    positions = [m.headers.get(headers.INPUT, "").rpartition(":")[2] for m in last if m is not None]
    return max((int(at) for at in positions if at.isdigit() and int(at) >= start), default=0)


async def watch(bus: Bus, model: str, start: int) -> Quarantined:
    """Rows quarantined from sequence `start` of ROWS on, once validation is through."""
    found = Quarantined()
    received: dict[subjects.Lane, int] = {}
    for lane in subjects.LANES:
        newest = await bus.log.last("ROWS", subjects.rows(model, "received", lane))
        if newest is not None and newest.seq >= start:
            received[lane] = newest.seq
    if not received:
        return found
    follow = bus.follow("ROWS", (subjects.rows(model, "quarantined", "*"),), start)
    moved, so_far = time.monotonic(), dict.fromkeys(received, 0)
    while True:
        at = {lane: await checked(bus, model, lane, start) for lane in received}
        if at != so_far:
            moved, so_far = time.monotonic(), at
        group = await follow.read(timeout=0.2)
        for message in group:
            for reason in message.batch().column("reason").to_pylist():
                found.add(reason)
        through = all(at[lane] >= last for lane, last in received.items())
        silent = time.monotonic() - moved > CHECK_SECONDS
        if not group and (through or silent):
            found.all_checked = through
            await follow.close()
            return found
