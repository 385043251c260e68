"""Shapes of versions: one in full, and two side by side."""

from typing import Any

import msgspec

from driftloop.console.api.shapes.model import VersionShort
from driftloop.contracts.manifest import Dataset, Gate, Manifest


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of a model, newest first."""

    model: str
    versions: list[VersionShort]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What something took: CPU seconds, and money in `currency` where a price is set."""

    cpu_seconds: float
    money: float | None = None
    currency: str = ""


class VersionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A version in full: what it was trained on, judged by and made of.

    `train_from` and `train_until` are when the training rows were stored; `train_from_time` and
    `train_until_time` when they happened (0 where telemetry has none of them).
    `reigns` are `[from, until]` wall times as champion, "" while it still is. `signed` says who
    vouches for it. `facts` are the ids of its events, in order.
    """

    short: VersionShort
    manifest: Manifest
    manifest_sha256: str
    gates: list[Gate]
    trained: str
    train_from: str
    train_until: str
    previous: int
    trigger: str
    reason: str
    verdict: str
    outcome: str
    signed: bool
    reigns: list[tuple[str, str]]
    live_loss: float | None
    live_rows: int
    cost: Cost
    facts: list[str]
    train_from_time: int = 0
    train_until_time: int = 0


class Differs(msgspec.Struct, frozen=True, kw_only=True):
    """A field with different values: of the manifest, or of the spec (`spec.training.seed`)."""

    field: str
    a: Any
    b: Any


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of both versions; None where one has it not."""

    name: str
    a: float | None
    b: float | None


class GatePair(msgspec.Struct, frozen=True, kw_only=True):
    """A gate of both versions."""

    name: str
    a: Gate | None
    b: Gate | None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What both training sets have in common: rows from `first_seq` to `last_seq`, 0 if nothing."""

    a: Dataset
    b: Dataset
    first_seq: int
    last_seq: int


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions side by side; `fields` are only those that differ."""

    model: str
    a: int
    b: int
    fields: list[Differs]
    metrics: list[Numbers]
    gates: list[GatePair]
    train: Compared
    holdout: Compared
