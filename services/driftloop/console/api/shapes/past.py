"""Shapes of a model's past: its time line, distributions of features, slices, spec revisions."""

import msgspec

LossPoint = tuple[int, float, int]
"""Event time at the middle of the bucket, mean loss, labelled rows."""
EstimatePoint = tuple[int, float, float, float, int]
"""Event time, estimated loss, lower and upper bound, and the event time from which its rows are."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """An event on the time line; `data_time` is where it stands, `since_time` of an alarm's change.

    `kind` is the event's; `version` the one it is about, or 0.
    """

    time: str
    data_time: int
    kind: str
    text: str
    id: str
    run: str = ""
    version: int = 0
    since_time: int = 0


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Losses over event time, in at most as many buckets as asked for.

    `live` is the champion's loss. `frozen` is that of old champions while they answered as shadows
    (`frozen_text` says which and until when). `estimated` is the loss expected of unlabelled rows.
    """

    model: str
    loss_name: str
    since_time: int
    until_time: int
    live: list[LossPoint]
    frozen: list[LossPoint]
    frozen_text: str
    estimated: list[EstimatePoint]
    marks: list[Mark]


class LastAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """The newest alarm about a feature; `since_time` is the estimated change point."""

    id: str
    time: str
    data_time: int
    since_time: int
    share: float
    text: str


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """A feature, or the answers: shares of the rows in cells, then (`reference`) and `now`.

    Numbers have `edges` (one more than cells), everything else `names`; the other is empty.
    `missing` are shares of rows without a value, reference and now. `share` is the detector's share
    of what makes an alarm (None: not watched), `distance` the total variation distance of the two.
    """

    name: str
    type: str
    edges: list[float]
    names: list[str]
    reference: list[float]
    now: list[float]
    missing: tuple[float, float]
    distance: float
    share: float | None = None
    alarm: LastAlarm | None = None


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Distributions of a model: reference rows are the champion's training rows.

    `now` are the newest `now_rows` scored rows, from event time `from_time` to `until_time`.
    """

    model: str
    version: int
    reference_rows: int
    now_rows: int
    from_time: int
    until_time: int
    features: list[Distribution]
    predictions: list[Distribution]


class SliceNow(msgspec.Struct, frozen=True, kw_only=True):
    """Mean loss of the champion on the newest labelled rows of a slice."""

    name: str
    feature: str
    value: str | float
    rows: int
    loss: float | None
    gate_loss: float | None = None


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    """The spec's slices beside all rows, on the newest `rows` labelled rows."""

    model: str
    version: int
    loss_name: str
    rows: int
    loss: float | None
    slices: list[SliceNow]


class SpecRevision(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a spec as TOML; `diff` is against the one before, as unified lines."""

    revision: int
    time: str
    by: str
    text: str
    diff: list[str] = []
    reason: str = ""


class SpecHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Revisions of a spec, newest first; `lost` older ones are kept no more."""

    model: str
    revisions: list[SpecRevision]
    lost: int = 0
