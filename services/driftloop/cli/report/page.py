"""The report as one HTML document: its head, its summary, and the sections in their order."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

from msgspec.structs import replace

from driftloop.cli.report import charts, decisions, facts
from driftloop.cli.report.charts import Flag
from driftloop.cli.report.gather import Gathered
from driftloop.cli.report.html import Html, tag
from driftloop.cli.report.parts import figure, key, label, paragraph, section
from driftloop.cli.report.story import Story, beside, drawn, mean, story
from driftloop.cli.report.words import NONE, count, minute, moment, money, number
from driftloop.console.api.shapes import Cost

MOST_FLAGS: Final = 40
"""Alarms with a flag on the time line, the newest."""


def page(its: Gathered, made: datetime, version: str) -> str:
    """The whole document; `made` is when, `version` is Driftloop's."""
    told = story(its.facts)
    name = its.model.card.name
    style = (files("driftloop.cli.report") / "style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name}: model report, {made.astimezone(UTC):%Y-%m-%d}"),
        tag("style", Html(style)),
    )
    body = tag(
        "main",
        _header(its, made),
        paragraph(*_summary(its, told), kind="lead"),
        _tiles(its, told),
        _quality(its, told),
        decisions.decisions(told),
        decisions.alarms(told),
        decisions.runs(told),
        facts.versions(its, told),
        facts.accounting(its.data),
        facts.labels(its.data),
        facts.costs(its.costs),
        _footer(its, made, version),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def _header(its: Gathered, made: datetime) -> Html:
    card, spec = its.model.card, its.model.spec
    about = f"{card.task} of {spec.target}, revision {spec.revision} of its spec" if spec else ""
    period = f"since {minute(its.since)} UTC" if its.since else "from the beginning"
    cut = " (only the newest events fit)" if its.older else ""
    return tag(
        "header",
        tag("p", "Model report", class_="kicker"),
        tag("h1", card.name),
        tag("p", about, class_="soft"),
        tag(
            "p",
            f"Period: {period}{cut}, made {made.astimezone(UTC):%Y-%m-%d %H:%M} UTC.",
            class_="soft",
        ),
    )


def _summary(its: Gathered, told: Story) -> list[object]:
    """What a reader has to know, in a few sentences."""
    card, line = its.model.card, its.timeline
    promoted, back = _numbers(told)
    said: list[object] = []
    if card.champion:
        said.append(
            tag("b", f"Version {card.champion} answers since {minute(card.champion_since)} UTC.")
        )
    else:
        said.append(tag("b", "No version answers yet."))
    said.append(
        f" In this period the system raised {count(len(told.alarms), 'drift alarm')}, promoted"
        f" {count(promoted, 'version')} and rolled back {back}."
    )
    whole, newest = mean(line.live), mean(line.live[-max(1, len(line.live) // 10) :])
    if whole is not None and newest is not None:
        said.append(
            f" The mean {line.loss_name} loss of what was answered is {number(whole)};"
            f" in the newest tenth of the time line it is {number(newest)}."
        )
    if (pair := beside(line.live, line.frozen)) is not None:
        new, old, rows = pair
        than = "lower" if new < old else "higher"
        said.append(
            f" Where an old champion answered beside its successor ({rows:,} rows), the successor's"
            f" loss was {number(abs(old - new))} {than}: {number(new)} against {number(old)}."
        )
    if card.trouble_text:
        said.append(f" Now: {card.trouble_text}")
    return said


def _numbers(told: Story) -> tuple[int, int]:
    promoted = sum(one.label.startswith("P") for one in told.decisions)
    return promoted, len(told.decisions) - promoted


def _tiles(its: Gathered, told: Story) -> Html:
    promoted, back = _numbers(told)
    line, data, costs = its.timeline, its.data, its.costs
    loss = mean(line.live)
    rows = sum(point[2] for point in line.live)
    closes = data.closes if data else None
    sums = {True: ("closes", "good"), False: ("open", "warn"), None: ("unknown", None)}[closes]
    each = costs.predictions.per_million if costs.predictions else None
    cells: tuple[tuple[object, str, str | None], ...] = (
        (f"v{its.model.card.champion}" if its.model.card.champion else "none", "champion", None),
        (number(loss) if loss is not None else NONE, f"mean {line.loss_name} loss", None),
        (f"{rows:,}", "rows answered and labelled", None),
        (len(told.alarms), "drift alarms", "warn" if told.alarms else None),
        (promoted, "promotions", "good" if promoted else None),
        (back, "roll-backs", "bad" if back else None),
        (sums[0], "accounting", sums[1]),
        _million(each),
    )
    return tag(
        "div",
        *(
            tag("div", tag("b", value, class_=kind), tag("span", name), class_="tile")
            for value, name, kind in cells
        ),
        class_="tiles",
    )


def _million(each: Cost | None) -> tuple[object, str, str | None]:
    """The cell about a million predictions: money if there is a price."""
    if each is None or each.money is None:
        return (f"{each.cpu_seconds:,.1f} s" if each else NONE), "CPU, a million predictions", None
    return money(each), f"a million predictions ({each.cpu_seconds:,.1f} CPU s)", None


def _quality(its: Gathered, told: Story) -> Html:
    line = its.timeline
    if not line.live:
        return section("Quality over time", paragraph("No labelled row has been answered yet."))
    keys = [key("live", f"champion's mean {line.loss_name} loss")]
    if line.frozen:
        keys.append(key("frozen", f"{line.frozen_text}"))
    if line.estimated:
        keys.append(key("estimated", "estimate for rows without labels, and its bounds"))
    for text in ("A1 alarm", "P1 promotion", "R1 roll-back"):
        mark, _, what = text.partition(" ")
        keys.append(tag("li", label(mark), f" {what}"))
    live, few = drawn(line.live)
    bare = max(0, len(told.alarms) - MOST_FLAGS)
    caption = (
        f"Time of the data, {moment(line.since_time)} to {moment(line.until_time)} UTC; lower is"
        f" better.{f' Spans of time with very few rows are not drawn: {few}.' if few else ''}"
        f"{f' Older alarms without a flag: {bare}.' if bare else ''}"
    )
    shown = replace(line, live=live)
    return section(
        "Quality over time", figure(charts.losses(shown, _flags(its, told)), caption, *keys)
    )


def _flags(its: Gathered, told: Story) -> list[Flag]:
    """Where flags stand, by the clock of the data: as the marks of the time line do."""
    at = {mark.id: mark.data_time for mark in its.timeline.marks}
    newest = told.alarms[-MOST_FLAGS:]
    flags = [Flag(at.get(one.fact.id, 0), one.label, "alarm") for one in newest]
    for one in told.decisions:
        kind = "promoted" if one.label.startswith("P") else "back"
        flags.append(Flag(at.get(one.fact.id, 0), one.label, kind))
    return [flag for flag in flags if flag.at]


def _footer(its: Gathered, made: datetime, version: str) -> Html:
    last = its.facts[-1] if its.facts else None
    upto = f" up to event {last.seq} ({last.id})" if last else ""
    return tag(
        "footer",
        paragraph(
            f"Made by `driftloop report {its.model.card.name}`, Driftloop {version}, from"
            f" {count(len(its.facts), 'control event')}{upto} and the tables of telemetry. The same"
            " numbers are on the console's pages, and `driftloop audit --chain` proves that no"
            f" event was changed. All times are UTC. {made.astimezone(UTC):%Y-%m-%d %H:%M:%S}.",
            kind="note",
        ),
    )
