"""What an operator can ask for, beyond the loop."""

from collections.abc import Callable
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import OperatorRequested
from driftloop.contracts.names import run_id
from driftloop.contracts.requests import Command, Done
from driftloop.registry.domain import approval, contest, crown, holding, triggers
from driftloop.registry.domain.decision import Decision


def on_command(decision: Decision, command: Command) -> Done:
    """Carry out any command but `register`; raises `InvalidInput` when it cannot be."""
    state = decision.state
    asked = OperatorRequested(
        model=state.model,
        command=command.command,  # type: ignore[arg-type]  # `register` never comes here
        version=command.version,
        by=command.by,
        reason=command.reason or "no reason given",
        request=command.request,
        detector=command.detector,
        until=holding.until(command.seconds, decision.context.now),
    )
    decision.begin_with(asked)
    act = _WITHOUT_VERSION.get(command.command)
    return act(decision, asked) if act is not None else _of_version(decision, asked)


def _of_version(decision: Decision, asked: OperatorRequested) -> Done:
    """A challenge, a promotion or a roll-back."""
    state, version = decision.state, asked.version
    if asked.command == "rollback" and not version:
        version = _previous(decision)
    if version not in state.versions:
        known = ", ".join(str(v) for v in sorted(state.versions)) or "none yet"
        raise InvalidInput(
            f"version: {version} is not a version of {state.model}; accepted: {known}"
        )
    if version == state.champion:
        raise InvalidInput(f"version: {version} is the champion already; accepted: another one")
    if asked.command == "challenge":
        return contest.enter(decision, asked)
    if state.run is not None:
        decision.version_stage(state.run.version, "retired")
        decision.finish("superseded", f"{asked.by} asked for a {asked.command}: {asked.reason}")
    if asked.command == "promote" and approval.wanted(decision):
        return approval.ask_for(decision, asked)
    reason = f"{asked.by}: {asked.reason}"
    act = crown.promote if asked.command == "promote" else crown.roll_back
    act(decision, run_id(asked.event_id()), version, reason)
    return Done(text=f"version {version} is the champion of {state.model}")


def _retrain(decision: Decision, asked: OperatorRequested) -> Done:
    run = decision.state.run
    if run is not None:
        raise InvalidInput(
            f"retrain: {run.id} ({run.stage}) is in progress; accepted: when it has ended"
        )
    reason = f"{asked.by}: {asked.reason}"
    data_time = decision.state.last_run_data_time
    fired = triggers.Fired("operator", asked.event_id(), reason, data_time, asked_by=asked.by)
    triggers.start(decision, fired)
    started = decision.state.run
    assert started is not None
    return Done(
        text=f"{started.id} began: version {started.version} is being trained", run=started.id
    )


def _previous(decision: Decision) -> int:
    past = decision.state.past_champions
    if not past:
        raise InvalidInput("rollback: there was no champion before; accepted: after a promotion")
    return past[-1]


def _noted(_: Decision, asked: OperatorRequested) -> Done:
    return Done(text=f"{asked.command} of {asked.model} is noted")


_WITHOUT_VERSION: Final[dict[str, Callable[[Decision, OperatorRequested], Done]]] = {
    "retrain": _retrain,
    "approve": approval.approve,
    "deny": approval.deny,
    "pause": holding.pause,
    "resume": holding.resume,
    "silence": holding.silence,
    "requeue": _noted,
}
