"""What signals tell: where they stand, and what changed."""

from typing import NamedTuple

from driftloop.contracts.alarms import Part, Summary
from driftloop.drift.domain.history import Place


class Standing(NamedTuple):
    """A signal's mean over the newest rows, its share of the evidence that makes an alarm (0 to 1),
    and the rows since its reference began.
    """

    name: str
    mean: float
    evidence: float
    rows: int


class Change(NamedTuple):
    """What was found: at which row of the log, since which, and the parts with their summaries."""

    at: Place
    since: Place
    rows_since: int
    parts: tuple[Part, ...]
    summaries: tuple[Summary, ...]
