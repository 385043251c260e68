"""What is wrong with a model: an order of what is worse, and sentences a person reads at 3 a.m."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from driftloop.console.api.shapes.live import Tone
from driftloop.console.domain.live import Live
from driftloop.console.domain.standing import Stands
from driftloop.console.domain.times import minute, seconds_of
from driftloop.contracts.facts import clock
from driftloop.contracts.state import ModelState, Run

LOST: Final = 900
"""Rows are missing: the accounting does not close."""
ROLLED_BACK: Final = 600
"""The champion of a day ago was worse than the one before it."""
FAILED: Final = 500
"""The newest run failed."""
NOW: Final = 350
"""From here on somebody has to look now: an alarm of unknown harm with a run at work, and worse."""
WAITS: Final = 300
"""A promotion waits for a person."""
PAUSED: Final = 150
"""An operator holds the loop back."""
SUSPECTED: Final = 100
"""A detector is at half of what makes an alarm, or more."""
EMPTY: Final = 50
"""No version answers yet."""
HANDLED: Final = 40
"""Taken off an alarm that a run is about."""
SUSPICIOUS: Final = 0.5
"""Share of what makes an alarm from which on a detector is suspected."""
ROLLED_BACK_SECONDS: Final = 86_400.0


class Trouble(NamedTuple):
    """How bad something is, and what it is."""

    level: int
    text: str


def troubles(live: Live, state: ModelState, missing: int | None, now: float) -> list[Trouble]:
    """All that is wrong with a model at `now` (seconds since 1970), the worst first.

    `missing` are rows the accounting misses; None if it closes, or is not known. Alarms that are
    silenced do not count.
    """
    found = [
        *_accounting(missing),
        *_alarms(live, state, now),
        *_runs(live, now),
        *_loop(live, state),
    ]
    return sorted(found, key=lambda its: -its.level)


def summed(found: list[Trouble]) -> tuple[int, str]:
    """The number and the sentence of the card: the worst, and how many more there are."""
    if not found:
        return 0, ""
    more = len(found) - 1
    worst = found[0]
    return worst.level + min(more, 9), worst.text + (f" And {more} more." if more else "")


def tone(level: int) -> Tone:
    """Whether a card's number asks for a look now ("bad"), soon ("warn") or not at all."""
    if level <= 0:
        return "quiet"
    return "bad" if level >= NOW else "warn"


def _accounting(missing: int | None) -> Iterator[Trouble]:
    if missing is not None:
        rows = f"{missing:,} rows are" if missing != 1 else "1 row is"
        yield Trouble(LOST, f"The accounting does not close: {rows} missing or too many.")


def _alarms(live: Live, state: ModelState, now: float) -> Iterator[Trouble]:
    for alarm in live.alarms:
        if not state.silences or state.silenced(alarm.detector, now) is None:
            yield _alarm(alarm, state.run)


def _alarm(alarm: Stands, run: Run | None) -> Trouble:
    if run is not None:
        text = f"{alarm.trouble}; a run is at work on it ({run.stage})."
        return Trouble(alarm.level - HANDLED, text)
    return Trouble(alarm.level, f"{alarm.trouble}; no run is at work on it.")


def _runs(live: Live, now: float) -> Iterator[Trouble]:
    back = live.rolled_back
    if back is not None and now - seconds_of(back.time) < ROLLED_BACK_SECONDS:
        event = back.event
        version, previous = getattr(event, "version", 0), getattr(event, "previous", 0)
        yield Trouble(
            ROLLED_BACK,
            f"Version {previous} was rolled back to version {version} at {minute(back.time)}:"
            f" {getattr(event, 'reason', '')}.",
        )
    ended = live.finished
    if ended is not None and getattr(ended.event, "verdict", "") == "failed":
        reason = getattr(ended.event, "reason", "")
        yield Trouble(FAILED, f"The newest run failed at {minute(ended.time)}: {reason}.")


def _loop(live: Live, state: ModelState) -> Iterator[Trouble]:
    if state.waiting is not None:
        version = state.waiting.version
        yield Trouble(WAITS, f"Version {version} waits for the approval of a second person.")
    if state.paused is not None:
        since = clock(int(state.paused.since * 1_000))
        yield Trouble(
            PAUSED, f"The loop is paused by {state.paused.by} since {since}: {state.paused.reason}."
        )
    if live.share >= SUSPICIOUS:
        name = max(live.detectors, key=lambda its: live.detectors[its].evidence)
        yield Trouble(
            SUSPECTED, f"A shift is suspected: {live.share:.0%} of an alarm, most of it {name}."
        )
    if not state.champion:
        at = f"; the first is in stage {state.run.stage}" if state.run is not None else ""
        yield Trouble(EMPTY, f"No version answers yet{at}.")
