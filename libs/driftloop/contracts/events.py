"""Control events: facts in the past tense, one owner each, kept for good as the audit trail.

Changes are additive only; anything else is a new event. `data_time` is the clock of the data (event
time of the newest row seen, ms since 1970 UTC): a replay at any speed makes the same decisions.
"""

from typing import ClassVar, Literal

from driftloop.contracts.alarms import Alarm as Alarm
from driftloop.contracts.alarms import DriftDetected as DriftDetected
from driftloop.contracts.alarms import LabelsShifted as LabelsShifted
from driftloop.contracts.alarms import PerformanceDegraded as PerformanceDegraded
from driftloop.contracts.event import Event as Event
from driftloop.contracts.event import RunEvent as RunEvent
from driftloop.contracts.integrity import ApprovalGiven as ApprovalGiven
from driftloop.contracts.integrity import ApprovalRequested as ApprovalRequested
from driftloop.contracts.integrity import IntegrityRefused as IntegrityRefused
from driftloop.contracts.integrity import ModelRefused as ModelRefused
from driftloop.contracts.letters import LetterDropped as LetterDropped
from driftloop.contracts.letters import LetterReplayed as LetterReplayed
from driftloop.contracts.manifest import Dataset as Dataset
from driftloop.contracts.manifest import Gate as Gate
from driftloop.contracts.manifest import Manifest as Manifest
from driftloop.contracts.manifest import Window as Window
from driftloop.contracts.operators import Asked as Asked
from driftloop.contracts.operators import OperatorRequested as OperatorRequested
from driftloop.contracts.operators import SpecRegistered as SpecRegistered

Trigger = Literal["bootstrap", "drift", "degraded", "schedule", "new_data", "operator"]
Verdict = Literal["promoted", "rejected", "rolled_back", "failed", "superseded"]
Role = Literal["challenger", "probation"]
LiveVerdict = Literal["better", "worse", "undecided"]
Rule = Literal["superiority", "non_inferiority"]


class DataAccumulated(Event, frozen=True, kw_only=True, tag="data.accumulated"):
    """OUTCOMES passed the spec's `training.min_rows`, or a multiple of `triggers.new_data_rows`."""

    kind: ClassVar[str] = "data.accumulated"
    owner: ClassVar[str] = "feedback"
    rows: int
    outcomes_seq: int

    def key(self) -> str:
        """One a mark."""
        return str(self.rows)


class ScheduleDue(Event, frozen=True, kw_only=True, tag="schedule.due"):
    """The spec's `triggers.every` has passed since the last run."""

    kind: ClassVar[str] = "schedule.due"
    owner: ClassVar[str] = "registry"
    number: int

    def key(self) -> str:
        """One a number."""
        return str(self.number)


class TriggerDeclined(Event, frozen=True, kw_only=True, tag="trigger.declined"):
    """A trigger did not start a run, and why."""

    kind: ClassVar[str] = "trigger.declined"
    owner: ClassVar[str] = "registry"
    trigger: Trigger
    trigger_id: str
    reason: str

    def key(self) -> str:
        """One a trigger."""
        return self.trigger_id


class RetrainRequested(RunEvent, frozen=True, kw_only=True, tag="retrain.requested"):
    """A run began. The version number of its candidate is reserved here."""

    kind: ClassVar[str] = "retrain.requested"
    owner: ClassVar[str] = "registry"
    trigger: Trigger
    reason: str
    version: int
    spec_revision: int
    since_time: int = 0


class TrainingStarted(RunEvent, frozen=True, kw_only=True, tag="training.started"):
    """The training sets are fixed and the fits began.

    `train` covers all of them; each of `windows` says where it begins.
    """

    kind: ClassVar[str] = "training.started"
    owner: ClassVar[str] = "trainer"
    version: int
    train: Dataset
    holdout: Dataset
    window: str
    windows: tuple[Window, ...] = ()


class TrainingFailed(RunEvent, frozen=True, kw_only=True, tag="training.failed"):
    """No candidate came of it."""

    kind: ClassVar[str] = "training.failed"
    owner: ClassVar[str] = "trainer"
    version: int
    reason: str


class CandidateTrained(RunEvent, frozen=True, kw_only=True, tag="candidate.trained"):
    """A candidate is in the artifact store. `signature`: see `artifacts.signing`."""

    kind: ClassVar[str] = "candidate.trained"
    owner: ClassVar[str] = "trainer"
    version: int
    manifest: Manifest
    manifest_sha256: str
    signature: bytes = b""


class CandidateApproved(RunEvent, frozen=True, kw_only=True, tag="candidate.approved"):
    """All offline gates passed."""

    kind: ClassVar[str] = "candidate.approved"
    owner: ClassVar[str] = "validation"
    version: int
    gates: tuple[Gate, ...]
    seconds: float


class CandidateRejected(RunEvent, frozen=True, kw_only=True, tag="candidate.rejected"):
    """An offline gate failed."""

    kind: ClassVar[str] = "candidate.rejected"
    owner: ClassVar[str] = "validation"
    version: int
    gates: tuple[Gate, ...]
    reason: str
    seconds: float


class ShadowStarted(RunEvent, frozen=True, kw_only=True, tag="shadow.started"):
    """A version answers beside the champion: a challenger, or the old one.

    It is better when its mean loss is lower by more than `margin` (negative: higher by less than
    that), at the error `level`; a challenger's is its share, as number `challenger` of its series.
    Without these numbers (a log of before) those of the spec hold.
    """

    kind: ClassVar[str] = "shadow.started"
    owner: ClassVar[str] = "registry"
    version: int
    champion: int
    role: Role
    from_seq: int
    from_time: int = 0
    rule: Rule = "superiority"
    level: float | None = None
    margin: float | None = None
    challenger: int = 0

    def key(self) -> str:
        """One a role of a run."""
        return f"{self.run}:{self.role}"


class ShadowConcluded(RunEvent, frozen=True, kw_only=True, tag="shadow.concluded"):
    """The evidence on a shadow is in, on `rows` paired rows.

    `lower`, `mean` and `upper` are of the difference of losses, `champion - shadow`.
    """

    kind: ClassVar[str] = "shadow.concluded"
    owner: ClassVar[str] = "validation"
    version: int
    champion: int
    role: Role
    verdict: LiveVerdict
    lower: float
    upper: float
    mean: float
    rows: int
    reason: str

    def key(self) -> str:
        """One a role of a run."""
        return f"{self.run}:{self.role}"


class ModelPromoted(RunEvent, frozen=True, kw_only=True, tag="model.promoted"):
    """A version became the champion: promotion `number` of the model, signed as `Promotion` is."""

    kind: ClassVar[str] = "model.promoted"
    owner: ClassVar[str] = "registry"
    version: int
    previous: int
    model_sha256: str
    reason: str
    manifest_sha256: str = ""
    number: int = 0
    signature: bytes = b""


class ModelRolledBack(RunEvent, frozen=True, kw_only=True, tag="model.rolled_back"):
    """The old champion took its place back. `number`, `signature`: as in `ModelPromoted`."""

    kind: ClassVar[str] = "model.rolled_back"
    owner: ClassVar[str] = "registry"
    version: int
    previous: int
    model_sha256: str
    reason: str
    manifest_sha256: str = ""
    number: int = 0
    signature: bytes = b""


class ModelRetired(RunEvent, frozen=True, kw_only=True, tag="model.retired"):
    """A version answers no more."""

    kind: ClassVar[str] = "model.retired"
    owner: ClassVar[str] = "registry"
    version: int
    reason: str

    def key(self) -> str:
        """One a version and run."""
        return f"{self.run}:{self.version}"


class RunFinished(RunEvent, frozen=True, kw_only=True, tag="run.finished"):
    """A run ended, with one verdict and a reason a person can read."""

    kind: ClassVar[str] = "run.finished"
    owner: ClassVar[str] = "registry"
    trigger: Trigger
    version: int
    verdict: Verdict
    reason: str


AnyEvent = (
    SpecRegistered
    | DataAccumulated
    | DriftDetected
    | PerformanceDegraded
    | LabelsShifted
    | ScheduleDue
    | OperatorRequested
    | TriggerDeclined
    | RetrainRequested
    | TrainingStarted
    | TrainingFailed
    | CandidateTrained
    | CandidateApproved
    | CandidateRejected
    | ShadowStarted
    | ShadowConcluded
    | ModelPromoted
    | ModelRolledBack
    | ModelRetired
    | RunFinished
    | IntegrityRefused
    | ModelRefused
    | ApprovalRequested
    | ApprovalGiven
    | LetterReplayed
    | LetterDropped
)
