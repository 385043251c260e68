"""The report of a backtest: plain data, the same for the same rows, spec and seed, and as text."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from driftloop.contracts.events import (
    Alarm,
    ModelPromoted,
    ModelRolledBack,
    RetrainRequested,
    TriggerDeclined,
)
from driftloop.local.backtest import grid, quality
from driftloop.local.backtest.loop import Played
from driftloop.local.backtest.quality import MAIN, Compared
from driftloop.local.backtest.world import World
from driftloop.local.demo.runs import run_of, show_runs
from driftloop.modelspec.spec import Spec

LATENCY: Final = "latency_ms"
"""The gate whose number differs each time; only its verdict is told."""
DRIFT: Final = ("drift", "degraded")
Report = dict[str, Any]


def build(
    spec: Spec, changes: grid.Changes, world: World, played: Played, compared: Compared | None
) -> Report:
    """What one policy came to; without any time of the wall's clock."""
    runs = _runs(played)
    return {
        "set": changes,
        "model": spec.name,
        "seed": spec.training.seed,
        "rows": {**world.counts._asdict(), "answered": int((played.versions > 0).sum())},
        "runs": runs,
        "alarms": _alarms(played),
        "declined": [
            {"trigger": e.trigger, "data_time": e.data_time, "reason": e.reason}
            for e in played.events
            if isinstance(e, TriggerDeclined)
        ],
        "counts": {
            "runs": len(runs),
            "by_trigger": dict(sorted(Counter(run["trigger"] for run in runs).items())),
            "by_verdict": dict(sorted(Counter(run["verdict"] for run in runs).items())),
            "drift_triggered": sum(run["trigger"] in DRIFT for run in runs),
            "promotions": sum(isinstance(e, ModelPromoted) for e in played.events),
            "roll_backs": sum(isinstance(e, ModelRolledBack) for e in played.events),
            "fits": len(played.fitted),
        },
        "labelled_rows_at_periodic_fits": compared.periodic_fits if compared else [],
        "quality": {
            "rows": len(compared.labels) if compared else 0,
            "main": MAIN[spec.task],
            "policies": quality.by_policy(spec, compared) if compared else {},
            "months": quality.by_month(spec, compared) if compared else [],
        },
    }


def encode(reports: Sequence[Report]) -> bytes:
    """The file: one report, or a list of them under `policies`; NaN becomes null."""
    whole = reports[0] if len(reports) == 1 else {"policies": list(reports)}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _runs(played: Played) -> list[Report]:
    """Every run in the order they began; of the latency gate only the verdict."""
    asked = [e for e in played.events if isinstance(e, RetrainRequested)]
    made = []
    for event in asked:
        told = run_of(event, [e for e in played.events if getattr(e, "run", "") == event.run])
        told["gates"] = [
            {**gate, "value": None} if gate["name"] == LATENCY else gate for gate in told["gates"]
        ]
        made.append(told)
    return made


def _alarms(played: Played) -> list[Report]:
    """What drift found, whether it started a run or not."""
    return [
        {
            "id": e.event_id(),
            "kind": e.kind,
            "detector": e.detector,
            "data_time": e.data_time,
            "since_time": e.since_time,
            "before": e.before,
            "after": e.after,
        }
        for e in played.events
        if isinstance(e, Alarm)
    ]


def show(report: Report, console: Console) -> None:
    """One policy for a person: its runs, and the quality of the answers beside the others."""
    show_runs(report["runs"], console)
    rows, counts = report["rows"], report["counts"]
    console.print(
        f"{len(report['alarms'])} alarms, {len(report['declined'])} triggers declined, "
        f"{counts['promotions']} promotions, {counts['roll_backs']} roll-backs, "
        f"{counts['fits']} fits"
    )
    console.print(
        f"{rows['rows']:,} rows = {rows['valid']:,} valid + {rows['quarantined']:,} quarantined "
        f"+ {rows['duplicate']:,} duplicate; {rows['answered']:,} answered; "
        f"{rows['labels']:,} labels, {rows['outcomes']:,} of them joined"
    )
    policies = report["quality"]["policies"]
    if not policies:
        console.print("[yellow]no labelled row was answered: there was no model in time[/]")
        return
    title = f"Quality of the answers to {report['quality']['rows']:,} labelled rows"
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    metrics = list(policies["served"])
    for name in metrics:
        table.add_column(name.replace("_", " "), justify="right")
    for name, scores in policies.items():
        style = "bold" if name == "served" else ""
        cells = (_number(scores[metric]) for metric in metrics)
        table.add_row(name.replace("_", " "), *cells, style=style)
    console.print(table)


def show_grid(reports: Sequence[Report], console: Console) -> None:
    """Several policies in one table, a line each."""
    main = reports[0]["quality"]["main"]
    table = Table(title="Policies compared", title_justify="left")
    table.add_column("policy", overflow="fold")
    names = ("runs", "promoted", "rolled back", "fits", f"served {main}", "frozen", "periodic")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    served = [_main(report, "served") for report in reports]
    best = min((value for value in served if value == value), default=math.nan)
    for report, value in zip(reports, served, strict=True):
        counts = report["counts"]
        table.add_row(
            grid.told(report["set"]),
            *(str(counts[name]) for name in ("runs", "promotions", "roll_backs", "fits")),
            *(_number(_main(report, name)) for name in ("served", "frozen", "periodic")),
            style="bold" if value == best else "",
        )
    console.print(table)


def _main(report: Report, policy: str) -> float:
    found = report["quality"]
    return float(found["policies"].get(policy, {}).get(found["main"], math.nan))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.5f}"
