"""What an operator can ask for, beyond the loop."""

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import OperatorRequested
from driftloop.contracts.names import run_id
from driftloop.contracts.requests import Command, Done
from driftloop.registry.domain import approval, contest, crown, triggers
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
    )
    decision.begin_with(asked)
    if command.command == "retrain":
        return _retrain(decision, asked)
    if command.command == "approve":
        return approval.approve(decision, asked)
    if command.command == "deny":
        return approval.deny(decision, asked)
    version = command.version
    if command.command == "rollback" and not version:
        version = _previous(decision)
    if version not in state.versions:
        known = ", ".join(str(v) for v in sorted(state.versions)) or "none yet"
        raise InvalidInput(
            f"version: {version} is not a version of {state.model}; accepted: {known}"
        )
    if version == state.champion:
        raise InvalidInput(f"version: {version} is the champion already; accepted: another one")
    if command.command == "challenge":
        return contest.enter(decision, asked)
    if state.run is not None:
        decision.version_stage(state.run.version, "retired")
        decision.finish("superseded", f"{command.by} asked for a {command.command}: {asked.reason}")
    if command.command == "promote" and approval.wanted(decision):
        return approval.ask_for(decision, asked)
    reason = f"{command.by}: {asked.reason}"
    act = crown.promote if command.command == "promote" else crown.roll_back
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
