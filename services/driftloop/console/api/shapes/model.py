"""Shapes of one model as it is now: its loop, shadows, versions, labels, detectors."""

from typing import Literal

import msgspec

from driftloop.console.api.shapes.live import Card

StepState = Literal["done", "now", "failed", "open"]
Point = tuple[int, float, float, float]
"""Paired rows, lower bound, upper bound, mean of the loss difference `champion - shadow`."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the loop (trigger, train, gate, shadow, promote, probation) and how far it is."""

    name: str
    state: StepState


class RunShort(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list. `stage` and `verdict`: where it is, or "" and how it ended (else "")."""

    id: str
    model: str
    trigger: str
    reason: str
    version: int
    stage: str
    started: str
    finished: str = ""
    verdict: str = ""
    outcome: str = ""
    steps: list[Step] = []


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """A version beside the champion, and its evidence as a confidence sequence.

    `points` are `[rows, lower, upper, mean]` of the loss difference `champion - shadow`, thinned
    evenly; the version is better once `lower` is above `margin`. `lower` and so on are the newest.
    """

    version: int
    champion: int
    role: str
    run: str
    rule: str = ""
    level: float | None = None
    margin: float | None = None
    challenger: int = 0
    from_time: int = 0
    rows: int = 0
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    champion_loss: float | None = None
    shadow_loss: float | None = None
    points: list[Point] = []


class EvidenceNow(msgspec.Struct, frozen=True, kw_only=True):
    """Message `evidence`: one more point of a shadow of the model that the page asked for."""

    model: str
    version: int
    champion: int
    role: str
    run: str
    point: Point
    margin: float
    champion_loss: float
    shadow_loss: float
    data_time: int


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Where the label join stands, in rows: all joined so far, and what waits for its other half.

    How long labels take is in `/api/data`.
    """

    joined: int
    waiting_predictions: int
    waiting_labels: int
    data_time: int = 0


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The loss expected of the rows whose labels are still to come; `void` says why not.

    `lower` and `upper` are to hold the true mean loss 95 % of the time.
    """

    version: int
    loss: str
    estimate: float
    lower: float
    upper: float
    rows: int
    from_time: int
    data_time: int
    void: str = ""


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    """Where a detector stands: mean of its newest values, and its share of what makes an alarm."""

    name: str
    mean: float
    share: float
    rows: int
    data_time: int


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """An input of the model: `number`, `integer`, `category` or `boolean`."""

    name: str
    type: str
    monitored: bool = True


class SpecShort(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to know of the spec at once. `approval`: a second person has to agree."""

    revision: int
    task: str
    target: str
    classes: list[str]
    estimator: str
    triggers: list[str]
    approval: bool
    alarms_per_million: float


class VersionShort(msgspec.Struct, frozen=True, kw_only=True):
    """A version in a list. `stage`: candidate, challenger, champion, retired or rejected.

    `metrics` are on its holdout; `train_rows` rows up to `last_seq` of the log; `seconds` and
    `cpu_seconds` are what its training took, `bytes` the size of the model.
    """

    version: int
    stage: str
    run: str
    estimator: str
    window: str
    metrics: dict[str, float]
    train_rows: int
    last_seq: int
    seconds: float
    cpu_seconds: float
    bytes: int
    spec_revision: int
    gates_failed: list[str] = []


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it is now.

    `runs` are the newest 20, the one in progress first. `versions` are the newest first.
    `commands` are those the caller may give now: a page offers no other.
    """

    time: str
    card: Card
    spec: SpecShort | None
    features: list[Feature]
    versions: list[VersionShort]
    shadows: list[Shadow]
    steps: list[Step]
    runs: list[RunShort]
    runs_started: int
    labels: Labels | None
    estimate: Estimate | None
    detectors: list[Detector]
    commands: list[str]
