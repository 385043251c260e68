"""What starts a run: triggers, the cool-down, and triggers that have to wait."""

from typing import NamedTuple

from driftloop.contracts.events import (
    Alarm,
    AnyEvent,
    DataAccumulated,
    DriftDetected,
    LabelsShifted,
    PerformanceDegraded,
    RetrainRequested,
    ScheduleDue,
    Trigger,
    TriggerDeclined,
)
from driftloop.contracts.names import run_id
from driftloop.contracts.state import Deferred, Run
from driftloop.modelspec import durations
from driftloop.registry.domain import holding
from driftloop.registry.domain.decision import Decision

MOST_ATTEMPTS = 3
"""Runs that one alarm may start: the first, and those after a candidate that came to nothing."""


class Fired(NamedTuple):
    """A trigger as the decision sees it; times in milliseconds on the clock of the data."""

    trigger: Trigger
    id: str
    reason: str
    data_time: int
    since_time: int = 0
    rows: int = 0
    stream: str = ""
    seq: int = 0
    attempt: int = 1
    harmless: str = ""
    """What the loss did, where labelled rows show that it did not move."""
    asked_by: str = ""
    """The operator who asked for a run."""


def fired(event: AnyEvent) -> Fired:
    """The trigger an event is."""
    if isinstance(event, PerformanceDegraded):
        numbers = f"from {event.before:.4f} to {event.after:.4f}"
        return _alarm("degraded", event, f"{event.loss} of version {event.version} rose {numbers}")
    if isinstance(event, DriftDetected | LabelsShifted):
        shift = "label" if isinstance(event, LabelsShifted) else event.shift
        numbers = f"{event.before:.4g} to {event.after:.4g}"
        return _alarm("drift", event, f"{shift} shift, {event.detector}: mean {numbers}")
    assert isinstance(event, DataAccumulated)
    reason = f"{event.rows:,} labelled rows"
    return Fired("new_data", event.event_id(), reason, event.data_time, rows=event.rows)


def _alarm(trigger: Trigger, event: Alarm, reason: str) -> Fired:
    loss = event.labelled
    return Fired(
        trigger=trigger,
        id=event.event_id(),
        reason=reason,
        data_time=event.data_time,
        since_time=event.since_time,
        stream=event.stream,
        seq=event.seq,
        harmless=f"{loss.before:.4g} to {loss.after:.4g} on {loss.rows_after:,} labelled rows"
        if loss.harm == "unmoved"
        else "",
    )


def on_trigger(decision: Decision, trigger: Fired) -> None:
    """Start a run, put the trigger off, or decline it and say why."""
    if not _wanted(decision, trigger):
        return
    state, spec = decision.state, decision.spec
    if paused := holding.declines(decision, trigger.trigger):
        _decline(decision, trigger, paused)
        return
    if not state.champion and trigger.trigger != "operator":
        start(decision, trigger._replace(trigger="bootstrap"))
        return
    if trigger.seq < _champion_since(decision, trigger.stream):
        _decline(decision, trigger, f"version {state.champion} took over since")
        return
    if trigger.trigger == "drift" and trigger.harmless and spec.drift.harmless == "note":
        _decline(decision, trigger, f"noted: the loss did not move, {trigger.harmless}")
        return
    if trigger.trigger == "new_data":
        on_clock(decision, trigger.data_time)  # an alarm that waits goes first
    cooling = trigger.trigger != "operator" and _cooling(decision, trigger.data_time)
    if decision.state.run is None and not cooling:
        start(decision, trigger)
    elif trigger.trigger in ("drift", "degraded", "operator"):
        _defer(decision, trigger)
    else:
        _decline(decision, trigger, "the cool-down is on" if cooling else "a run is in progress")


def _wanted(decision: Decision, trigger: Fired) -> bool:
    """Whether it starts runs at all; before the first champion, enough labelled rows do."""
    state, spec = decision.state, decision.spec
    if trigger.trigger == "operator":
        return True
    if not state.champion:
        return state.run is None and trigger.rows >= spec.training.min_rows
    return trigger.trigger in spec.triggers.on


def _cooling(decision: Decision, data_time: int) -> bool:
    """Whether the cool-down since the last run is on, by the clock of the data."""
    cooldown = durations.milliseconds(decision.spec.triggers.cooldown)
    return data_time < decision.state.last_run_data_time + cooldown


def _champion_since(decision: Decision, stream: str) -> int:
    """Where in a log the champion's own rows begin; 0 for what is no place in a log."""
    state = decision.state
    since = {"SCORED": state.champion_since_scored, "OUTCOMES": state.champion_since_outcomes}
    return since.get(stream, 0)


def on_schedule(decision: Decision) -> None:
    """The spec's `triggers.every` may have passed since the last run: start one."""
    state, spec = decision.state, decision.spec
    due = state.last_run_wall_time + durations.seconds(spec.triggers.every)
    wanted = "schedule" in spec.triggers.on and state.champion and state.run is None
    if not wanted or state.paused is not None or decision.context.now < due:
        return
    if state.deferred is not None:
        return  # an alarm that waits goes first
    number, data_time = state.runs_started + 1, state.last_run_data_time
    event = ScheduleDue(model=state.model, number=number, data_time=data_time)
    decision.begin_with(event)
    start(decision, Fired("schedule", event.event_id(), f"every {spec.triggers.every}", data_time))


def _decline(decision: Decision, trigger: Fired, reason: str) -> None:
    decision.say(
        TriggerDeclined(
            model=decision.state.model,
            data_time=trigger.data_time,
            trigger=trigger.trigger,
            trigger_id=trigger.id,
            reason=reason,
        )
    )


def _defer(decision: Decision, trigger: Fired) -> None:
    """Keep the strongest case for a run: a degraded model before a drifted one, else the first."""
    kept = decision.state.deferred
    if kept is not None and not (kept.trigger == "drift" and trigger.trigger == "degraded"):
        _decline(decision, trigger, f"{kept.trigger} of before is already waiting to start a run")
        return
    deferred = Deferred(
        trigger=trigger.trigger,
        trigger_id=trigger.id,
        reason=trigger.reason,
        since_time=trigger.since_time,
        data_time=trigger.data_time,
    )
    decision.change(deferred=deferred)


def on_clock(decision: Decision, data_time: int) -> None:
    """The data's clock moved on: a trigger that waited may start its run now."""
    waiting = decision.state.deferred
    if waiting is None or decision.state.run is not None or decision.state.paused is not None:
        return
    if waiting.trigger != "operator" and _cooling(decision, data_time):
        return
    decision.change(deferred=None)
    number = f"attempt {waiting.attempt}" if waiting.attempt > 1 else "waited its turn"
    fired = Fired(
        waiting.trigger,
        waiting.trigger_id,
        f"{waiting.reason} ({number})",
        data_time,
        waiting.since_time,
        attempt=waiting.attempt,
    )
    start(decision, fired)


def again(decision: Decision, run: Run) -> None:
    """The candidate of an alarm came to nothing: the model is as bad as before, so try once more.

    The detector has adapted and would not fire again. The next attempt waits for the cool-down.
    """
    waits = decision.state.deferred is not None
    if run.trigger not in ("drift", "degraded") or run.attempt >= MOST_ATTEMPTS or waits:
        return
    deferred = Deferred(
        trigger=run.trigger,
        trigger_id=run.trigger_id,
        reason=run.reason.removesuffix(" (waited its turn)").split(" (attempt ")[0],
        since_time=run.since_time,
        data_time=decision.state.last_run_data_time,
        attempt=run.attempt + 1,
    )
    decision.change(deferred=deferred)


def run_of(trigger_id: str, attempt: int) -> str:
    """The id of the run that a trigger starts, or starts again."""
    return run_id(trigger_id if attempt == 1 else f"{trigger_id}#{attempt}")


def start(decision: Decision, trigger: Fired) -> None:
    """A run begins: its candidate's version is reserved, the trainer is asked."""
    if trigger.trigger in ("drift", "degraded") and trigger.attempt == 1:
        decision.change(challengers=0)  # the world is another: so is the question
    state = decision.state
    run = Run(
        id=run_of(trigger.id, trigger.attempt),
        trigger=trigger.trigger,
        trigger_id=trigger.id,
        reason=trigger.reason,
        version=state.next_version,
        stage="training",
        deadline=0.0,
        started=decision.context.now,
        cause=trigger.id,
        since_time=trigger.since_time,
        attempt=trigger.attempt,
        asked_by=trigger.asked_by,
    )
    decision.change(
        run=run,
        next_version=state.next_version + 1,
        runs_started=state.runs_started + 1,
        last_run_data_time=max(trigger.data_time, state.last_run_data_time),
        last_run_wall_time=decision.context.now,
    )
    decision.stage("training")
    decision.say(
        RetrainRequested(
            model=state.model,
            data_time=trigger.data_time,
            run=run.id,
            trigger=run.trigger,
            reason=run.reason,
            version=run.version,
            spec_revision=decision.context.registered.revision,
            since_time=trigger.since_time,
        )
    )
