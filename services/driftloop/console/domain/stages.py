"""The picture of a run: its steps, which are done, and which one it stands at."""

from typing import Final

from driftloop.console.api.shapes.model import Step, StepState
from driftloop.contracts.state import Run, Stage

STEPS: Final = ("trigger", "train", "gate", "shadow", "promote", "probation")
_AT: Final[dict[Stage, int]] = {
    "training": 1,
    "gating": 2,
    "shadowing": 3,
    "approval": 4,
    "probation": 5,
}


def picture(run: Run | None) -> tuple[Step, ...]:
    """The steps of a run; all open where there is none."""
    if run is None:
        return tuple(Step(name=name, state="open") for name in STEPS)
    at = _AT[run.stage]
    return tuple(Step(name=name, state=_state(run, at, n)) for n, name in enumerate(STEPS))


def _state(run: Run, at: int, number: int) -> StepState:
    if number < at or run.verdict == "promoted":
        return "done"
    if number > at:
        return "open"
    return "now" if run.verdict is None else "failed"
