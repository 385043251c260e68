"""Challengers that an operator puts beside the champion, and what becomes of them."""

from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import OperatorRequested, ShadowConcluded
from driftloop.contracts.names import run_id
from driftloop.contracts.requests import Done
from driftloop.contracts.state import Run, Shadow
from driftloop.modelspec import durations
from driftloop.registry.domain import approval, crown, shadows
from driftloop.registry.domain.decision import Decision

MOST: Final = 4
"""Shadows of a model at once: each is a process of its own beside the champion."""


def enter(decision: Decision, asked: OperatorRequested) -> Done:
    """A version that exists becomes one more challenger; raises `InvalidInput` if it cannot be."""
    state, version = decision.state, asked.version
    if not state.champion:
        raise InvalidInput("challenge: there is no champion; accepted: after the first promotion")
    taken = {s.version for s in state.shadows} | ({state.run.version} if state.run else set())
    if version in taken:
        raise InvalidInput(f"version: {version} is a shadow or in a run; accepted: another one")
    if state.run is not None and state.run.stage == "probation":
        raise InvalidInput(
            f"challenge: version {state.champion} is on probation; accepted: when that has ended"
        )
    if len(state.shadows) >= MOST - 1:  # one place is for the challenger of a run
        raise InvalidInput(f"challenge: {len(state.shadows)} shadows; accepted: below {MOST - 1}")
    deadline = decision.context.now + durations.seconds(decision.spec.shadow.max_duration)
    decision.version_stage(version, "challenger")
    run = run_id(asked.event_id())
    shadows.challenge(decision, run, version, "operator", deadline, asked.by)
    return Done(text=f"version {version} challenges version {state.champion} of {state.model}")


def concluded(decision: Decision, event: ShadowConcluded) -> None:
    """The evidence on such a challenger is in: it is promoted, or it retires."""
    shadow = shadows.find(decision, event.run, "challenger")
    if shadow is None:
        return
    if not crown.wins(decision, event, shadow):
        decision.retire(shadow.version, event.reason, run=shadow.run)
        return
    waiting = decision.state.waiting
    if waiting is not None:
        why = f"version {waiting.version} waits for approval already"
        decision.retire(shadow.version, why, run=shadow.run)
        return
    if decision.state.run is not None:
        decision.version_stage(decision.state.run.version, "retired")
        decision.finish("superseded", f"version {shadow.version} took over: {event.reason}")
    decision.change(run=_run(decision, shadow, event.reason))
    approval.won(decision, event, shadow)


def on_deadline(decision: Decision) -> None:
    """Challengers without a verdict in time (the wall's clock) retire."""
    for shadow in decision.state.shadows:
        if shadow.deadline and decision.context.now >= shadow.deadline:
            why = "no verdict within max_duration: too few labelled rows that both answered"
            decision.retire(shadow.version, why, run=shadow.run)


def _run(decision: Decision, shadow: Shadow, reason: str) -> Run:
    """The run of a probation that no training went before."""
    return Run(
        id=shadow.run,
        trigger="operator",
        trigger_id=shadow.started_id,
        reason=reason,
        version=shadow.version,
        stage="shadowing",
        deadline=0.0,
        started=decision.context.now,
        cause=shadow.started_id,
        asked_by=shadow.asked_by,
    )
