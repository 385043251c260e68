"""The change of the champion: who wins, promotion, roll-back, and what ends with it."""

from driftloop.contracts.events import (
    ModelPromoted,
    ModelRolledBack,
    ShadowConcluded,
    TriggerDeclined,
)
from driftloop.contracts.state import Shadow
from driftloop.registry.domain import shadows
from driftloop.registry.domain.decision import PAST_CHAMPIONS, Decision


def wins(decision: Decision, event: ShadowConcluded, shadow: Shadow) -> bool:
    """Whether a challenger is promoted; undecided only by policy, and never on fewer rows."""
    its = decision.spec.shadow
    leads = event.mean > shadows.margin_of(shadow, decision.spec) and event.rows >= its.min_rows
    by_policy = event.verdict == "undecided" and its.undecided == "promote" and leads
    return event.verdict == "better" or by_policy


def succeed(decision: Decision, event: ShadowConcluded, shadow: Shadow) -> None:
    """A challenger takes over; the run goes on with the old champion's probation."""
    old = decision.state.champion
    promote(decision, event.run, shadow.version, event.reason)
    decision.stage("probation")
    shadows.probation(decision, shadow, old, event.data_time)


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
        shadows=(),
        challengers=0,
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
    for shadow in state.shadows:
        if shadow.role == "challenger" and shadow.version != version:
            why = f"version {version} took over since"
            decision.retire(shadow.version, why, run=shadow.run)
    decision.version_stage(version, "champion")
    if state.champion:
        decision.version_stage(state.champion, "retired")
    return state.champion
