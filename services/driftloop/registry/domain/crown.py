"""The change of the champion: who wins, promotion, roll-back, and what ends with it."""

from typing import Any

from driftloop.contracts.events import (
    ModelPromoted,
    ModelRolledBack,
    ShadowConcluded,
    TriggerDeclined,
)
from driftloop.contracts.state import ModelState, Promotion, Shadow
from driftloop.registry.domain import shadows
from driftloop.registry.domain.decision import PAST_CHAMPIONS, Decision


def wins(decision: Decision, event: ShadowConcluded, shadow: Shadow) -> bool:
    """Whether a challenger is promoted; undecided only by policy, and never on fewer rows."""
    its = decision.spec.shadow
    leads = event.mean > shadows.margin_of(shadow, decision.spec) and event.rows >= its.min_rows
    by_policy = event.verdict == "undecided" and its.undecided == "promote" and leads
    return event.verdict == "better" or by_policy


def succeed(decision: Decision, shadow: Shadow, reason: str, data_time: int) -> None:
    """A challenger takes over; the run goes on with the old champion's probation.

    `data_time` is the data's clock when it won.
    """
    old = decision.state.champion
    promote(decision, shadow.run, shadow.version, reason)
    decision.stage("probation")
    shadows.probation(decision, shadow, old, data_time)


def promote(decision: Decision, run: str, version: int, reason: str) -> None:
    """`version` becomes the champion."""
    its = _crown(decision, version)
    decision.say(ModelPromoted(run=run, reason=reason, **_told(its)))


def roll_back(decision: Decision, run: str, version: int, reason: str) -> None:
    """`version`, a champion of before, takes its place back; who came after it never comes back."""
    past = decision.state.past_champions
    its = _crown(decision, version)
    kept = past[: past.index(version)] if version in past else past
    decision.change(past_champions=kept)
    decision.version_stage(its.previous, "retired")
    decision.say(ModelRolledBack(run=run, reason=reason, **_told(its)))


def _told(its: Promotion) -> dict[str, Any]:
    """What the events have of a promotion; the signature comes when it is written."""
    return {name: getattr(its, name) for name in its.__struct_fields__ if name != "signature"}


def _promotion(state: ModelState, version: int) -> Promotion:
    its = state.versions[version]
    return Promotion(
        model=state.model,
        number=(state.promotion.number if state.promotion is not None else 0) + 1,
        version=version,
        previous=state.champion,
        manifest_sha256=its.manifest_sha256,
        model_sha256=its.manifest.model_sha256,
    )


def _crown(decision: Decision, version: int) -> Promotion:
    """Make `version` the champion; `previous` of what returns is the one before (0: none)."""
    state, context = decision.state, decision.context
    promotion = _promotion(state, version)
    before = tuple(v for v in (*state.past_champions, state.champion) if v and v != version)
    decision.change(
        champion=version,
        promotion=promotion,
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
    return promotion
