"""Alarms of the drift service, with what an operator wants to know of each."""

from typing import ClassVar, Literal

import msgspec

from driftloop.contracts.event import Event

Shift = Literal["covariate", "missing", "unseen", "prediction"]
"""Covariate shift, of values; of the missing rate; of categories the spec does not know; prior
shift of the answers."""
Harm = Literal["moved", "unmoved", "unknown"]
"""Whether the loss of the labelled rows since the change differs from that before."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One detector's part in an alarm: its share of the evidence, and means before and after.

    `strength` is the difference of the means in standard deviations of a row.
    """

    detector: str
    shift: str
    feature: str
    share: float
    before: float
    after: float
    strength: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of one detector's values before and after a change, as shares of the rows.

    `before` and `after` have one share a cell: for numbers the cells between neighbouring `edges`
    (one more than cells; the outermost are the smallest and largest values seen), otherwise one a
    name in `names`. `missing` are the shares of rows without a value, before and after.
    """

    detector: str
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    missing: tuple[float, float] = (0.0, 0.0)


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """The champion's mean loss before and since the change, on so many labelled rows of each.

    `lower` and `upper` bound the rise (confidence 95 %).
    """

    harm: Harm = "unknown"
    before: float = 0.0
    after: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    rows_before: int = 0
    rows_after: int = 0


class Alarm(Event, frozen=True, kw_only=True):
    """The evidence of a change is in: at which row of the log, of what, and since when.

    `detector`, `before`, `after` and `strength` are those of the part with the largest share;
    `since_seq` and `since_row` are the batch of the log and the row in it where the change began.
    """

    stream: str
    seq: int
    row: int
    detector: str
    before: float
    after: float
    strength: float
    since_time: int
    rows_since: int
    since_seq: int = 0
    since_row: int = 0
    parts: tuple[Part, ...] = ()
    summaries: tuple[Summary, ...] = ()
    labelled: Loss = Loss()

    def key(self) -> str:
        """One a detector and row of the log."""
        return f"{self.detector}:{self.stream}:{self.seq}:{self.row}"


class DriftDetected(Alarm, frozen=True, kw_only=True, tag="drift.detected"):
    """Features or predictions no longer look as they did."""

    kind: ClassVar[str] = "drift.detected"
    owner: ClassVar[str] = "drift"
    shift: Shift
    feature: str = ""


class PerformanceDegraded(Alarm, frozen=True, kw_only=True, tag="performance.degraded"):
    """The live model's loss on labelled rows went up."""

    kind: ClassVar[str] = "performance.degraded"
    owner: ClassVar[str] = "drift"
    loss: str
    version: int


class LabelsShifted(Alarm, frozen=True, kw_only=True, tag="labels.shifted"):
    """Prior shift: the labels are no longer distributed as they were."""

    kind: ClassVar[str] = "labels.shifted"
    owner: ClassVar[str] = "drift"
