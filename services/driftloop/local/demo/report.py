"""`demo-report.json`: what a script checks, and what a person reads at the end."""

from typing import Any

from rich.console import Console
from rich.table import Table

from driftloop.bus.audit.report import audit, settled
from driftloop.bus.bus import Bus
from driftloop.contracts import headers
from driftloop.contracts.events import (
    AnyEvent,
    CandidateApproved,
    CandidateRejected,
    CandidateTrained,
    RetrainRequested,
)
from driftloop.local.demo.replay import Progress
from driftloop.local.demo.runs import UNFINISHED, run_of, show_runs
from driftloop.local.demo.watch import Watch

SETTLE_SECONDS = 30.0
TABLES = {
    "valid": "rows_valid",
    "quarantined": "quarantine",
    "scored": "scored",
    "outcomes": "outcomes",
}


async def counts(bus: Bus, model: str) -> dict[str, int]:
    """Numbers of the audit: rows of each table in ClickHouse, one copy of each, and what waits.

    `open` are sums that do not close.
    """
    await settled(bus, [model], SETTLE_SECONDS)
    found = await audit(bus, [model])
    sums = {one.name: one.parts for one in found.sums}
    tables = {name: sums[f"stream {table}"]["ClickHouse"] for name, table in TABLES.items()}
    return {
        **tables,
        "labels": sums["stream labels"]["ClickHouse"],
        "unmatched": sums["stream unmatched"]["ClickHouse"],
        "scored": sums["valid"]["scored"],  # those answered on request were never sent as rows
        "pending": sums["labels"]["pending"],
        "open": sum(not one.closes for one in found.sums),
    }


def build(
    *,
    progress: Progress,
    watch: Watch,
    found: dict[str, int],
    seconds: float,
    champion: dict[str, Any],
    usage: dict[str, tuple[float, float]],
) -> dict[str, Any]:
    """The report as plain data."""
    quality = watch.quality.summary()
    found_runs = runs(watch)
    return {
        "seconds": round(seconds, 1),
        "rows_per_second": round(progress.rows / seconds, 1),
        "clock_held_seconds": round(progress.held, 1),
        "waited_for_services_seconds": round(progress.waited, 1),
        "rows": {
            "sent": progress.rows,
            "valid": found["valid"],
            "quarantined": found["quarantined"],
            "duplicate": progress.duplicates,
            "scored": found["scored"],
        },
        "labels": {
            "sent": progress.labels,
            "joined": watch.outcomes,
            "unmatched": watch.unmatched,
            "pending": found["pending"],
        },
        "clickhouse": {name: found[name] for name in TABLES},
        "accounting_closes": closes(progress, watch, found),
        "quality": quality,
        "runs": [run for run in found_runs if run["verdict"] != UNFINISHED],
        "unfinished_runs": [run for run in found_runs if run["verdict"] == UNFINISHED],
        "champion": champion,
        "memory_mb": {name: round(mb, 1) for name, (mb, _) in usage.items()},
        "cpu_seconds": {name: round(cpu, 1) for name, (_, cpu) in usage.items()},
    }


def closes(progress: Progress, watch: Watch, found: dict[str, int]) -> bool:
    """Whether every row and label is accounted for."""
    return (
        progress.rows == found["valid"] + found["quarantined"]
        and found["valid"] == found["scored"]
        and progress.labels == watch.outcomes + watch.unmatched
        and found["outcomes"] == watch.outcomes
        and found["pending"] == 0
        and found["open"] == 0
    )


def runs(watch: Watch) -> list[dict[str, Any]]:
    """Every run of the loop, in the order they began, with its chain of events."""
    made: list[dict[str, Any]] = []
    position = {message.event_id: at for at, (_, message) in enumerate(watch.events)}
    for event, message in watch.events:
        if isinstance(event, RetrainRequested):
            cause = message.headers.get(headers.CAUSATION, "")
            own = [(e, m) for e, m in watch.events if getattr(e, "run", None) == event.run]
            ids = ([cause] if cause in position else []) + [m.event_id for _, m in own]
            told = run_of(event, [e for e, _ in own])
            made.append({**told, "event_ids": ids, "seconds": _seconds([e for e, _ in own])})
    return made


def _seconds(events: list[AnyEvent]) -> float:
    """What fit and offline gate of a run took."""
    spent = [e.manifest.seconds for e in events if isinstance(e, CandidateTrained)]
    spent += [e.seconds for e in events if isinstance(e, CandidateApproved | CandidateRejected)]
    return round(sum(spent), 2)


def show(report: dict[str, Any], console: Console) -> None:
    """The report for a person: runs, quality by month, accounting."""
    show_runs((*report["runs"], *report["unfinished_runs"]), console)
    _show_quality(report, console)
    rows, labels = report["rows"], report["labels"]
    sign = "[green]closes[/]" if report["accounting_closes"] else "[red]does not close[/]"
    console.print(
        f"rows: {rows['sent']:,} sent = {rows['valid']:,} valid "
        f"+ {rows['quarantined']:,} quarantined; {rows['scored']:,} scored.  "
        f"labels: {labels['sent']:,} sent = {labels['joined']:,} outcomes "
        f"+ {labels['unmatched']:,} unmatched.  Accounting {sign}."
    )
    console.print(
        f"{report['seconds']:.0f} s, {report['rows_per_second']:,.0f} rows/s; the clock held "
        f"{report['clock_held_seconds']:.0f} s for trainings and gates."
    )


def _show_quality(report: dict[str, Any], console: Console) -> None:
    quality = report["quality"]
    if not quality["served"]:
        console.print(
            "[yellow]no row was answered: the first model came too late, or not at all[/]"
        )
        return
    table = Table(title="Quality of the answers", title_justify="left")
    table.add_column("month")
    for name in ("rows", "served log loss", "frozen", "majority", "served AUC", "frozen"):
        table.add_column(name, justify="right")
    total = {"month": "all", "rows": sum(m["rows"] for m in quality["months"]), **quality}
    for month in (*quality["months"], total):
        served, frozen = month["served"], month["frozen"]
        style = "bold" if month is total else ""
        better = "green" if served["log_loss"] < frozen["log_loss"] else "red"
        table.add_row(
            month["month"],
            f"{month['rows']:,}",
            f"[{better}]{served['log_loss']:.4f}[/]",
            f"{frozen['log_loss']:.4f}",
            f"{month['majority']['log_loss']:.4f}",
            f"{served['auc']:.3f}",
            f"{frozen['auc']:.3f}",
            style=style,
        )
    console.print(table)
