"""How a run goes from stage to stage, up to promotion, probation and roll-back."""

from driftloop.contracts.events import (
    AnyEvent,
    CandidateApproved,
    CandidateRejected,
    CandidateTrained,
    RunEvent,
    ShadowConcluded,
    TrainingFailed,
    TrainingStarted,
    Verdict,
)
from driftloop.contracts.state import Run, Version
from driftloop.registry.domain import approval, contest, crown, shadows, triggers
from driftloop.registry.domain.decision import Decision


def on_run_event(decision: Decision, event: AnyEvent) -> None:
    """A fact about the run in progress, or a challenger beside it; others change nothing."""
    run = decision.state.run
    if isinstance(event, ShadowConcluded) and (run is None or event.run != run.id):
        contest.concluded(decision, event)
        return
    if run is None or not _about(decision, run, event):
        return
    match event:
        case TrainingStarted() if run.stage == "training":
            decision.stage("training")
        case TrainingFailed() if run.stage == "training":
            _came_to_nothing(decision, "failed", event.reason)
        case CandidateTrained() if run.stage == "training":
            _trained(decision, event)
        case CandidateRejected() if run.stage == "gating":
            decision.version_stage(event.version, "rejected", gates=event.gates)
            _came_to_nothing(decision, "rejected", event.reason)
        case CandidateApproved() if run.stage == "gating":
            _approved(decision, event)
        case ShadowConcluded(role="challenger") if run.stage == "shadowing":
            _challenge_concluded(decision, event)
        case ShadowConcluded(role="probation") if run.stage == "probation":
            _probation_concluded(decision, event)


def _about(decision: Decision, run: Run, event: AnyEvent) -> bool:
    """Whether an event is about this run, and about the version that it, or its shadow, is of."""
    if not isinstance(event, RunEvent) or event.run != run.id:
        return False
    shadow = None
    if isinstance(event, ShadowConcluded):
        shadow = shadows.find(decision, event.run, event.role)
    version = run.version if shadow is None else shadow.version
    return getattr(event, "version", version) == version


def on_deadline(decision: Decision) -> None:
    """A stage took too long on the wall clock: the run ends, the champion stays."""
    contest.on_deadline(decision)
    run = decision.state.run
    if run is None or decision.context.now < run.deadline:
        return
    if run.stage == "probation":
        old = next((s.version for s in decision.state.shadows if s.role == "probation"), 0)
        decision.retire(old, "probation ended: no evidence against the new champion in time")
        decision.finish("promoted", "probation ended without evidence against it")
        return
    if run.stage == "approval":
        approval.reject(decision)
        _came_to_nothing(decision, "failed", "nobody approved of it within its deadline")
        return
    decision.version_stage(run.version, "rejected")
    why = ": too few labelled rows that both answered" if run.stage == "shadowing" else ""
    _came_to_nothing(decision, "failed", f"{run.stage} was not done within its deadline{why}")


def _came_to_nothing(decision: Decision, verdict: Verdict, reason: str) -> None:
    """The run ends without a promotion; an alarm that started it may start another."""
    run = decision.state.run
    assert run is not None
    decision.finish(verdict, reason)
    triggers.again(decision, run)


def _trained(decision: Decision, event: CandidateTrained) -> None:
    version = Version(
        manifest=event.manifest,
        manifest_sha256=event.manifest_sha256,
        run=event.run,
        stage="candidate",
        signature=event.signature,
    )
    decision.change(versions={**decision.state.versions, event.version: version})
    decision.stage("gating")


def _approved(decision: Decision, event: CandidateApproved) -> None:
    decision.version_stage(event.version, "challenger", gates=event.gates)
    if not decision.state.champion:
        first = "first model: all offline gates passed"
        if approval.wanted(decision):
            approval.ask(decision, event.version, first, data_time=event.data_time)
            return
        crown.promote(decision, event.run, event.version, first)
        decision.finish("promoted", first)
        return
    decision.stage("shadowing")
    assert decision.state.run is not None
    shadows.challenge(decision, event.run, event.version, decision.state.run.trigger)


def _challenge_concluded(decision: Decision, event: ShadowConcluded) -> None:
    shadow = shadows.find(decision, event.run, "challenger")
    if shadow is None or not crown.wins(decision, event, shadow):
        decision.version_stage(event.version, "rejected")
        _came_to_nothing(decision, "rejected", event.reason)
        return
    approval.won(decision, event, shadow)


def _probation_concluded(decision: Decision, event: ShadowConcluded) -> None:
    if event.verdict != "better":
        decision.retire(event.version, event.reason)
        decision.finish("promoted", f"kept on probation: {event.reason}")
        return
    demoted = decision.state.champion
    crown.roll_back(decision, event.run, event.version, event.reason)
    decision.finish("rolled_back", f"version {demoted} lost on probation: {event.reason}")
