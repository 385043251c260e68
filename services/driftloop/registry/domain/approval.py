"""Promotions that wait for a second person, where the spec asks for one."""

from typing import NamedTuple

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import (
    ApprovalGiven,
    ApprovalRequested,
    OperatorRequested,
    ShadowConcluded,
)
from driftloop.contracts.names import run_id
from driftloop.contracts.requests import Done
from driftloop.contracts.state import Run, Shadow, Waiting
from driftloop.registry.domain import crown, shadows
from driftloop.registry.domain.decision import Decision

UNUSED = ("candidate", "challenger")
"""Stages of a version that was never champion: it is rejected when nobody approves of it."""


class _Asked(NamedTuple):
    """What waits, and the run it is of."""

    waiting: Waiting
    run: Run


def wanted(decision: Decision) -> bool:
    """Whether a promotion of this model waits for a second person."""
    return decision.spec.approval == "required"


def ask(
    decision: Decision, version: int, reason: str, *, data_time: int = 0, probation: bool = False
) -> None:
    """The run in progress waits for a second person; `data_time`, `probation`: see `Waiting`."""
    decision.stage("approval")
    run = decision.state.run
    assert run is not None
    waiting = Waiting(version=version, reason=reason, data_time=data_time, probation=probation)
    decision.change(waiting=waiting)
    decision.say(
        ApprovalRequested(
            model=decision.state.model,
            data_time=data_time,
            run=run.id,
            version=version,
            reason=reason,
            asked_by=run.asked_by,
        )
    )


def won(decision: Decision, event: ShadowConcluded, shadow: Shadow) -> None:
    """A challenger of the run in progress won: it takes over, or waits."""
    if not wanted(decision):
        crown.succeed(decision, shadow, event.reason, event.data_time)
        return
    # From now on the deadline of the stage counts; until then it answers on beside the champion.
    stays = msgspec.structs.replace(shadow, deadline=0.0)
    its = tuple(stays if s == shadow else s for s in decision.state.shadows)
    decision.change(shadows=its)
    ask(decision, shadow.version, event.reason, data_time=event.data_time, probation=True)


def ask_for(decision: Decision, asked: OperatorRequested) -> Done:
    """An operator's `promote` waits, in a run of its own."""
    version, run = asked.version, run_id(asked.event_id())
    reason = f"{asked.by}: {asked.reason}"
    decision.change(
        run=Run(
            id=run,
            trigger="operator",
            trigger_id=asked.event_id(),
            reason=reason,
            version=version,
            stage="approval",
            deadline=0.0,
            started=decision.context.now,
            cause=asked.event_id(),
            asked_by=asked.by,
        )
    )
    ask(decision, version, reason)
    text = f"version {version} of {decision.state.model} waits for a second person"
    return Done(text=f"{text}: `driftloop approve {decision.state.model}`", run=run)


def approve(decision: Decision, asked: OperatorRequested) -> Done:
    """A second person approves: the version is promoted. Raises `InvalidInput`."""
    waiting, run = _asked(decision, asked)
    if run.asked_by and asked.by.strip().casefold() == run.asked_by.strip().casefold():
        raise InvalidInput(
            f"by: {asked.by!r} asked for version {waiting.version}; accepted: another person"
        )
    decision.say(
        ApprovalGiven(
            model=decision.state.model,
            data_time=waiting.data_time,
            run=run.id,
            version=waiting.version,
            by=asked.by,
            reason=asked.reason,
        )
    )
    decision.change(waiting=None)
    reason = f"{waiting.reason}; approved by {asked.by}: {asked.reason}"
    shadow = shadows.find(decision, run.id, "challenger")
    if waiting.probation and shadow is not None:
        crown.succeed(decision, shadow, reason, waiting.data_time)
    else:
        crown.promote(decision, run.id, waiting.version, reason)
        decision.finish("promoted", reason)
    return Done(text=f"version {waiting.version} is the champion of {decision.state.model}")


def deny(decision: Decision, asked: OperatorRequested) -> Done:
    """Somebody denies it, also who asked: the run ends. Raises `InvalidInput`."""
    waiting, run = _asked(decision, asked)
    reject(decision)
    decision.finish("rejected", f"denied by {asked.by}: {asked.reason}")
    return Done(text=f"version {waiting.version} is not promoted", run=run.id)


def reject(decision: Decision) -> None:
    """What waits was not approved of; a champion of before stays what it was."""
    waiting = decision.state.waiting
    known = decision.state.versions.get(waiting.version) if waiting is not None else None
    if known is not None and known.stage in UNUSED:
        decision.version_stage(known.manifest.version, "rejected")


def _asked(decision: Decision, asked: OperatorRequested) -> _Asked:
    waiting, run = decision.state.waiting, decision.state.run
    if waiting is None or run is None:
        raise InvalidInput(
            f"{asked.command}: no version of {decision.state.model} waits for approval; accepted: "
            "one that won, or was asked for, while the spec has approval = 'required'"
        )
    if asked.version not in (0, waiting.version):
        raise InvalidInput(
            f"version: {asked.version} does not wait for approval; accepted: {waiting.version}"
        )
    return _Asked(waiting, run)
