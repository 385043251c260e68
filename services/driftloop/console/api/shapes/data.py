"""Shapes of data quality: quarantine, dead letters, accounting and label delay."""

from typing import Any

import msgspec


class QuarantineReason(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were set aside for one reason, and when the newest was."""

    reason: str
    rows: int
    newest: str = ""


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of the audit: what `left` says has to be what the `parts` on the right add up to."""

    name: str
    left: int
    right: int
    parts: dict[str, int]
    missing: int
    extra: int
    closes: bool
    note: str = ""


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Time from a row to its label, event time, in seconds, over so many labelled rows."""

    rows: int
    p50: float
    p90: float
    p99: float
    most: float


class DataOf(msgspec.Struct, frozen=True, kw_only=True):
    """Data quality of one model. `audited` is when its sums were added up, "" if never."""

    model: str
    quarantined: list[QuarantineReason]
    dead: int
    sums: list[Sum]
    closes: bool | None
    audited: str
    delay: Quantiles | None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """Data quality of every model the caller may see; `dead` counts all dead letters."""

    time: str
    models: list[DataOf]
    dead: int


class QuarantineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was set aside: why, and as it came."""

    seq: int
    time: str
    event_id: str
    reason: str
    text: str
    row: dict[str, Any]


class QuarantineList(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that were set aside, newest first."""

    model: str
    rows: list[QuarantineRow]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a consumer could not use: `seq` in DEAD, `position` of the original."""

    seq: int
    time: str
    service: str
    model: str
    position: str
    subject: str
    error: str
    bytes: int


class DeadList(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters, newest first; `total` are all there are."""

    total: int
    letters: list[DeadLetter]


class DeadLetterBody(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter with its headers and as much of its body as a person can read."""

    letter: DeadLetter
    headers: dict[str, str]
    text: str
