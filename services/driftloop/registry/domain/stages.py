"""How a run goes from stage to stage, up to promotion, probation and roll-back."""

from driftloop.contracts.events import (
    AnyEvent,
    CandidateApproved,
    CandidateRejected,
    CandidateTrained,
    ModelPromoted,
    ModelRolledBack,
    Role,
    RunEvent,
    ShadowConcluded,
    ShadowStarted,
    TrainingFailed,
    TrainingStarted,
    TriggerDeclined,
    Verdict,
)
from driftloop.contracts.state import Shadow, Version
from driftloop.registry.domain import triggers
from driftloop.registry.domain.decision import PAST_CHAMPIONS, Decision


def on_run_event(decision: Decision, event: AnyEvent) -> None:
    """A fact about the run in progress; facts about other runs change nothing."""
    run = decision.state.run
    if not isinstance(event, RunEvent) or run is None or event.run != run.id:
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


def on_deadline(decision: Decision) -> None:
    """A stage took too long on the wall clock: the run ends, the champion stays."""
    run = decision.state.run
    if run is None or decision.context.now < run.deadline:
        return
    if run.stage == "probation":
        old = next((s.version for s in decision.state.shadows if s.role == "probation"), 0)
        decision.retire(old, "probation ended: no evidence against the new champion in time")
        decision.finish("promoted", "probation ended without evidence against it")
        return
    decision.version_stage(run.version, "rejected")
    _came_to_nothing(decision, "failed", f"{run.stage} was not done within its deadline")


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
    )
    decision.change(versions={**decision.state.versions, event.version: version})
    decision.stage("gating")


def _approved(decision: Decision, event: CandidateApproved) -> None:
    decision.version_stage(event.version, "challenger", gates=event.gates)
    if not decision.state.champion:
        promote(decision, event.run, event.version, "first model: all offline gates passed")
        decision.finish("promoted", "first model: all offline gates passed")
        return
    decision.stage("shadowing")
    since = decision.state.last_run_data_time
    _shadow(decision, event.run, event.version, "challenger", since)


def _challenge_concluded(decision: Decision, event: ShadowConcluded) -> None:
    undecided = decision.spec.shadow.undecided == "promote"
    wins = event.verdict == "better" or (
        event.verdict == "undecided" and undecided and event.mean > decision.spec.shadow.margin
    )
    if not wins:
        decision.version_stage(event.version, "rejected")
        _came_to_nothing(decision, "rejected", event.reason)
        return
    old = decision.state.champion
    promote(decision, event.run, event.version, event.reason)
    decision.stage("probation")
    _shadow(decision, event.run, old, "probation", event.data_time)


def _probation_concluded(decision: Decision, event: ShadowConcluded) -> None:
    if event.verdict != "better":
        decision.retire(event.version, event.reason)
        decision.finish("promoted", f"kept on probation: {event.reason}")
        return
    demoted = decision.state.champion
    decision.change(shadows=())
    roll_back(decision, event.run, event.version, event.reason)
    decision.finish("rolled_back", f"version {demoted} lost on probation: {event.reason}")


def promote(decision: Decision, run: str, version: int, reason: str) -> None:
    """`version` becomes the champion."""
    previous = _crown(decision, version)
    decision.say(
        ModelPromoted(
            model=decision.state.model,
            run=run,
            version=version,
            previous=previous,
            model_sha256=decision.state.versions[version].manifest.model_sha256,
            reason=reason,
        )
    )


def roll_back(decision: Decision, run: str, version: int, reason: str) -> None:
    """`version`, a champion of before, takes its place back; who came after it never comes back."""
    past = decision.state.past_champions
    previous = _crown(decision, version)
    kept = past[: past.index(version)] if version in past else past
    decision.change(past_champions=kept)
    decision.version_stage(previous, "retired")
    decision.say(
        ModelRolledBack(
            model=decision.state.model,
            run=run,
            version=version,
            previous=previous,
            model_sha256=decision.state.versions[version].manifest.model_sha256,
            reason=reason,
        )
    )


def _crown(decision: Decision, version: int) -> int:
    """Make `version` the champion; returns the one before (0: none)."""
    state, context = decision.state, decision.context
    before = tuple(v for v in (*state.past_champions, state.champion) if v and v != version)
    decision.change(
        champion=version,
        past_champions=before[-PAST_CHAMPIONS:],
        shadows=tuple(s for s in state.shadows if s.version != version),
        champion_since_scored=context.scored_seq + 1,
        champion_since_outcomes=context.outcomes_seq + 1,
    )
    waiting = state.deferred
    if waiting is not None:
        decision.change(deferred=None)
        decision.say(
            TriggerDeclined(
                model=state.model,
                trigger=waiting.trigger,
                trigger_id=waiting.trigger_id,
                data_time=waiting.data_time,
                reason=f"version {version} took over since",
            )
        )
    decision.version_stage(version, "champion")
    if state.champion:
        decision.version_stage(state.champion, "retired")
    return state.champion


def _shadow(decision: Decision, run: str, version: int, role: Role, since: int) -> None:
    """`version` answers beside the champion; rows of before `since` (event time) do not count."""
    state = decision.state
    started = ShadowStarted(
        model=state.model,
        run=run,
        version=version,
        champion=state.champion,
        role=role,
        from_seq=decision.context.outcomes_seq + 1,
        from_time=since,
    )
    shadow = Shadow(
        version=version,
        champion=state.champion,
        role=role,
        run=run,
        from_seq=started.from_seq,
        from_time=started.from_time,
        started_id=started.event_id(),
    )
    decision.change(shadows=(*state.shadows, shadow))
    decision.say(started)
