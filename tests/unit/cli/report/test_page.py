"""The report's document: whole, escaped, without anything from elsewhere."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser

import msgspec
import pytest

from driftloop.cli.report.gather import Gathered
from driftloop.cli.report.html import VOID
from driftloop.cli.report.page import page
from driftloop.cli.report.words import money, number
from driftloop.console.api.shapes import (
    Card,
    Cost,
    Costs,
    DataOf,
    Mark,
    Model,
    Quantiles,
    Sum,
    Timeline,
)
from driftloop.contracts import events as e
from driftloop.contracts.alarms import Summary
from driftloop.contracts.facts import Fact
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn

MADE = datetime(2026, 11, 22, tzinfo=UTC)
NO_COST = Cost(cpu_seconds=0.0)


class Whole(HTMLParser):
    """Checks that every element is closed in its order, and notes text and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(document: str) -> Whole:
    """The parsed document; raises where it is not whole, or asks for anything from elsewhere."""
    parser = Whole()
    parser.feed(document)
    parser.close()
    assert parser.open == []
    assert not {"script", "img", "link", "iframe", "a", "use", "image"} & {*parser.tags}
    wrong = {"src", "href", "style", "onload", "onclick"}
    assert not wrong & {name for name, _ in parser.attributes}
    style = document.partition("<style>")[2].partition("</style>")[0]
    for outside in ("url(", "@import", "http:", "https:", "//"):
        assert outside not in style
    return parser


def gathered(facts: Sequence[Fact] = (), name: str = "flights") -> Gathered:
    line = Timeline(
        model=name,
        loss_name="brier",
        since_time=0,
        until_time=0,
        live=[],
        frozen=[],
        frozen_text="",
        estimated=[],
        marks=[],
    )
    model = Model(
        time="",
        card=Card(name=name),
        spec=None,
        features=[],
        versions=[],
        shadows=[],
        steps=[],
        runs=[],
        runs_started=0,
        labels=None,
        estimate=None,
        detectors=[],
        commands=[],
    )
    costs = Costs(
        model=name,
        price=None,
        currency="",
        trainings=[],
        training=NO_COST,
        failed=0,
        predictions=None,
    )
    return Gathered(model=model, timeline=line, data=None, costs=costs, facts=tuple(facts))


def full() -> Gathered:
    """A report with two promotions, a roll-back and everything that may be told."""
    summary = Summary(
        detector="feature:temp", edges=(0.0, 1.0, 2.0), before=(0.6, 0.4), after=(0.2, 0.8)
    )
    alarm = msgspec.structs.replace(syn.alarm("flights"), summaries=(summary,))
    back = e.ModelRolledBack(
        model="flights",
        run="run-0008",
        version=7,
        previous=8,
        model_sha256="ab" * 32,
        reason="the old one is better",
    )
    said = [*syn.promotion("flights", 7, alarm), *syn.promotion("flights", 8), (back, Origin())]
    facts = syn.facts(said)
    its = gathered(facts)
    live = [(syn.FEBRUARY + n * 86_400_000, 0.2 + 0.01 * n, 1_000) for n in range(9)]
    marks = [
        Mark(
            time=f.time,
            data_time=syn.FEBRUARY + 1,
            kind=f.kind,
            text=f.text,
            id=f.id,
        )
        for f in facts
    ]
    line = msgspec.structs.replace(
        its.timeline,
        live=[*live, (syn.FEBRUARY + 9 * 86_400_000, 0.9, 3)],
        frozen=[(at, loss + 0.05, 500) for at, loss, _ in live[:3]],
        frozen_text="version 6",
        estimated=[(at, loss, loss - 0.1, loss + 0.1, at - 1) for at, loss, _ in live],
        marks=marks,
        since_time=live[0][0],
        until_time=live[-1][0],
    )
    one = Sum(
        name="received", left=10, right=9, parts={"valid": 9}, missing=1, extra=0, closes=False
    )
    data = DataOf(
        model="flights",
        quarantined=[],
        dead=2,
        sums=[one],
        closes=False,
        audited="2026-11-22T00:00:00+00:00",
        delay=Quantiles(rows=100, p50=60.0, p90=7_300.0, p99=90_000.0, most=200_000.0),
    )
    return msgspec.structs.replace(its, timeline=line, data=data)


def test_a_model_of_which_nothing_is_known_has_a_report_too() -> None:
    told = " ".join(read(page(gathered(), MADE, "1.0")).text)
    for text in ("No version answers yet.", "None in this period.", "has not added up"):
        assert text in told


def test_the_report_is_whole_and_has_what_happened() -> None:
    parser = read(page(full(), MADE, "1.0"))
    told = " ".join(" ".join(parser.text).split())
    assert parser.tags.count("svg") == 3
    for text in (
        "raised 2 drift alarms, promoted 2 versions and rolled back 1.",
        "version 7 against 6, 1,840 rows",
        "+0.0012 to +0.0213",
        "the successor's loss was 0.05 lower: 0.21 against 0.26",
        "30,000 rows, OUTCOMES 700 to 817",
        "What the system did: run-0007: version 7.",
        "A sum does not close: rows are on their way, or missing.",
        "Spans of time with very few rows are not drawn: 1.",
        "1.0 minutes 2.0 hours 25.0 hours 2.3 days".replace("1.0 minutes", "60.0 seconds"),
    ):
        assert text in told, text
    for flag in ("A1", "A2", "P1", "P2", "R1"):
        assert flag in parser.text


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</title><b>", '" onload="x', "&lt;"]
)
def test_what_people_wrote_is_text_and_nothing_else(text: str) -> None:
    failed = e.RunFinished(
        model="flights", run="run-1", trigger="operator", version=1, verdict="failed", reason=text
    )
    document = page(gathered(syn.facts([(failed, Origin())])), MADE, "1.0")
    assert text in read(document).text


def test_estimates_are_not_drawn_over_days_without_one() -> None:
    its, day = full(), 86_400_000
    late = its.timeline.live[-1][0] + 30 * day
    points = [*its.timeline.estimated, (late, 0.3, 0.2, 0.4, late - day)]
    line = msgspec.structs.replace(its.timeline, estimated=points, until_time=late)
    assert page(its, MADE, "1.0").count('class="band"') == 1
    assert page(msgspec.structs.replace(its, timeline=line), MADE, "1.0").count('class="band"') == 2


def test_small_sums_of_money_are_written_out() -> None:
    assert money(Cost(cpu_seconds=1.0, money=0.0000523, currency="EUR")) == "0.000052 EUR"
    assert money(Cost(cpu_seconds=1.0, money=1_234.5, currency="EUR")) == "1,234.50 EUR"
    assert money(Cost(cpu_seconds=1.0, money=0.0, currency="EUR")) == "0.00 EUR"
    assert money(NO_COST) == ""
    assert number(0.123456) == "0.1235"
