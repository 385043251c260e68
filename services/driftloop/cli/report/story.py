"""What happened, from the control events: alarms, decisions with their evidence, versions, runs."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from driftloop.console.api.shapes.past import LossPoint
from driftloop.contracts import events as e
from driftloop.contracts.alarms import Summary
from driftloop.contracts.facts import Fact

NONE: Final = "no run of its own: one was under way, or the spec does not react to this kind"


class Alarmed(msgspec.Struct, frozen=True, kw_only=True):
    """A drift alarm, its label in charts, and what came of it."""

    label: str
    fact: Fact
    alarm: e.Alarm
    answer: str


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """A promotion or a roll-back: its label, and the evidence on the shadow that led to it."""

    label: str
    fact: Fact
    event: e.ModelPromoted | e.ModelRolledBack
    evidence: e.ShadowConcluded | None
    shadow: e.ShadowStarted | None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A version: its training, its gates, and how its run ended ("" while it goes on)."""

    fact: Fact
    manifest: e.Manifest
    gates: tuple[e.Gate, ...]
    verdict: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended."""

    fact: Fact
    event: e.RunFinished


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, in the order of the log."""

    alarms: tuple[Alarmed, ...]
    decisions: tuple[Decided, ...]
    versions: tuple[Made, ...]
    runs: tuple[Ended, ...]


def story(facts: Sequence[Fact]) -> Story:
    """The story of the events of one model, in the order of the log."""
    return Story(
        alarms=tuple(_alarms(facts)),
        decisions=tuple(_decisions(facts)),
        versions=tuple(_versions(facts)),
        runs=tuple(
            Ended(fact=told, event=told.event)
            for told in facts
            if isinstance(told.event, e.RunFinished)
        ),
    )


def _alarms(facts: Sequence[Fact]) -> Iterable[Alarmed]:
    answers: dict[str, str] = {}
    for told in facts:
        if isinstance(told.event, e.RetrainRequested):
            answers.setdefault(told.causation, f"{told.event.run}: version {told.event.version}")
        elif isinstance(told.event, e.TriggerDeclined):
            answers.setdefault(told.event.trigger_id, f"no run: {told.event.reason}")
    number = 0
    for told in facts:
        if isinstance(told.event, e.Alarm):
            number += 1
            yield Alarmed(
                label=f"A{number}",
                fact=told,
                alarm=told.event,
                answer=answers.get(told.id, NONE),
            )


def _decisions(facts: Sequence[Fact]) -> Iterable[Decided]:
    counts = {"P": 0, "R": 0}
    for told in facts:
        event = told.event
        if not isinstance(event, e.ModelPromoted | e.ModelRolledBack):
            continue
        kind = "P" if isinstance(event, e.ModelPromoted) else "R"
        counts[kind] += 1
        before = [past for past in facts if past.seq < told.seq]
        concluded = _last(before, e.ShadowConcluded, event, kind)
        begun = _last(before, e.ShadowStarted, event, kind) if concluded else None
        yield Decided(
            label=f"{kind}{counts[kind]}",
            fact=told,
            event=event,
            evidence=concluded if isinstance(concluded, e.ShadowConcluded) else None,
            shadow=begun if isinstance(begun, e.ShadowStarted) else None,
        )


def _last(
    facts: Sequence[Fact],
    kind: type[e.ShadowConcluded] | type[e.ShadowStarted],
    event: e.ModelPromoted | e.ModelRolledBack,
    label: str,
) -> e.ShadowConcluded | e.ShadowStarted | None:
    """The newest event of a kind about the version that took the place, as shadow, in its run."""
    role = "challenger" if label == "P" else "probation"
    for told in reversed(facts):
        its = told.event
        if isinstance(its, kind) and (its.run, its.version, its.role) == (
            event.run,
            event.version,
            role,
        ):
            return its
    return None


def _versions(facts: Sequence[Fact]) -> Iterable[Made]:
    gates: dict[int, tuple[e.Gate, ...]] = {}
    verdicts: dict[str, str] = {}
    for told in facts:
        if isinstance(told.event, e.CandidateApproved | e.CandidateRejected):
            gates[told.event.version] = told.event.gates
        elif isinstance(told.event, e.RunFinished):
            verdicts[told.event.run] = told.event.verdict
    for told in facts:
        if isinstance(told.event, e.CandidateTrained):
            yield Made(
                fact=told,
                manifest=told.event.manifest,
                gates=gates.get(told.event.version, ()),
                verdict=verdicts.get(told.event.run, ""),
            )


def drawn(points: Sequence[LossPoint]) -> tuple[list[LossPoint], int]:
    """The points of enough labelled rows to be drawn, and how many are left out.

    Enough is a twentieth of what the bucket in the middle has.
    """
    rows = sorted(point[2] for point in points)
    least = rows[len(rows) // 2] / 20 if rows else 0.0
    kept = [point for point in points if point[2] >= least]
    return kept, len(points) - len(kept)


def mean(points: Sequence[LossPoint]) -> float | None:
    """The mean loss over all labelled rows of some points; None without one."""
    rows = sum(point[2] for point in points)
    return sum(point[1] * point[2] for point in points) / rows if rows else None


def beside(
    live: Sequence[LossPoint], frozen: Sequence[LossPoint]
) -> tuple[float, float, int] | None:
    """Mean losses of the champion and of the old one where both answered, and the old one's rows.

    Both are weighted by the rows that the old one answered too, bucket by bucket.
    """
    of = {point[0]: point for point in live}
    pairs = [(of[point[0]], point) for point in frozen if point[0] in of]
    rows = sum(old[2] for _, old in pairs)
    if not rows:
        return None
    new = sum(now[1] * old[2] for now, old in pairs) / rows
    return new, sum(old[1] * old[2] for _, old in pairs) / rows, rows


def summary_of(alarm: e.Alarm) -> Summary | None:
    """The distribution of the detector with the largest share, if the alarm has it."""
    found = [its for its in alarm.summaries if its.detector == alarm.detector]
    return found[0] if found else (alarm.summaries[0] if alarm.summaries else None)
