"""The model spec as frozen structs; `load` reads TOML, a Python object is the same struct.

Durations are strings such as `90s`, `30m`, `12h` or `7d`; rates of false alarms are per million rows.
"""

from typing import Literal

import msgspec

Task = Literal["classification", "regression"]
FeatureType = Literal["number", "integer", "category", "boolean"]
TriggerName = Literal["drift", "degraded", "schedule", "new_data"]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the spec; a misspelt field is an error."""


class Target(Table, frozen=True, kw_only=True):
    """What is predicted. `classes` in the order of the answer's probabilities (classification only)."""

    name: str = "label"
    classes: tuple[str, ...] = ()
    scale: float = 1.0
    """Regression only: the loss bound uses errors divided by this, clipped at 1."""


class Columns(Table, frozen=True, kw_only=True):
    """Which columns of a row say who it is, when it happened, and which rows keep their order."""

    event_id: str = "event_id"
    event_time: str = "event_time"
    key: str = ""


class Feature(Table, frozen=True, kw_only=True):
    """One input of the model: its type, range or categories, and what happens at the edges."""

    name: str
    type: FeatureType = "number"
    min: float | None = None
    max: float | None = None
    categories: tuple[str, ...] = ()
    nullable: bool = False
    unseen: Literal["reject", "accept"] = "reject"
    monitor: bool = True


class Training(Table, frozen=True, kw_only=True):
    """How a candidate is fitted, and on which rows of the log."""

    estimator: str = "default"
    """`default`, the dotted path of a scikit-learn estimator, or `module:function` returning a pipeline."""
    parameters: dict[str, bool | int | float | str | None | list[int | float | str]] = {}
    window_rows: int = 30_000
    min_rows: int = 1_000
    min_rows_since_change: int = 10_000
    holdout: float = 0.1
    time_limit: str = "10m"
    seed: int = 0


class Gates(Table, frozen=True, kw_only=True):
    """Bounds of the offline gate."""

    loss_tolerance: float = 0.02
    """How much worse than that of the served answers its holdout loss may be, relative."""
    baseline_gain: float = 0.0
    """How much better than the trivial baseline's it must be, relative."""
    slice_tolerance: float = 0.1
    min_slice_rows: int = 200
    parity: float = 1e-4
    """Largest difference between onnxruntime and scikit-learn on a holdout row."""
    latency_ms: float = 50.0
    """Median time of one row in onnxruntime."""
    size_mb: float = 64.0


class Slice(Table, frozen=True, kw_only=True):
    """Rows judged on their own in the offline gate: those where `feature` has `value` (a category or a number)."""

    name: str
    feature: str
    value: str | float


class Drift(Table, frozen=True, kw_only=True):
    """One false-alarm budget for the whole model, split over all its detectors."""

    alarms_per_million: float = 1.0
    reference_rows: int = 2_000
    features: bool = True
    predictions: bool = True
    loss: bool = True


class Triggers(Table, frozen=True, kw_only=True):
    """What starts a run of the loop by itself. The operator always can."""

    on: tuple[TriggerName, ...] = ("drift", "degraded", "new_data")
    cooldown: str = "1d"
    """Time between runs on the clock of the data."""
    new_data_rows: int = 10_000
    every: str = "7d"
    """The schedule, on the wall clock."""


class Shadow(Table, frozen=True, kw_only=True):
    """The live gate of a challenger: paired losses on the same labelled rows."""

    loss: str = ""
    level: float = 0.05
    margin: float = 0.0
    min_rows: int = 200
    max_rows: int = 4_000
    max_duration: str = "30d"
    """On the clock of the data."""
    undecided: Literal["promote", "reject"] = "reject"


class Probation(Table, frozen=True, kw_only=True):
    """The live gate of a promotion: the old champion goes on as a shadow, and may come back."""

    max_rows: int = 4_000
    max_duration: str = "30d"


class Join(Table, frozen=True, kw_only=True):
    """How long predictions and labels wait for each other, on the clock of the data and in rows."""

    predictions_wait: str = "30d"
    labels_wait: str = "1d"
    max_rows: int = 1_000_000


class Limits(Table, frozen=True, kw_only=True):
    """Sanity of event times, and how long a stage of a run may take on the wall clock."""

    earliest: str = "2000-01-01"
    future: str = "5m"
    stage_deadline: str = "1h"


class Spec(Table, frozen=True, kw_only=True):
    """One model."""

    name: str
    task: Task
    description: str = ""
    target: Target = Target()
    columns: Columns = Columns()
    features: tuple[Feature, ...]
    unknown_columns: Literal["reject", "drop"] = "reject"
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
