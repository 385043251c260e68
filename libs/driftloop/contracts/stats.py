"""Measurements: what services say about themselves and their work, kept for a day on the bus."""

from typing import ClassVar

import msgspec


class Stat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A measurement about a model or a service (`about`)."""

    kind: ClassVar[str]
    about: str


class ServiceStats(Stat, frozen=True, kw_only=True, tag="service"):
    """One sample of a process: resident bytes, CPU seconds since its start, its counters."""

    kind: ClassVar[str] = "service"
    pid: int
    url: str
    started: float
    ready: bool
    reason: str
    rss_bytes: int
    cpu_seconds: float
    counters: dict[str, float]


class Evidence(Stat, frozen=True, kw_only=True, tag="evidence"):
    """The confidence sequence of a shadow after `rows` paired rows; losses are their means."""

    kind: ClassVar[str] = "evidence"
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
    """Where a detector stands: mean of its present window and the window's rows."""

    kind: ClassVar[str] = "drift"
    detector: str
    mean: float
    rows: int
    seq: int
    data_time: int


class JoinStats(Stat, frozen=True, kw_only=True, tag="join"):
    """Where the label join of a model stands, in rows: totals since the log began, the rest now."""

    kind: ClassVar[str] = "join"
    outcomes_total: int
    waiting_predictions: int
    waiting_labels: int
    scored_seq: int
    labels_seq: int
    data_time: int


AnyStat = ServiceStats | Evidence | DriftScore | JoinStats
