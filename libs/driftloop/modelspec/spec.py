"""The model spec as frozen structs; `load` reads TOML, a Python object is the same struct.

Durations are strings such as `90s`, `30m`, `12h` or `7d`; false alarms are per million rows.
"""

from typing import Literal

import msgspec

Task = Literal["classification", "regression"]
FeatureType = Literal["number", "integer", "category", "boolean"]
TriggerName = Literal["drift", "degraded", "schedule", "new_data"]
WindowName = Literal["newest", "since_change", "weighted"]


Parameter = bool | int | float | str | list[int | float | str] | None


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the spec; a misspelt field is an error."""


class Target(Table, frozen=True, kw_only=True):
    """What is predicted. `classes` are in the order of the answer's probabilities."""

    name: str = "label"
    """Column of the label."""
    classes: tuple[str, ...] = ()
    """Classification only: every label there is, in the order of the answer's probabilities."""
    scale: float = 1.0
    """Regression only: the loss bound uses errors divided by this, clipped at 1."""


class Columns(Table, frozen=True, kw_only=True):
    """Which columns of a row say who it is, when it happened, and which rows keep their order."""

    event_id: str = "event_id"
    """What is unique to a row, and what its label names."""
    event_time: str = "event_time"
    """When the row happened: a time, or milliseconds since 1970."""
    key: str = ""
    """Rows of one key keep their order; empty is none."""


class Feature(Table, frozen=True, kw_only=True):
    """One input of the model: its type, range or categories, and what happens at the edges."""

    name: str
    """Its column."""
    type: FeatureType = "number"
    """What its values are; a category is one of a list of texts."""
    min: float | None = None
    """Smallest value that is accepted."""
    max: float | None = None
    """Largest value that is accepted."""
    categories: tuple[str, ...] = ()
    """Every text a category knows."""
    nullable: bool = False
    """Whether a value may be missing."""
    unseen: Literal["reject", "accept"] = "reject"
    """What happens to a row with a category that is not in the list."""
    monitor: bool = True
    """Whether drift watches it."""


class Training(Table, frozen=True, kw_only=True):
    """How a candidate is fitted, and on which rows of the log."""

    estimator: str = "default"
    """`default`, the path of a scikit-learn estimator, or `module:function` giving a pipeline."""
    parameters: dict[str, Parameter] = {}
    """Arguments of the estimator."""
    window_rows: int = 30_000
    """Labelled rows to train on at most, the newest."""
    min_rows: int = 1_000
    """Labelled rows without which no candidate is trained."""
    min_rows_since_change: int = 10_000
    """After drift the rows since the change are tried alone, if there are so many."""
    windows: tuple[WindowName, ...] = ("newest", "since_change")
    """Which training sets are tried, a fit each: the first that none clearly beats is taken."""
    half_life: float = 0.25
    """Of `weighted`: share of the window's rows by which a row has to be older to count half."""
    holdout: float = 0.1
    """Share of the newest rows that judge the candidate, and that it does not learn from."""
    holdout_rows: int = 10_000
    """At most so many: in a long history a tenth is old news, and the newest rows teach most."""
    time_limit: str = "10m"
    """How long fit and conversion may take."""
    seed: int = 0
    """Seed of everything random."""


class Gates(Table, frozen=True, kw_only=True):
    """Bounds of the offline gate."""

    loss_tolerance: float = 0.02
    """How much worse than that of the served answers its holdout loss may be, relative."""
    baseline_gain: float = 0.0
    """How much better than the trivial baseline's it must be, relative."""
    slice_tolerance: float = 0.1
    """How much worse than the champion's its loss on a slice may be, relative."""
    min_slice_rows: int = 200
    """Rows of a slice below which it is not judged."""
    parity: float = 1e-4
    """Largest difference between onnxruntime and scikit-learn on a holdout row."""
    latency_ms: float = 50.0
    """Median time of one row in onnxruntime."""
    size_mb: float = 64.0
    """Largest model, in megabytes."""


class Slice(Table, frozen=True, kw_only=True):
    """Rows judged on their own in the offline gate: those where `feature` has `value`."""

    name: str
    """Its name in the gate."""
    feature: str
    """The feature that decides."""
    value: str | float
    """The value that belongs to the slice."""


class Drift(Table, frozen=True, kw_only=True):
    """One false-alarm budget for the whole model, shared by all that is watched."""

    alarms_per_million: float = 1.0
    """False alarms in a million rows, of all detectors together."""
    reference_rows: int = 2_000
    """Rows that a detector learns what is usual from."""
    features: bool = True
    """Whether features are watched."""
    predictions: bool = True
    """Whether the answers are watched."""
    labels: bool = True
    """Whether the labels are watched."""
    loss: bool = True
    """Whether the loss on labelled rows is watched."""
    harmless: Literal["retrain", "note"] = "retrain"
    """What a shift does when labelled rows show that the loss did not move."""


class Triggers(Table, frozen=True, kw_only=True):
    """What starts a run of the loop by itself. The operator always can."""

    on: tuple[TriggerName, ...] = ("drift", "degraded", "new_data")
    """What starts a run by itself."""
    cooldown: str = "1d"
    """Time between runs on the clock of the data."""
    new_data_rows: int = 10_000
    """Each so many labelled rows `new_data` starts a run; without a champion, any mark does from
    `training.min_rows` on."""
    every: str = "7d"
    """The schedule, on the wall clock."""


class Shadow(Table, frozen=True, kw_only=True):
    """The live gate of a challenger: paired losses on the same labelled rows."""

    loss: str = ""
    """Loss of the evidence; empty is `brier`, for a regression `scaled_absolute`."""
    level: float = 0.05
    """How often a verdict may be wrong: shared by all challengers of a champion since its promotion
    or the newest alarm that started a run."""
    margin: float = 0.0
    """How much better a challenger has to be, in units of the loss."""
    non_inferiority: float = 0.002
    """How much of the margin is let off in a run that `schedule` or `new_data` started: with a
    margin of 0 its challenger may be so much worse, in units of the loss. 0 lets nothing off."""
    min_rows: int = 200
    """Paired rows before a verdict."""
    max_rows: int = 4_000
    """Paired rows after which it is undecided."""
    max_duration: str = "30d"
    """On the clock of the data."""
    undecided: Literal["promote", "reject"] = "reject"
    """What happens to an undecided challenger."""
    share: float = 1.0
    """Share of the rows answered on request that shadows answer too; of the stream, all."""


class Probation(Table, frozen=True, kw_only=True):
    """The live gate of a promotion: the old champion goes on as a shadow, and may come back."""

    max_rows: int = 4_000
    """Paired rows after which the old champion retires."""
    max_duration: str = "30d"
    """On the clock of the data."""


class Join(Table, frozen=True, kw_only=True):
    """How long predictions and labels wait for each other, on the clock of the log and in rows."""

    predictions_wait: str = "30d"
    """How long a prediction waits for its label."""
    labels_wait: str = "1d"
    """How long a label waits for its prediction."""
    max_rows: int = 1_000_000
    """Rows that wait at most; above it the oldest are given up and counted."""


class Limits(Table, frozen=True, kw_only=True):
    """Sanity of event times, and how long a stage of a run may take on the wall clock."""

    earliest: str = "2000-01-01"
    """Rows from before are quarantined."""
    future: str = "5m"
    """How far ahead of the clock an event time may be."""
    stage_deadline: str = "1h"
    """After so long a stage of a run is given up."""
    approval_deadline: str = "7d"
    """How long a version that won waits for a second person."""


class Spec(Table, frozen=True, kw_only=True):
    """One model."""

    name: str
    """Name of the model, in subjects and paths."""
    task: Task
    """What kind of answer it gives."""
    description: str = ""
    """For people."""
    target: Target = Target()
    columns: Columns = Columns()
    features: tuple[Feature, ...]
    unknown_columns: Literal["reject", "drop"] = "reject"
    """What happens to a row with a column that is no feature."""
    approval: Literal["none", "required"] = "none"
    """Whether a second person has to approve of each promotion; a roll-back never waits."""
    training: Training = Training()
    gates: Gates = Gates()
    slices: tuple[Slice, ...] = ()
    drift: Drift = Drift()
    triggers: Triggers = Triggers()
    shadow: Shadow = Shadow()
    probation: Probation = Probation()
    join: Join = Join()
    limits: Limits = Limits()

    @property
    def width(self) -> int:
        """Numbers in one answer: one probability a class, or the one predicted value."""
        return len(self.target.classes) if self.task == "classification" else 1

    @property
    def loss(self) -> str:
        """Name of the bounded loss that evidence and drift are computed on."""
        return self.shadow.loss or ("brier" if self.task == "classification" else "scaled_absolute")


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A spec as the registry keeps it."""

    spec: Spec
    revision: int
    by: str
    at: float
    """When (seconds since 1970)."""
    reason: str = ""
