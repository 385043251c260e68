"""Sections on what changed and what was decided: alarms, promotions and roll-backs, runs."""

from collections.abc import Sequence
from typing import Final

from driftloop.cli.report import charts
from driftloop.cli.report.charts import Interval
from driftloop.cli.report.html import Html, tag
from driftloop.cli.report.parts import (
    code,
    figure,
    key,
    label,
    lines,
    newest,
    paragraph,
    section,
    table,
    time,
)
from driftloop.cli.report.story import Alarmed, Decided, Ended, Story, summary_of
from driftloop.cli.report.words import NONE, minute, moment, number, signed, verdict
from driftloop.contracts import events as e

DRAWN: Final = 12
"""Alarms with a chart, the newest; further ones are in a table."""
MOST_INTERVALS: Final = 30
MOST_ROWS: Final = 200


def alarms(story: Story) -> Html:
    """The drift alarms with what changed."""
    if not story.alarms:
        return section("Drift alarms", paragraph("None in this period."))
    listed, left = newest(story.alarms[:-DRAWN], MOST_ROWS, "of those without a chart")
    drawn = story.alarms[-DRAWN:]
    intro = (
        "An alarm says that rows, answers or losses are no longer distributed as they were, and"
        " since when, as far as that can be told. The alarm budget of the spec bounds how many come"
        " though nothing changed."
    )
    others = table(
        ("", "said", "what", "change at (time of the data)"),
        (
            (
                label(one.label),
                time(minute(one.fact.time)),
                _what(one),
                time(moment(one.alarm.since_time)),
            )
            for one in listed
        ),
    )
    return section(
        "Drift alarms",
        paragraph(intro),
        others if listed else Html(),
        left,
        *(_alarm(one) for one in reversed(drawn)),
    )


def _what(one: Alarmed) -> str:
    match one.alarm:
        case e.PerformanceDegraded() as its:
            return f"{its.loss} loss of version {its.version}"
        case e.DriftDetected() as its:
            named = its.detector.replace("prediction", "the answers").replace(":", ", ")
            return f"{its.feature or named} ({its.shift} shift)"
        case _:
            return f"the labels: share of {one.alarm.detector.removeprefix('label=')}"


def _alarm(one: Alarmed) -> Html:
    its = one.alarm
    facts = (
        f"The mean moved from {number(its.before)} to {number(its.after)}"
        f" ({number(its.strength)} standard deviations of a row). The change began at"
        f" {moment(its.since_time)} (time of the data), {its.rows_since:,} rows before the alarm."
    )
    others = ", ".join(f"{part.detector} ({part.share:.0%})" for part in its.parts[1:5])
    text = tag(
        "div",
        tag("h3", label(one.label), f" {_what(one)}"),
        paragraph(f"Said {minute(one.fact.time)} UTC.", kind="soft"),
        paragraph(facts),
        paragraph(_harm(its)),
        paragraph(f"Also part of it: {others}.") if others else Html(),
        paragraph(f"What the system did: {one.answer}."),
    )
    summary = summary_of(its)
    if summary is None or not summary.before:
        return tag("div", text, class_="alarmed")
    caption = f"{summary.detector}: share of the rows"
    chart = figure(
        charts.distribution(summary),
        caption,
        key("before", "before the change"),
        key("after", "since"),
    )
    return tag("div", text, chart, class_="alarmed")


def _harm(its: e.Alarm) -> str:
    known = its.labelled
    if isinstance(its, e.PerformanceDegraded):
        return "It is the loss itself that rose."
    if known.harm == "unknown":
        return "Too few rows had labels to say whether the loss moved with it."
    moved = "moved" if known.harm == "moved" else "did not move"
    return (
        f"The loss {moved} with it: {number(known.before)} before, {number(known.after)} since, on"
        f" {known.rows_after:,} labelled rows."
    )


def decisions(story: Story) -> Html:
    """Promotions and roll-backs with their evidence."""
    if not story.decisions:
        return section("Promotions and roll-backs", paragraph("None in this period."))
    intro = (
        "A challenger answers beside the champion, unseen by callers, and both are held against the"
        " same labels. The interval is of the difference of their mean losses, valid at every row"
        " count, however often it is looked at. A version takes the place only if the whole"
        " interval lies beyond the margin; after a promotion the old champion goes on in the same"
        " way, and comes back if it is better."
    )
    proved = [one for one in story.decisions if one.evidence is not None][-MOST_INTERVALS:]
    listed, left = newest(story.decisions, MOST_ROWS, "promotions and roll-backs")
    return section(
        "Promotions and roll-backs",
        paragraph(intro),
        _intervals(proved) if proved else Html(),
        table(
            ("", "when (UTC)", "version", "rows", "interval and margin", "why"),
            (_decision(one) for one in listed),
            numbers=("rows",),
        ),
        left,
    )


def _intervals(proved: Sequence[Decided]) -> Html:
    rows = []
    for one in proved:
        its = one.evidence
        assert its is not None
        rows.append(
            Interval(
                one.label,
                f"version {its.version} against {its.champion}, {its.rows:,} rows",
                its.lower,
                its.upper,
                its.mean,
                one.shadow.margin if one.shadow else None,
                "good" if isinstance(one.event, e.ModelPromoted) else "bad",
            )
        )
    caption = (
        "Mean loss of the champion minus that of the version that took its place. Right of 0 the"
        " new one is better. It is taken when its interval is right of the dashed margin: as"
        " better, or, where the margin is below 0, as no worse by more than that. Dot: the mean;"
        " bar: the interval when the verdict was given."
    )
    return figure(charts.intervals(rows), caption)


def _decision(one: Decided) -> tuple[object, ...]:
    its, margin = one.evidence, one.shadow.margin if one.shadow else None
    return (
        label(one.label),
        time(minute(one.fact.time)),
        lines(
            tag("b", one.event.version),
            tag("span", f"after {one.event.previous}" if one.event.previous else "first"),
        ),
        f"{its.rows:,}" if its else NONE,
        lines(
            time(f"{signed(its.lower)} to {signed(its.upper)}") if its else "no shadow",
            time(f"margin {signed(margin)}" if margin is not None else ""),
        ),
        lines(one.event.reason, code(f"model sha256 {one.event.model_sha256[:12]}")),
    )


def runs(story: Story) -> Html:
    """Every run that ended."""
    if not story.runs:
        return section("Runs of the loop", paragraph("None ended in this period."))
    listed, left = newest(story.runs, MOST_ROWS, "runs")
    return section(
        "Runs of the loop",
        table(
            ("ended (UTC)", "run", "trigger", "version", "verdict", "why"),
            (_run(one) for one in listed),
            numbers=("version",),
        ),
        left,
    )


def _run(one: Ended) -> tuple[object, ...]:
    its = one.event
    bad = its.verdict in ("failed", "rolled_back")
    kind = "good" if its.verdict == "promoted" else "bad" if bad else None
    return (
        time(minute(one.fact.time)),
        code(its.run),
        its.trigger.replace("_", " "),
        its.version,
        tag("span", verdict(its.verdict), class_=kind),
        its.reason,
    )
