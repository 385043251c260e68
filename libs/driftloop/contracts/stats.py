"""Measurements: what services say about themselves and their work, kept for a day on the bus."""

from typing import ClassVar

import msgspec


class Stat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A measurement about a model or a service (`about`)."""

    kind: ClassVar[str]
    owner: ClassVar[str]
    """The one service that says it; `*`: each says it about itself."""
    about: str


class ServiceStats(Stat, frozen=True, kw_only=True, tag="service"):
    """One sample of a process: resident bytes, CPU seconds since its start, its counters and gauges
    but for those that are 0.

    `version` is Driftloop's.
    """

    kind: ClassVar[str] = "service"
    owner: ClassVar[str] = "*"
    pid: int
    url: str
    started: float
    ready: bool
    reason: str
    rss_bytes: int
    cpu_seconds: float
    counters: dict[str, float]
    version: str = ""


class Evidence(Stat, frozen=True, kw_only=True, tag="evidence"):
    """The confidence sequence of a shadow after `rows` paired rows; losses are their means."""

    kind: ClassVar[str] = "evidence"
    owner: ClassVar[str] = "validation"
    run: str
    role: str
    version: int
    champion: int
    rows: int
    mean: float
    lower: float
    upper: float
    margin: float
    champion_loss: float
    shadow_loss: float
    data_time: int


class DriftScore(Stat, frozen=True, kw_only=True, tag="drift"):
    """Where a detector stands: mean of the newest values, rows since its reference began.

    `evidence` is its share of what makes an alarm, 0 to 1.
    """

    kind: ClassVar[str] = "drift"
    owner: ClassVar[str] = "drift"
    detector: str
    mean: float
    rows: int
    seq: int
    data_time: int
    evidence: float = 0.0


class JoinStats(Stat, frozen=True, kw_only=True, tag="join"):
    """Where the label join of a model stands, in rows: totals since the log began, the rest now."""

    kind: ClassVar[str] = "join"
    owner: ClassVar[str] = "feedback"
    outcomes_total: int
    waiting_predictions: int
    waiting_labels: int
    scored_seq: int
    labels_seq: int
    data_time: int
    rows_seq: int = 0
    """How far the quarantined rows were read."""


class EstimatedLoss(Stat, frozen=True, kw_only=True, tag="estimate"):
    """The mean loss that is expected of `rows` newest rows, whose labels are still to come.

    An estimate, never a measurement; `lower` and `upper` are to hold the true mean loss 95 % of the
    time. If `void` is not empty, it says why none of the three may be used. The rows are those of
    the champion `version` from `from_time` to `data_time` (event time, milliseconds). The `last_`
    fields are of the newest window whose labels came: what was estimated, the mean loss of its
    `last_rows` labelled rows, and its end; 0 as long as `reconciled`, the number of such windows,
    is 0.
    """

    kind: ClassVar[str] = "estimate"
    owner: ClassVar[str] = "drift"
    version: int
    loss: str
    estimate: float
    lower: float
    upper: float
    rows: int
    from_time: int
    data_time: int
    void: str = ""
    reconciled: int = 0
    last_estimate: float = 0.0
    last_realised: float = 0.0
    last_rows: int = 0
    last_time: int = 0


AnyStat = ServiceStats | Evidence | DriftScore | JoinStats | EstimatedLoss
