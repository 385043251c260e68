"""What the registry keeps of a model for all to read: versions, stages, the run in progress."""

from typing import Final, Literal

import msgspec

from driftloop.contracts.events import AnyEvent, Gate, Manifest, Role, Rule, Trigger, Verdict
from driftloop.contracts.headers import Origin

MODELS_BUCKET: Final = "MODELS"
SPECS_BUCKET: Final = "SPECS"
MONITORS_BUCKET: Final = "MONITORS"
"""What drift knows of each champion, in numbers of its own: owner drift."""
TOKENS_BUCKET: Final = "TOKENS"
"""Tokens of callers, by name, without their secrets: owner registry."""
NOTICES_BUCKET: Final = "NOTICES"
"""What notifications were sent and wait to be, in one value: owner console."""

Stage = Literal["training", "gating", "shadowing", "approval", "probation"]


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """A version that answers beside the champion, and where its evidence begins.

    Evidence are OUTCOMES from `from_seq` on, of rows that happened after `from_time` (event time):
    a row that was held up says how the world was before. `rule`, `level`, `margin` and `challenger`
    are as in `ShadowStarted`. `deadline` (seconds since 1970) is that of a challenger an operator
    put there; 0 for those that end with the run. `asked_by` is that operator.
    """

    version: int
    champion: int
    role: Role
    run: str
    from_seq: int
    started_id: str
    from_time: int = 0
    rule: Rule = "superiority"
    level: float | None = None
    margin: float | None = None
    challenger: int = 0
    deadline: float = 0.0
    asked_by: str = ""


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """Who is champion, as the registry decided: what it countersigns (see `artifacts.signing`).

    `number` counts the promotions and roll-backs of a model and never goes back, so that an old one
    that is shown again is known for what it is.
    """

    model: str
    number: int
    version: int
    previous: int
    manifest_sha256: str
    model_sha256: str
    signature: bytes = b""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version; `stage`: candidate, challenger, champion, retired or rejected.

    `signature` is the trainer's, over the manifest.
    """

    manifest: Manifest
    manifest_sha256: str
    run: str
    stage: str
    gates: tuple[Gate, ...] = ()
    signature: bytes = b""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the loop; `deadline` is when its present stage is given up (seconds since 1970)."""

    id: str
    trigger: Trigger
    trigger_id: str
    reason: str
    version: int
    stage: Stage
    deadline: float
    started: float
    cause: str
    since_time: int = 0
    attempt: int = 1
    """How many runs this trigger has started: an alarm outlives a rejected candidate."""
    asked_by: str = ""
    """The operator who asked for it; empty if nobody did."""
    verdict: Verdict | None = None
    outcome: str = ""
    finished: float = 0.0


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An event decided on and not yet said: state and outbox are written in one step."""

    event: AnyEvent
    origin: Origin


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A promotion that waits for a second person; the run in stage `approval` is its own.

    `data_time` is the data's clock when the version won. `probation`: whether the old champion goes
    on beside it afterwards.
    """

    version: int
    reason: str
    data_time: int = 0
    probation: bool = False


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger that came during a run and is looked at again when the run has ended."""

    trigger: Trigger
    trigger_id: str
    reason: str
    since_time: int
    data_time: int
    attempt: int = 1


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing but an operator starts a run: who wanted it, why, and since when (seconds since
    1970). `declined` triggers came meanwhile.
    """

    by: str
    reason: str
    since: float
    declined: int = 0


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms that nobody wants to hear of before `until`; the loop reacts to them all the same.

    Those of one `detector`, or of all (empty). Times are seconds since 1970.
    """

    detector: str
    by: str
    reason: str
    since: float
    until: float


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """All of one model; written by the registry alone, by compare-and-set."""

    model: str
    champion: int = 0
    champion_since_scored: int = 0
    champion_since_outcomes: int = 0
    past_champions: tuple[int, ...] = ()
    promotion: Promotion | None = None
    waiting: Waiting | None = None
    next_version: int = 1
    versions: dict[int, Version] = {}
    shadows: tuple[Shadow, ...] = ()
    challengers: int = 0
    """Challengers that share one error level: those since the champion's promotion or an alarm."""
    run: Run | None = None
    history: tuple[Run, ...] = ()
    deferred: Deferred | None = None
    last_run_data_time: int = 0
    last_run_wall_time: float = 0.0
    runs_started: int = 0
    paused: Paused | None = None
    silences: tuple[Silence, ...] = ()
    seen: tuple[str, ...] = ()
    outbox: tuple[Pending, ...] = ()

    def silenced(self, detector: str, now: float) -> Silence | None:
        """What silences the alarms of a detector at `now`: of several, that which lasts longest."""
        fit = [s for s in self.silences if s.detector in ("", detector) and now < s.until]
        return max(fit, key=lambda its: its.until, default=None)
