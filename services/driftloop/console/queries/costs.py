"""What trainings and predictions of a model took, from the events and from inference's samples."""

import math
from typing import Final

from driftloop.console.api.shapes.costs import Costs
from driftloop.console.domain.cost import Used, cost, predictions, trainings
from driftloop.console.domain.times import iso
from driftloop.console.queries.facts import moment, select
from driftloop.console.queries.past import Past
from driftloop.contracts.events import TrainingFailed
from driftloop.contracts.sql import text

MOST: Final = 5_000
"""Trainings that are read, the newest."""
FRESH_SECONDS: Final = 30.0
ANSWERED: Final = ("driftloop_scored_rows_total{", "driftloop_prediction_log_rows_total{")
"""Counters of rows that inference answered: of the stream, and on request."""


async def costs(past: Past, model: str, since: float = 0.0) -> Costs:
    """Costs of a model since a time (seconds since 1970; 0: all there is)."""
    await past.bus.spec(model)
    price = past.price
    kinds = "kind IN ('candidate.trained', 'training.failed')"
    facts = await select(past, model, f"{kinds} AND at >= {_moment(since)}", MOST)
    made = trainings(facts, price)
    rows = await past.ask(_used(model, since), FRESH_SECONDS)
    begun = min((row["since"] for row in rows), default=None)
    used = [
        Used(cpu_seconds=row["cpu"], rows=row["answered"], model_rows=row["own"]) for row in rows
    ]
    return Costs(
        model=model,
        price=price.amount if price else None,
        currency=price.currency if price else "",
        trainings=made,
        training=cost(math.fsum(one.cost.cpu_seconds for one in made), price),
        failed=sum(isinstance(told.event, TrainingFailed) for told in facts),
        predictions=predictions(used, moment(begun), price),
    )


def _moment(since: float) -> str:
    return f"parseDateTime64BestEffort({text(iso(since) or '1970-01-01 00:00:00')}, 3, 'UTC')"


def _used(model: str, since: float) -> str:
    """CPU and rows of each process of inference: its counters begin anew with it."""
    names = " OR ".join(f"startsWith(name, {text(start)})" for start in ANSWERED)
    own = ", ".join(f"counters[{text(f'{start}model={model}}}')}]" for start in ANSWERED)
    return (
        "SELECT min(at) AS since, max(cpu_seconds) - min(cpu_seconds) AS cpu,"
        " max(all_rows) - min(all_rows) AS answered, max(own_rows) - min(own_rows) AS own FROM"
        " (SELECT at, url, pid, started, cpu_seconds,"
        f" arraySum(mapValues(mapFilter((name, value) -> {names}, counters))) AS all_rows,"
        f" arraySum([{own}]) AS own_rows FROM stats_service"
        f" WHERE service = 'inference' AND at >= {_moment(since)})"
        " GROUP BY url, pid, started"
    )
