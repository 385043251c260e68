"""Starts shadows, each with the margin and the share of the error level it is judged by."""

from typing import Any, Final

from driftloop.contracts.events import Role, ShadowStarted, Trigger
from driftloop.contracts.state import Shadow
from driftloop.evidence import share_of_level
from driftloop.modelspec.spec import Spec
from driftloop.registry.domain.decision import Decision

REFRESH: Final[tuple[Trigger, ...]] = ("schedule", "new_data")
"""Triggers that say nothing against the champion: a model as good and fresher is wanted.

An operator's `retrain` is not among them: it is one decision of a person, who can promote any
version by name if no evidence is wanted.
"""


def challenge(
    decision: Decision,
    run: str,
    version: int,
    trigger: Trigger,
    deadline: float = 0.0,
    asked_by: str = "",
) -> None:
    """`version` challenges the champion, with the next share of the error level.

    Rows of before the data's clock at the newest run do not count. `deadline`, `asked_by`: see
    `Shadow`.
    """
    its, fresh = decision.spec.shadow, trigger in REFRESH
    number = decision.state.challengers + 1
    decision.change(challengers=number)
    _start(
        decision,
        run=run,
        version=version,
        role="challenger",
        since=decision.state.last_run_data_time,
        rule="non_inferiority" if fresh else "superiority",
        level=share_of_level(its.level, number),
        margin=its.margin - (its.non_inferiority if fresh else 0.0),
        number=number,
        deadline=deadline,
        asked_by=asked_by,
    )


def probation(decision: Decision, won: Shadow, old: int, since: int) -> None:
    """The `old` champion goes on beside the challenger that `won`, and may come back.

    It has to be better by the absolute value of the margin that the challenger had: it takes as
    much to go back as it took to come, and what was let off the challenger is let off here too.
    """
    its = decision.spec
    _start(
        decision,
        run=won.run,
        version=old,
        role="probation",
        since=since,
        rule="superiority",
        level=its.shadow.level,
        margin=abs(margin_of(won, its)),
        number=0,
        deadline=0.0,
    )


def margin_of(shadow: Shadow, spec: Spec) -> float:
    """The margin of a shadow; of one that began before it was recorded, the spec's."""
    return spec.shadow.margin if shadow.margin is None else shadow.margin


def find(decision: Decision, run: str, role: Role) -> Shadow | None:
    """The shadow that a run, or a command, has in a role."""
    return next((s for s in decision.state.shadows if (s.run, s.role) == (run, role)), None)


def _start(
    decision: Decision,
    *,
    since: int,
    number: int,
    deadline: float,
    asked_by: str = "",
    **its: Any,
) -> None:
    """Say that a shadow starts and keep it; `its` are the fields that both have."""
    state = decision.state
    both = {
        "champion": state.champion,
        "from_seq": decision.context.outcomes_seq + 1,
        "from_time": since,
        "challenger": number,
        **its,
    }
    started = ShadowStarted(model=state.model, **both)
    shadow = Shadow(started_id=started.event_id(), deadline=deadline, asked_by=asked_by, **both)
    decision.change(shadows=(*state.shadows, shadow))
    decision.say(started)
