"""Sections on what the model is made of and costs: versions, accounting, labels, CPU."""

from collections.abc import Sequence
from typing import Final

from driftloop.cli.report import charts
from driftloop.cli.report.gather import Gathered
from driftloop.cli.report.html import Html, tag
from driftloop.cli.report.parts import code, figure, lines, newest, paragraph, section, table, time
from driftloop.cli.report.story import Made, Story
from driftloop.cli.report.words import NONE, count, minute, money, number, price, span, verdict
from driftloop.console.api.shapes import Costs, DataOf, PredictionCost, Sum

MOST_ROWS: Final = 200
BARS: Final = 20
"""Trainings with a bar, the newest."""


def versions(its: Gathered, story: Story) -> Html:
    """The versions with the rows they were made of, digests, and gates."""
    if not story.versions:
        return section("Versions", paragraph("None were trained in this period."))
    listed, left = newest(story.versions, MOST_ROWS, "versions")
    stages = {one.version: one.stage for one in its.model.versions}
    intro = (
        "Each version was trained on a range of the log, which is kept for good: it can be trained"
        " again from the same bytes. Digests are SHA-256, shown by their first 12 digits."
    )
    return section(
        "Versions",
        paragraph(intro),
        table(
            ("version", "trained (UTC)", "on rows", "digests", "gates and verdict"),
            (_version(one, stages.get(one.manifest.version, "")) for one in listed),
        ),
        left,
        tag("h3", "On the holdout"),
        paragraph(
            "Each version is measured on rows that came after those it was trained on, so the rows"
            " differ from version to version. The baselines are the trivial answers: the share of"
            " each class, or the mean, in the training rows.",
            kind="note",
        ),
        _metrics(listed),
    )


def _version(one: Made, stage: str) -> tuple[object, ...]:
    its = one.manifest
    failed = [gate.name for gate in one.gates if not gate.passed]
    gates = f"{len(one.gates)} passed" if one.gates else "not judged"
    if failed:
        gates = f"failed: {', '.join(failed)}"
    rows = its.train
    return (
        lines(tag("b", its.version), tag("span", stage, class_="soft")),
        time(minute(one.fact.time)),
        lines(
            f"{rows.rows:,} rows, {rows.stream} {rows.first_seq:,} to {rows.last_seq:,}",
            tag("span", its.window, class_="soft"),
        ),
        lines(code(f"rows {rows.sha256[:12]}"), code(f"model {its.model_sha256[:12]}")),
        lines(gates, tag("span", verdict(one.verdict), class_="soft")),
    )


def _metrics(made: Sequence[Made]) -> Html:
    """The metrics of every version on its own holdout."""
    names = list(dict.fromkeys(name for one in made for name in one.manifest.metrics))
    rows = (
        (
            one.manifest.version,
            f"{one.manifest.holdout.rows:,}",
            *(_metric(one.manifest.metrics.get(name)) for name in names),
        )
        for one in made
    )
    titles = ("version", "rows", *(name.replace("_", " ") for name in names))
    return table(titles, rows, numbers=titles[1:])


def _metric(value: float | None) -> str:
    return NONE if value is None else number(value)


def accounting(data: DataOf | None) -> Html:
    """The sums of the audit."""
    title = "Accounting"
    if data is None or not data.audited:
        told = "The console has not added up this model's rows yet; `driftloop audit` does at once."
        return section(title, paragraph(told))
    closes = (
        "Every row and label is accounted for."
        if data.closes
        else "A sum does not close: rows are on their way, or missing."
    )
    intro = "What came in has to be what came out, was set aside, or still waits. "
    quarantined = sum(one.rows for one in data.quarantined)
    return section(
        title,
        paragraph(intro, tag("b", closes), f" Added up {minute(data.audited)} UTC."),
        table(
            ("sum", "left", "right", "made of", "missing", "verdict"),
            (_sum(one) for one in data.sums if one.left or not one.closes),
            numbers=("left", "right", "missing"),
        ),
        paragraph(
            f"Set aside in quarantine: {count(quarantined, 'row')}. Dead letters: {data.dead:,}.",
            kind="note",
        ),
    )


def _sum(one: Sum) -> tuple[object, ...]:
    sign = tag("span", "closes" if one.closes else "open", class_="good" if one.closes else "warn")
    return (
        one.name,
        f"{one.left:,}",
        f"{one.right:,}",
        " + ".join(f"{rows:,} {what}" for what, rows in one.parts.items()),
        f"{one.missing:,}",
        sign,
    )


def labels(data: DataOf | None) -> Html:
    """How long labels take."""
    title = "Label delay"
    delay = data.delay if data else None
    if delay is None:
        return section(title, paragraph("No labelled row says when its label came."))
    intro = (
        "Time from a row to its label, by the clock of the data, on the newest"
        f" {delay.rows:,} labelled rows. Losses and verdicts are known no earlier."
    )
    rows = [(span(delay.p50), span(delay.p90), span(delay.p99), span(delay.most))]
    names = ("half come within", "90 % within", "99 % within", "all within")
    return section(title, paragraph(intro), table(names, rows))


def costs(its: Costs) -> Html:
    """CPU seconds and money of trainings and predictions."""
    shown = its.trainings[-BARS:]
    bars = [(f"version {one.version}", one.cost.cpu_seconds, price(one.cost)) for one in shown]
    total = f"{count(len(its.trainings), 'training')} took {price(its.training)}."
    failed = f" {count(its.failed, 'training')} failed, and did not say what it took."
    priced = (
        f"An hour of one core is priced at {its.price:g} {its.currency}."
        if its.price is not None
        else "No price of an hour of CPU is set (DRIFTLOOP_CONSOLE_CPU_HOUR_PRICE)."
    )
    left = len(its.trainings) - len(shown)
    caption = f"CPU seconds of each training{f'; {left} older ones are left out' if left else ''}"
    return section(
        "Costs",
        paragraph(total, failed if its.failed else "", " ", _predictions(its.predictions)),
        figure(charts.bars(bars), caption) if bars else Html(),
        paragraph(priced, kind="note"),
    )


def _predictions(its: PredictionCost | None) -> str:
    if its is None:
        return "Inference answered no row in this period, as far as it was measured."
    each = f" ({money(its.per_million)})" if its.per_million.money is not None else ""
    return (
        f"A million predictions take {its.per_million.cpu_seconds:,.1f} CPU seconds{each}:"
        f" inference used {price(its.total)} for {its.rows:,} rows of all models, shadows and"
        f" idle time included, since {minute(its.since)} UTC; {its.model_rows:,} of them were this"
        " model's."
    )
