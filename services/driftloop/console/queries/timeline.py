"""Losses of a model over event time, and what happened meanwhile."""

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from driftloop.console.api.shapes import Timeline
from driftloop.console.queries.losses import loss_sql, shadow_sql
from driftloop.console.queries.marks import marks
from driftloop.console.queries.past import Past, Row
from driftloop.contracts.events import ShadowStarted
from driftloop.contracts.facts import Fact, clock
from driftloop.contracts.sql import text
from driftloop.modelspec.spec import Spec

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
STEPS: Final = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 7, 14, 28)),
)
"""Widths of buckets in milliseconds: while rows come, old buckets stay as they are."""
OLD: Final = 50
"""Probations whose old champion is shown, the newest."""


class Span(NamedTuple):
    """Event times from `since` to `until`, both included, in buckets (all in milliseconds)."""

    since: int
    until: int
    width: int

    @property
    def bucket(self) -> str:
        """SQL: the beginning of a row's bucket."""
        return f"{_TIME} - positiveModulo({_TIME}, {self.width})"

    @property
    def rows(self) -> str:
        """SQL: which rows are in it."""
        return f"{_TIME} BETWEEN {self.since} AND {self.until}"


_TIME: Final = "toUnixTimestamp64Milli(event_time)"


def width(since: int, until: int, points: int) -> int:
    """The narrowest bucket with which there are at most `points`, of which 2 are the fewest."""
    points = max(points, 2)
    for step in STEPS:
        if until // step - since // step < points:
            return step
    months = STEPS[-1]
    while until // months - since // months >= points:
        months *= 2
    return months


async def timeline(past: Past, model: str, since: int, until: int, points: int) -> Timeline:
    """The time line between two event times (0: from the first row, up to the newest)."""
    spec = (await past.bus.spec(model)).spec
    found, facts = await marks(past, model)
    wanted = range(since, (until or sys.maxsize - 1) + 1)
    first, last = await _ends(past, model)
    since, until = since or first, until or last
    span = Span(since, until, width(since, max(since, until), points))
    old = probations(facts)
    rows = await past.ask(_losses(spec, span, old))
    frozen = [row for row in rows if row["old_rows"]]
    return Timeline(
        model=model,
        loss_name=spec.loss,
        since_time=since,
        until_time=until,
        live=[_point(row, "live", span) for row in rows if row["live_rows"]],
        frozen=[_point(row, "old", span) for row in frozen],
        frozen_text=_frozen_text(old, frozen, span),
        estimated=[
            (row["time"], row["estimate"], row["lower"], row["upper"], row["begins"])
            for row in await past.ask(_estimates(model, span))
        ],
        marks=[mark for mark in found if mark.data_time in wanted],
    )


def probations(facts: Sequence[Fact]) -> list[tuple[int, int]]:
    """Champion and the old champion beside it, of the newest probations."""
    started = [told.event for told in facts if isinstance(told.event, ShadowStarted)]
    pairs = [(e.champion, e.version) for e in started if e.role == "probation"]
    return list(dict.fromkeys(pairs))[-OLD:]


async def _ends(past: Past, model: str) -> tuple[int, int]:
    """The first and the newest event time of an outcome or an estimate; zeros without any.

    What is estimated is newer than what has a label.
    """
    ends = f"SELECT count() AS n, min({_TIME}) AS a, max({_TIME}) AS b FROM"
    its = f"model = {text(model)}"
    estimates = f"(SELECT data_time AS event_time FROM estimates WHERE {its} AND void = '')"
    sql = (
        "SELECT min(a) AS first, max(b) AS last FROM"
        f" ({ends} outcomes WHERE {its} UNION ALL {ends} {estimates}) WHERE n > 0"
    )
    (row,) = await past.ask(sql)
    return row["first"], row["last"]


def _losses(spec: Spec, span: Span, old: Sequence[tuple[int, int]]) -> str:
    """The champion's loss, and the old champion's where it answered beside it, by bucket."""
    frozen = "NULL"
    if old:
        pairs = ", ".join(f"({champion}, {version})" for champion, version in old)
        beside = f"pair -> pair.1 = version AND has(shadow_versions, pair.2), [{pairs}]"
        frozen = loss_sql(spec, shadow_sql(f"arrayFirst({beside}).2"))
    return (
        f"SELECT {span.bucket} AS bucket, avg(live) AS live_loss, count(live) AS live_rows,"
        " avg(old) AS old_loss, count(old) AS old_rows FROM"
        f" (SELECT event_time, {loss_sql(spec, 'answer')} AS live, {frozen} AS old"
        f" FROM outcomes FINAL WHERE model = {text(spec.name)} AND version IS NOT NULL"
        f" AND {span.rows}) GROUP BY bucket ORDER BY bucket"
    )


def _estimates(model: str, span: Span) -> str:
    """The newest estimate of each bucket."""
    return (
        f"SELECT max({_TIME}) AS time, argMax(estimate, at) AS estimate,"
        " argMax(lower, at) AS lower, argMax(upper, at) AS upper,"
        " toUnixTimestamp64Milli(argMax(from_time, at)) AS begins"
        " FROM (SELECT data_time AS event_time, from_time, at, estimate, lower, upper"
        f" FROM estimates FINAL WHERE model = {text(model)} AND void = '') WHERE {span.rows}"
        f" GROUP BY {span.bucket} ORDER BY time"
    )


def _point(row: Row, which: str, span: Span) -> tuple[int, float, int]:
    middle = row["bucket"] + span.width // 2
    return middle, row[f"{which}_loss"], row[f"{which}_rows"]


def _frozen_text(old: Sequence[tuple[int, int]], rows: Sequence[Row], span: Span) -> str:
    if not rows:
        return ""
    versions = ", ".join(str(version) for version in sorted({version for _, version in old}))
    until = clock(min(rows[-1]["bucket"] + span.width, span.until))
    several = "s" if "," in versions else ""
    return f"version{several} {versions}, beside the champion after it until {until}"
