"""The stages of a run from its events: when each began and ended, and what came of it."""

from collections.abc import Sequence
from typing import Final, TypeVar

from driftloop.console.api.shapes import StageDetail
from driftloop.console.api.shapes.model import StepState
from driftloop.console.domain.stages import picture
from driftloop.console.domain.times import seconds_of
from driftloop.contracts import events as e
from driftloop.contracts.facts import Fact
from driftloop.contracts.state import Run, Stage
from driftloop.contracts.why import CROWNED

T = TypeVar("T", bound=e.Event)

OF_KIND: Final = {
    "training.started": "train",
    "training.failed": "train",
    "candidate.trained": "train",
    "candidate.approved": "gate",
    "candidate.rejected": "gate",
    "approval.requested": "promote",
    "approval.given": "promote",
    "model.promoted": "promote",
    "model.rolled_back": "probation",
}
"""The stage an event belongs to; `shadow.*` say it by their role."""
AFTER: Final = {"train": "trigger", "gate": "train"}
"""Stages that begin when the one before has ended, whoever may begin to work on it later."""


def stages(run: Run, facts: Sequence[Fact], now: float) -> list[StageDetail]:
    """The stages at `now` (seconds since 1970); `facts` are the run's and its cause, in order."""
    steps = picture(run)
    of: dict[str, list[Fact]] = {step.name: [] for step in steps}
    at = steps[0].name
    for told in facts:
        at = _stage_of(told) or at
        of[at].append(told)
    made: list[StageDetail] = []
    for step in steps:
        before = of[AFTER[step.name]] if step.name in AFTER else []
        made.append(_detail(step.name, step.state, of[step.name], before, now))
    return made


def _stage_of(told: Fact) -> str:
    """The stage that an event belongs to; "" for one of whichever the run stands at."""
    if isinstance(told.event, e.ShadowStarted | e.ShadowConcluded):
        return "shadow" if told.event.role == "challenger" else "probation"
    return OF_KIND.get(told.kind, "")


def _detail(
    name: str, state: StepState, facts: Sequence[Fact], before: Sequence[Fact], now: float
) -> StageDetail:
    if not facts and (state != "now" or not before):
        return StageDetail(
            name=name, state=state, started="", ended="", seconds=None, text="", facts=[]
        )
    started = before[-1].time if before else facts[0].time
    ended = "" if state == "now" else facts[-1].time
    until = seconds_of(ended) if ended else now
    return StageDetail(
        name=name,
        state=state,
        started=started,
        ended=ended,
        seconds=round(max(0.0, until - seconds_of(started)), 3),
        text=_text(facts),
        facts=[told.id for told in facts],
    )


def _text(facts: Sequence[Fact]) -> str:
    """What came of a stage: the words of its last event, but of a retirement."""
    said = [told for told in facts if told.kind != "model.retired"]
    return said[-1].text if said else ""


def run_of(facts: Sequence[Fact], run: str) -> Run:
    """A run as its events tell it: one that the registry keeps no more, or that it never had.

    What an operator promotes or takes back at once has events under the id of a run, and no run.
    """
    first = next((told for told in facts if isinstance(told.event, e.RetrainRequested)), facts[0])
    begun = _first(facts, e.RetrainRequested)
    asked = _first(facts, e.OperatorRequested)
    ended = _first(facts, e.RunFinished)
    crowned = [told.event for told in facts if isinstance(told.event, CROWNED)]
    verdict: e.Verdict | None = ended.verdict if ended else None
    if begun is None and verdict is None and crowned:
        verdict = "rolled_back" if isinstance(crowned[-1], e.ModelRolledBack) else "promoted"
    version = begun or ended or (crowned[-1] if crowned else None)
    return Run(
        id=run,
        trigger=begun.trigger if begun else ended.trigger if ended else "operator",
        trigger_id=first.causation or first.id,
        reason=begun.reason if begun else asked.reason if asked else "",
        version=version.version if version else 0,
        stage=_stage(facts),
        deadline=0.0,
        started=seconds_of(first.time),
        cause=first.causation,
        since_time=begun.since_time if begun else 0,
        asked_by=asked.by if asked else "",
        verdict=verdict,
        outcome=ended.reason if ended else "",
        finished=seconds_of(facts[-1].time) if verdict else 0.0,
    )


def _first(facts: Sequence[Fact], kind: type[T]) -> T | None:
    return next((told.event for told in facts if isinstance(told.event, kind)), None)


def _stage(facts: Sequence[Fact]) -> Stage:
    """How far a run came."""
    found: Stage = "training"
    for told in facts:
        found = _NEXT.get(told.kind, found)
        if isinstance(told.event, e.ShadowStarted):
            found = "shadowing" if told.event.role == "challenger" else "probation"
    return found


_NEXT: Final[dict[str, Stage]] = {"candidate.trained": "gating", "approval.requested": "approval"}
