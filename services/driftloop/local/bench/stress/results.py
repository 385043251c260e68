"""What visits under steady and stressed conditions gave: medians, sums, and paired ratios."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from driftloop.local.bench.samples import Counts, paired_ratio
from driftloop.local.bench.stress.job import Tally
from driftloop.local.bench.workloads import Workload

RATE: Final = "requests/s"
P50: Final = "p50 ms"
P99: Final = "p99 ms"
CLIENT: Final = "client cores"
FAILED: Final = "failed"
WRONG: Final = "mixed up"
COMPARED: Final = (P50, P99)


class Condition(msgspec.Struct, frozen=True):
    """What the service goes through; `of` is the steady condition it is compared with, if any."""

    name: str
    of: str = ""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One run under one condition: `figures` have medians, `counts` add up; both by column.

    `problems` say what may not be; any makes the bench end with exit code 1.
    """

    figures: dict[str, float] = {}
    counts: dict[str, int] = {}
    problems: list[str] = []
    disturbed: bool = False


class StressLine(msgspec.Struct, frozen=True, kw_only=True):
    """A condition's line: medians, sums, and ratios of latencies to those of `of`, paired."""

    condition: str
    of: str
    samples: int
    figures: dict[str, float]
    ratios: dict[str, float]
    counts: dict[str, int]
    disturbed: int


class StressResult(msgspec.Struct, frozen=True, kw_only=True):
    """One stress workload; `totals` are figures of the whole, each with what it is."""

    workload: Workload
    lines: list[StressLine]
    samples: dict[str, list[Visit]]
    totals: dict[str, float]
    problems: list[str]


def result(
    workload: Workload,
    conditions: Sequence[Condition],
    visits: Mapping[str, list[Visit]],
    totals: Mapping[str, float],
    problems: Iterable[str],
) -> StressResult:
    """The lines of all conditions, and each problem once."""
    said = [text for made in visits.values() for visit in made for text in visit.problems]
    return StressResult(
        workload=workload,
        lines=[_line(one, visits) for one in conditions],
        samples=dict(visits),
        totals=dict(totals),
        problems=list(dict.fromkeys([*said, *problems])),
    )


def _line(condition: Condition, visits: Mapping[str, list[Visit]]) -> StressLine:
    mine = visits[condition.name]
    ratios = {}
    if condition.of:
        for column in COMPARED:
            values, base = (
                [visit.figures.get(column) for visit in some]
                for some in (mine, visits[condition.of])
            )
            if (found := paired_ratio(values, base)) is not None:
                ratios[column] = found
    return StressLine(
        condition=condition.name,
        of=condition.of,
        samples=len(mine),
        figures={
            column: median([v.figures[column] for v in mine if column in v.figures])
            for column in _columns(visit.figures for visit in mine)
        },
        ratios=ratios,
        counts={
            column: sum(visit.counts.get(column, 0) for visit in mine)
            for column in _columns(visit.counts for visit in mine)
        },
        disturbed=sum(visit.disturbed for visit in mine),
    )


def _columns(parts: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(column for part in parts for column in part))


def of_tally(tally: Tally) -> Visit:
    """A visit by what a load client of ours counted."""
    problems = [tally.problem] if tally.failed or tally.wrong else []
    return Visit(
        figures={
            RATE: tally.answered / tally.seconds,
            P50: tally.p50_ms,
            P99: tally.p99_ms,
            CLIENT: tally.client_cores,
        },
        counts={FAILED: tally.failed, WRONG: tally.wrong},
        problems=problems,
    )


def of_counts(found: Counts) -> Visit:
    """A visit by what wrk counted, which does not look into answers."""
    problems = [f"wrk: {found.errors} requests failed"] if found.errors else []
    return Visit(
        figures={
            RATE: found.requests / found.seconds,
            P50: found.p50_ms,
            P99: found.p99_ms,
            CLIENT: found.client_cores,
        },
        counts={FAILED: found.errors},
        problems=problems,
    )
