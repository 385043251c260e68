"""A year of flights through the backtest: speed, the same bytes twice, quality, and the control."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from driftloop.local import demo
from driftloop.local.backtest import report, table
from driftloop.local.backtest.grid import Changes
from driftloop.local.backtest.run import HOUR_MS, Backtest, Speed
from driftloop.local.backtest.table import Labelled
from driftloop.local.bench.evidence.table import Table, Tell
from driftloop.modelspec import check
from driftloop.modelspec.spec import Spec

SEED: Final = 2013
"""Seed of the shuffled control."""
SLICE_MS: Final = 3 * HOUR_MS
FEWEST: Final = 2_500
PHASES: Final = 4
"""Times that periodic retraining is tried, its fits a quarter of their space later each time."""
METRICS: Final = ("log_loss", "brier", "roc_auc")


def tables(scale: float, tell: Tell) -> Iterator[Table]:
    """The backtest of the demo's spec on its flights; with a smaller scale on the first of them."""
    spec = check.load(Path(str(demo.__file__)).with_name("flights.toml"))
    given = table.flights()
    rows = max(FEWEST, round(len(given.times) * scale))
    changes: Changes = {}
    if scale < 1:  # the first model comes as early in the part as it comes in the year
        first = max(500, round(spec.training.min_rows * scale))
        every = max(200, round(spec.triggers.new_data_rows * scale))
        changes = {"training.min_rows": first, "triggers.new_data_rows": every}
    year = table.first(given, rows)
    once, wide, speed = _play(spec, year, changes, "first time", tell, 0.0, PHASES)
    again, _, _ = _play(spec, year, changes, "second time", tell, 1 / 3)
    dealt = table.first(table.shuffled(given, spec, SEED), rows)
    control, _, _ = _play(spec, dealt, changes, "shuffled control", tell, 2 / 3)
    yield _facts(once, again, control, speed)
    yield _quality(wide)


def _play(
    spec: Spec,
    given: Labelled,
    changes: Changes,
    what: str,
    tell: Tell,
    done: float,
    phases: int = 1,
) -> tuple[dict[str, Any], dict[str, Any], Speed]:
    """The report of one backtest that shares nothing with another, and how quick it was.

    The second report is the same with periodic retraining at so many phases.
    """
    backtest = Backtest(given, SLICE_MS)
    total = len(given.times)
    try:
        (one,) = backtest.run(
            spec, [changes], lambda policy, rows: tell(what, done + rows / total / 3)
        )
        wide, speed, backtest.phases = one, backtest.speed, phases
        if phases > 1:
            tell(f"periodic retraining at {phases} phases", done + 1 / 3)
            (wide,) = backtest.run(spec, [changes], lambda policy, rows: None)
        return one.report, wide.report, speed
    finally:
        backtest.close()


def _facts(
    once: dict[str, Any], again: dict[str, Any], control: dict[str, Any], speed: Speed
) -> Table:
    same = report.encode([once]) == report.encode([again])
    counts, of_control = once["counts"], control["counts"]
    return Table(
        name="backtest",
        title="Backtest of flights",
        columns=("what", "measured"),
        rows=(
            ("rows", speed.rows),
            ("rows a second, without fits and gates", round(speed.rows / speed.wall)),
            ("rows a CPU second, without fits and gates", round(speed.rows / speed.cpu)),
            ("seconds of fits and gates", round(speed.fitting, 1)),
            ("two reports are the same bytes", "yes" if same else "no"),
            ("runs; promotions; roll-backs", _three(counts)),
            ("fits", counts["fits"]),
            ("runs that drift or a risen loss started", counts["drift_triggered"]),
            ("the same in the shuffled control", of_control["drift_triggered"]),
        ),
        note=(
            f"Rows a second include contract, scoring of champion, shadows and the frozen model, "
            f"drift, live gates and the report. Seed of the fits {once['seed']}, of the control "
            f"{SEED}."
        ),
    )


def _three(counts: dict[str, Any]) -> str:
    return f"{counts['runs']}; {counts['promotions']}; {counts['roll_backs']}"


def _quality(once: dict[str, Any]) -> Table:
    policies, fits = once["quality"]["policies"], once["counts"]["fits"]
    return Table(
        name="backtest_quality",
        title="Answers of the loop and of simpler policies, on the same flights",
        columns=("policy", *(name.replace("_", " ") for name in METRICS)),
        rows=tuple(
            (name.replace("_", " "), *(f"{scores[metric]:.4f}" for metric in METRICS))
            for name, scores in policies.items()
        ),
        note=(
            f"{once['quality']['rows']:,} labelled rows that the loop answered. Periodic: {fits} "
            f"fits, as many as the loop's, equally spaced in labelled rows, on all rows so far; n "
            f"of {PHASES}: the second fit is n quarters of a space after the first, not a whole."
        ),
    )
