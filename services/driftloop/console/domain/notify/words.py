"""Control events in plain words: what happened, what the system did, what a person should do."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from driftloop.console.domain.notify.notices import Notice, short
from driftloop.console.domain.notify.rules import Severity
from driftloop.contracts import events as e
from driftloop.contracts.facts import Fact, clock


class Words(NamedTuple):
    """What is said of one event. `about`: see `Notice`."""

    severity: Severity
    title: str
    happened: str
    did: str = ""
    todo: str = "Nothing."
    about: str = ""
    guide: str = "how-to/read-a-run.md"


_ASK: Final = "Read why: `driftloop why {model}`, or the model's page."
_LOOP: Final = (
    "The loop takes it as a reason to train a new version, which becomes champion only if it is"
    " proved to be no worse. While a run is under way the alarm is kept for later."
)
_GOES_ON: Final = "The champion goes on."


def notice(told: Fact) -> Notice:
    """The notice of a control event."""
    said = _WORDS.get(type(told.event), _plain)(told.event)
    run = str(getattr(told.event, "run", "") or told.correlation)
    return Notice(
        id=told.id,
        kind=told.kind,
        severity=said.severity,
        at=told.time,
        title=short(f"{told.model}: {said.title}"),
        happened=short(said.happened or told.text),
        did=short(said.did),
        todo=short(said.todo.format(model=told.model)),
        model=told.model,
        run=run,
        about=f"{told.kind}:{told.model}:{said.about}" if said.about else "",
        page=f"#/run/{run}" if run else f"#/model/{told.model}",
        guide=said.guide,
        seq=told.seq,
    )


def answer(told: Fact) -> tuple[str, str]:
    """The id of the event that this one answers, and what the system did about it; or nothing."""
    match told.event:
        case e.RetrainRequested() as begun:
            did = f"{begun.run} began: version {begun.version} is being trained."
            return told.causation, f"{did} It becomes champion only if it is proved to be no worse."
        case e.TriggerDeclined() as declined:
            return declined.trigger_id, short(f"No run began: {declined.reason}. {_GOES_ON}")
        case _:
            return "", ""


def silent(event: e.AnyEvent) -> bool:
    """Whether an event is one that an operator can silence."""
    return isinstance(event, e.Alarm)


def _plain(event: e.AnyEvent) -> Words:
    return Words("info", event.kind.replace(".", " "), "")


def _change(alarm: e.Alarm, what: str) -> str:
    harm = {
        "unknown": "Whether it costs anything is not known yet: too few labels.",
        "moved": "The loss of the champion moved with it:"
        f" {alarm.labelled.before:.4g} before, {alarm.labelled.after:.4g} since.",
    }.get(alarm.labelled.harm, "The loss of the champion did not move with it.")
    others = ", ".join(part.detector for part in alarm.parts[1:6])
    return (
        f"{what} moved from {alarm.before:.4g} to {alarm.after:.4g} ({alarm.strength:.3g} standard"
        f" deviations), probably at {clock(alarm.since_time)} (time of the data),"
        f" {alarm.rows_since:,} rows ago.{f' Also: {others}.' if others else ''} {harm}"
    )


def _drift(alarm: e.DriftDetected) -> Words:
    what = f"the feature {alarm.feature}" if alarm.feature else f"{alarm.detector}"
    return Words(
        "warning",
        f"{what} no longer looks as it did",
        _change(alarm, f"The mean of {alarm.feature or alarm.detector}"),
        _LOOP,
        "Look whether the world changed or a source of data is broken: the model's page shows"
        " before and after. If it is known and harmless, silence the alarm.",
        alarm.detector,
        "explanation/drift.md",
    )


def _degraded(alarm: e.PerformanceDegraded) -> Words:
    return Words(
        "warning",
        f"version {alarm.version} has become worse",
        f"The mean {alarm.loss} loss of version {alarm.version} rose from {alarm.before:.4g} to"
        f" {alarm.after:.4g}, probably since {clock(alarm.since_time)} (time of the data),"
        f" {alarm.rows_since:,} labelled rows ago.",
        _LOOP,
        "Look at what else changed on the model's page. If the answers do harm, roll back:"
        " `driftloop rollback {model}`.",
        f"{alarm.detector}:{alarm.version}",
        "explanation/drift.md",
    )


def _shifted(alarm: e.LabelsShifted) -> Words:
    return Words(
        "warning",
        "the labels are no longer distributed as they were",
        _change(alarm, f"The mean of {alarm.detector}"),
        _LOOP,
        "Look whether the labels are right: a broken source of labels looks the same.",
        alarm.detector,
        "explanation/drift.md",
    )


def _promoted(event: e.ModelPromoted) -> Words:
    first = "It is the first champion."
    instead = f"Version {event.previous} is at hand to roll back to." if event.previous else first
    return Words(
        "info",
        f"version {event.version} is champion",
        f"Version {event.version} became champion: {event.reason}.",
        instead,
    )


def _rolled_back(event: e.ModelRolledBack) -> Words:
    return Words(
        "warning",
        f"rolled back to version {event.version}",
        f"Version {event.version} took its place back from version {event.previous}:"
        f" {event.reason}.",
        f"Version {event.version} answers again. The next reason to train begins a new run.",
        f"Nothing at once. {_ASK}",
    )


def _finished(event: e.RunFinished) -> Words:
    bad = event.verdict in ("failed", "rejected")
    severity: Severity = "info"
    if bad:
        severity = "critical" if event.trigger == "degraded" else "warning"
    todo = "Nothing."
    if bad:
        todo = f"{_ASK} Then `driftloop retrain {{model}}`, with another spec if that is the cause."
    return Words(
        severity,
        f"a run ended: {event.verdict.replace('_', ' ')}",
        f"{event.run}, begun for {event.trigger}, ended with version {event.version}"
        f" {event.verdict.replace('_', ' ')}: {event.reason}.",
        _GOES_ON if bad else "",
        todo,
        f"{event.verdict}:{event.trigger}" if bad else "",
    )


def _waits(event: e.ApprovalRequested) -> Words:
    return Words(
        "warning",
        f"version {event.version} waits for a second person",
        f"Version {event.version} won: {event.reason}.",
        f"{_GOES_ON} The version is not promoted before somebody approves of it.",
        f"Approve or deny it: `driftloop approve {{model}} {event.version} --reason ...`,"
        " or on the model's page.",
        guide="how-to/approve.md",
    )


def _refused(event: e.IntegrityRefused) -> Words:
    return Words(
        "critical",
        f"a {event.what} without a valid proof was refused",
        f"{event.reason}." + (f" It said it was from {event.claimed}." if event.claimed else ""),
        f"It was ignored. {_GOES_ON}",
        "Find out who wrote it: `driftloop audit --chain`. A key may be stolen.",
        f"{event.what}:{event.version}",
        "explanation/integrity.md",
    )


def _not_loaded(event: e.ModelRefused) -> Words:
    return Words(
        "critical",
        f"version {event.version} was not loaded as {event.role}",
        f"Inference refused version {event.version}: {event.reason}.",
        "What answered before goes on.",
        f"{_ASK} Promote another version, or train one: `driftloop retrain {{model}}`.",
        f"{event.role}:{event.version}",
        "explanation/integrity.md",
    )


def _ordered(event: e.OperatorRequested) -> Words:
    return Words("info", f"{event.by} ordered: {event.command}", "")


_WORDS: Final[dict[type, Callable[[Any], Words]]] = {
    e.OperatorRequested: _ordered,
    e.DriftDetected: _drift,
    e.PerformanceDegraded: _degraded,
    e.LabelsShifted: _shifted,
    e.ModelPromoted: _promoted,
    e.ModelRolledBack: _rolled_back,
    e.RunFinished: _finished,
    e.ApprovalRequested: _waits,
    e.IntegrityRefused: _refused,
    e.ModelRefused: _not_loaded,
}
