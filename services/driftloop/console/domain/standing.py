"""An alarm that stands: how bad it is, and what it says in a sentence."""

from typing import Final

import msgspec

from driftloop.contracts.alarms import Alarm
from driftloop.contracts.facts import Fact, clock

WORSE: Final = 800
"""The champion's loss went up."""
HARMFUL: Final = 700
"""Data or labels moved, and the loss with them."""
MOVED: Final = 400
"""Data or labels moved; whether that does harm is not known."""
HARMLESS: Final = 200
"""Data or labels moved, and the loss did not."""
_LEVELS: Final = {"moved": HARMFUL, "unknown": MOVED, "unmoved": HARMLESS}
_HARM: Final = {
    "moved": ", and the loss has moved",
    "unmoved": ", without harm to the loss",
    "unknown": "",
}


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that nothing has answered yet; times as in `Fact` and `Alarm`.

    `level` orders troubles, `trouble` is the beginning of a sentence.
    """

    seq: int
    id: str
    kind: str
    detector: str
    text: str
    time: str
    data_time: int
    since_time: int
    level: int
    trouble: str


def standing(told: Fact, alarm: Alarm) -> Stands:
    """What is kept of an alarm."""
    level, trouble = _trouble(told.kind, alarm)
    return Stands(
        seq=told.seq,
        id=told.id,
        kind=told.kind,
        detector=alarm.detector,
        text=told.text,
        time=told.time,
        data_time=alarm.data_time,
        since_time=alarm.since_time,
        level=level,
        trouble=trouble,
    )


def _trouble(kind: str, alarm: Alarm) -> tuple[int, str]:
    since = f"since {clock(alarm.since_time)}" if alarm.since_time else "of late"
    if kind == "performance.degraded":
        return WORSE, f"The champion's loss has been higher {since}"
    harm = alarm.labelled.harm
    what = "The labels have" if kind == "labels.shifted" else f"{alarm.detector} has"
    return _LEVELS[harm], f"{what} been distributed otherwise {since}{_HARM[harm]}"
