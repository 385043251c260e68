"""A control event with its place in the log, and every event as one line a person can read."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from driftloop.contracts import events as e
from driftloop.contracts import headers
from driftloop.contracts.alarms import Loss


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What was said and when, in which run (`correlation`), after which event (`causation`).

    `service` is who says events of this kind.
    """

    seq: int
    id: str
    time: str
    kind: str
    model: str
    correlation: str
    causation: str
    text: str
    event: e.AnyEvent
    service: str = ""


def fact(seq: int, said: Mapping[str, str], event: e.AnyEvent) -> Fact:
    """The event at sequence `seq` of EVENTS with the headers it was published with."""
    return Fact(
        seq=seq,
        id=said.get("ce-id", event.event_id()),
        time=said.get("ce-time", ""),
        kind=event.kind,
        model=event.model,
        correlation=said.get(headers.CORRELATION, ""),
        causation=said.get(headers.CAUSATION, ""),
        text=line(event),
        event=event,
        service=event.owner,
    )


def line(event: e.AnyEvent) -> str:
    """The event in words and numbers on one line, without its time, kind and model."""
    return " ".join(_LINES[type(event)](event).split())


def clock(millis: int) -> str:
    """Milliseconds since 1970 as a UTC minute."""
    return f"{datetime.fromtimestamp(millis / 1000, UTC):%Y-%m-%d %H:%M}"


def dataset(d: e.Dataset) -> str:
    """A range of a log with what proves it."""
    return f"{d.rows:,} rows ({d.stream} {d.first_seq}-{d.last_seq}, sha256 {d.sha256[:12]})"


def gates(checks: tuple[e.Gate, ...]) -> str:
    """Each gate with its number and its bound; those that failed first and named so."""
    ordered = sorted(checks, key=lambda gate: gate.passed)
    return "; ".join(
        f"{'' if gate.passed else 'FAILED '}{gate.name} {gate.value:.4g} (bound {gate.bound:.4g})"
        for gate in ordered
    )


def _alarm(alarm: e.Alarm, what: str) -> str:
    since = f"since {clock(alarm.since_time)}, {alarm.rows_since:,} rows"
    others = ", ".join(f"{p.detector} {p.share:.0%}" for p in alarm.parts[1:])
    return (
        f"{what} {alarm.before:.4g} -> {alarm.after:.4g} (strength {alarm.strength:.3g}), {since}"
        + (f"; also {others}" if others else "")
        + _harm(alarm.labelled)
    )


def _harm(loss: Loss) -> str:
    if loss.harm == "unknown":
        return ""
    return (
        f"; the loss {'moved' if loss.harm == 'moved' else 'did not move'}:"
        f" {loss.before:.4g} -> {loss.after:.4g} on {loss.rows_after:,} labelled rows"
    )


def _drift(alarm: e.DriftDetected) -> str:
    return _alarm(alarm, f"{alarm.shift} shift, {alarm.detector}:")


def _candidate(event: e.CandidateTrained) -> str:
    made = event.manifest
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in made.metrics.items())
    return (
        f"version {event.version}: {made.estimator} fitted on {dataset(made.train)},"
        f" window {made.window}, holdout {made.holdout.rows:,} rows,"
        f" {made.seconds:.1f} s{_fits(made)} ({made.cpu_seconds:.1f} s CPU),"
        f" {made.model_bytes / 1024:.0f} KiB,"
        f" model sha256 {made.model_sha256[:12]}; {metrics}"
    )


def _fits(made: e.Manifest) -> str:
    fitted = [f"{w.name} {w.seconds:.1f} s" for w in made.tried if w.loss is not None]
    return f", of which {', '.join(fitted)}" if len(fitted) > 1 else ""


def _concluded(event: e.ShadowConcluded) -> str:
    against = "against" if event.verdict == "undecided" else "than"
    return (
        f"version {event.version} ({event.role}) is {event.verdict} {against}"
        f" version {event.champion}: loss difference {event.mean:+.4f},"
        f" interval {event.lower:+.4f} to {event.upper:+.4f} on {event.rows:,} paired rows"
    )


def _rule(event: e.ShadowStarted) -> str:
    if event.level is None or event.margin is None:
        return ""
    rule = event.rule.replace("_", "-")
    return f"; better by {rule}: over {event.margin:+.4g} at level {event.level:.3g}"


def _operator(event: e.OperatorRequested) -> str:
    version = f" version {event.version}" if event.version else ""
    if event.command == "silence":
        until = f"until {clock(int(event.until * 1_000))}" if event.until else "no longer"
        version = f" {event.detector or 'all alarms'} {until}"
    return f"{event.command}{version} by {event.by}{f': {event.reason}' if event.reason else ''}"


def _retrain(event: e.RetrainRequested) -> str:
    since = f", on rows since {clock(event.since_time)}" if event.since_time else ""
    return f"{event.run} for {event.trigger}: {event.reason}; version {event.version}{since}"


def _started(event: e.TrainingStarted) -> str:
    held = f"holdout {dataset(event.holdout)}"
    return f"version {event.version} on {dataset(event.train)}, {held}, window {event.window}"


def _replaced(event: e.ModelPromoted | e.ModelRolledBack) -> str:
    instead = f" instead of version {event.previous}" if event.previous else ", the first champion"
    return (
        f"version {event.version}{instead}, model sha256 {event.model_sha256[:12]}: {event.reason}"
    )


def _refused(event: e.IntegrityRefused) -> str:
    version = f" version {event.version}" if event.version else ""
    claimed = f", said to be from {event.claimed}" if event.claimed else ""
    return f"{event.what}{version}{claimed}: {event.reason}"


def _waits(event: e.ApprovalRequested) -> str:
    asked = f"; asked for by {event.asked_by}" if event.asked_by else ""
    return f"version {event.version} waits for a second person: {event.reason}{asked}"


def _letter(event: e.LetterReplayed | e.LetterDropped) -> str:
    return (
        f"DEAD:{event.letter} of {event.service}, {event.position}, by {event.by}: {event.reason}"
    )


_LINES: Final[dict[type, Callable[[Any], str]]] = {
    e.SpecRegistered: lambda x: (
        f"revision {x.revision} by {x.by}{f': {x.reason}' if x.reason else ''}"
    ),
    e.DataAccumulated: lambda x: f"{x.rows:,} labelled rows, OUTCOMES {x.outcomes_seq}",
    e.DriftDetected: _drift,
    e.PerformanceDegraded: lambda x: _alarm(x, f"{x.loss} loss of version {x.version}:"),
    e.LabelsShifted: lambda x: _alarm(x, f"shift of the labels, {x.detector}:"),
    e.ScheduleDue: lambda x: f"number {x.number}",
    e.OperatorRequested: _operator,
    e.TriggerDeclined: lambda x: f"{x.trigger} ({x.trigger_id}): {x.reason}",
    e.RetrainRequested: _retrain,
    e.TrainingStarted: _started,
    e.TrainingFailed: lambda x: f"version {x.version}: {x.reason}",
    e.CandidateTrained: _candidate,
    e.CandidateApproved: lambda x: f"version {x.version} in {x.seconds:.1f} s: {gates(x.gates)}",
    e.CandidateRejected: lambda x: (
        f"version {x.version} in {x.seconds:.1f} s: {x.reason}; {gates(x.gates)}"
    ),
    e.ShadowStarted: lambda x: (
        f"version {x.version} beside version {x.champion} as {x.role},"
        f" OUTCOMES {x.from_seq}{_rule(x)}"
    ),
    e.ShadowConcluded: _concluded,
    e.ModelPromoted: _replaced,
    e.ModelRolledBack: _replaced,
    e.ModelRetired: lambda x: f"version {x.version}: {x.reason}",
    e.RunFinished: lambda x: f"{x.run} ({x.trigger}) {x.verdict}: version {x.version}, {x.reason}",
    e.IntegrityRefused: _refused,
    e.ModelRefused: lambda x: f"version {x.version} as {x.role}: {x.reason}",
    e.ApprovalRequested: _waits,
    e.ApprovalGiven: lambda x: f"version {x.version} by {x.by}: {x.reason}",
    e.LetterReplayed: _letter,
    e.LetterDropped: _letter,
}
