"""Runs of the loop as plain data from their events, and as text for a person."""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.padding import Padding

from driftloop.contracts.events import (
    AnyEvent,
    CandidateApproved,
    CandidateRejected,
    CandidateTrained,
    RetrainRequested,
    RunFinished,
    ShadowConcluded,
)

UNFINISHED = "in progress"


def run_of(asked: RetrainRequested, events: Sequence[AnyEvent]) -> dict[str, Any]:
    """One run: its trigger, window, gates, evidence and verdict; `events` are all of the run."""
    finished = _first(events, RunFinished)
    trained = _first(events, CandidateTrained)
    gated = _first(events, CandidateApproved) or _first(events, CandidateRejected)
    evidence = [msgspec.to_builtins(e) for e in events if isinstance(e, ShadowConcluded)]
    return {
        "id": asked.run,
        "trigger": asked.trigger,
        "cause": asked.reason,
        "verdict": finished.verdict if finished else UNFINISHED,
        "reason": finished.reason if finished else "the rows ended before the run did",
        "version": asked.version,
        "data_time": asked.data_time,
        "window": trained.manifest.window if trained else None,
        "dataset": msgspec.to_builtins(trained.manifest.train) if trained else None,
        "holdout": msgspec.to_builtins(trained.manifest.holdout) if trained else None,
        "metrics": trained.manifest.metrics if trained else None,
        "gates": [msgspec.to_builtins(g) for g in gated.gates] if gated else [],
        "evidence": evidence,
    }


def show_runs(runs: Sequence[dict[str, Any]], console: Console) -> None:
    """Each run in a few lines: cause, training window, gates, evidence and verdict."""
    console.print("[bold]Runs of the loop[/]")
    colours = {"promoted": "green", "rejected": "yellow", "rolled_back": "magenta", "failed": "red"}
    for run in runs:
        colour = colours.get(run["verdict"], "cyan")
        head = f"[bold]v{run['version']:<3}[/] {run['trigger']:<9} [{colour}]{run['verdict']}[/]"
        console.print(f"{head}  {run['cause']}")
        for name, text in (
            ("trained on", run["window"] or "nothing"),
            ("gates", _gates(run)),
            *((e["role"], e["reason"]) for e in run["evidence"]),
        ):
            console.print(Padding(f"[dim]{name:<10}[/] {text}", (0, 0, 0, 5)))
        if run["verdict"] in ("failed", "superseded", UNFINISHED):
            console.print(Padding(run["reason"], (0, 0, 0, 5)))


def _gates(run: dict[str, Any]) -> str:
    """How many gates passed, the one against the champion, and those that failed."""
    gates = run["gates"]
    failed = [
        f"[red]{g['name']} {g['value']:+.4g} over {g['bound']:g}[/]"
        for g in gates
        if not g["passed"]
    ]
    against = [
        f"{g['name']} {g['value']:+.2%}"
        for g in gates
        if g["name"] == "loss_to_champion" and g["passed"]
    ]
    passed = sum(g["passed"] for g in gates)
    return ", ".join([f"{passed} of {len(gates)} passed", *against, *failed])


def _first(events: Sequence[AnyEvent], kind: Any) -> Any:
    return next((e for e in events if isinstance(e, kind)), None)
