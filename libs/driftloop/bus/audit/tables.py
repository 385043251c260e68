"""What ClickHouse has, asked of telemetry: event ids by table, and rows that were dropped."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from driftloop.bus.audit.sums import TABLES
from driftloop.bus.audit.window import Window
from driftloop.bus.bus import Bus
from driftloop.contracts import requests
from driftloop.contracts.batches import decode
from driftloop.contracts.sql import text

ASK_SECONDS: Final = 120.0
STREAM_OF: Final = {
    "rows_valid": "ROWS",
    "quarantine": "ROWS",
    "scored": "SCORED",
    "labels": "LABELS",
    "outcomes": "OUTCOMES",
    "unmatched": "DEAD",
}
"""Which stream the sequences of a table are of."""

DROPPED: Final = {
    "driftloop_prediction_log_dropped_rows_total": "answers not logged",
    "driftloop_shadow_dropped_rows_total": "rows without a shadow's answer",
}
"""Counters of what a bound drops, as services sample them into `stats_service`."""


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that a bound dropped, as the processes counted them up to their last sample."""

    model: str
    what: str
    labels: str
    rows: int


async def kept(bus: Bus, models: Sequence[str], span: Window) -> dict[str, dict[str, int]]:
    """Different event ids of these models, by model and table, of messages in the window.

    A table keeps the newest copy of an id and its sequence, so an id is of the window if that is.
    """
    names = ", ".join(map(text, models))
    parts = [
        f"SELECT model, '{table}' AS name, {_different(table)} AS n FROM {table} FINAL"
        f" WHERE model IN ({names or 'NULL'}) AND seq >= {span.start(STREAM_OF[table])}"
        " GROUP BY model"
        for table in TABLES
    ]
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in await _ask(bus, " UNION ALL ".join(parts)):
        found[row["model"]][row["name"]] = int(row["n"])
    return found


async def dropped(bus: Bus, models: list[str], span: Window) -> list[Dropped]:
    """What bounds dropped since the window began: the highest count of each process, added up."""
    names = " OR ".join(f"startsWith(name, '{name}{{')" for name in DROPPED)
    sql = (
        "SELECT name, sum(most) AS n FROM (SELECT service, started, pid, name, max(value) AS most"
        " FROM stats_service ARRAY JOIN mapKeys(counters) AS name, mapValues(counters) AS value"
        f" WHERE at >= toDateTime64({span.since:.3f}, 3, 'UTC') AND ({names})"
        " GROUP BY service, started, pid, name) GROUP BY name ORDER BY name"
    )
    found = [_dropped(row["name"], int(row["n"])) for row in await _ask(bus, sql)]
    return [one for one in found if one.model in models and one.rows]


def _dropped(counter: str, rows: int) -> Dropped:
    """A counter as `name{label=value,...}`."""
    name, _, given = counter.removesuffix("}").partition("{")
    labels = dict(part.split("=", 1) for part in given.split(","))
    model = labels.pop("model", "")
    text = ", ".join(f"{key} {value}" for key, value in sorted(labels.items()))
    return Dropped(model=model, what=DROPPED[name], labels=text, rows=rows)


def _different(table: str) -> str:
    """Tables whose key is more than the id may show one several times."""
    return "uniqExact(event_id)" if table in ("quarantine", "unmatched") else "count()"


async def _ask(bus: Bus, sql: str) -> list[dict[str, Any]]:
    query = msgspec.msgpack.encode(requests.SqlQuery(sql=sql))
    reply = await bus.ask(requests.QUERY_SQL, query, timeout=ASK_SECONDS)
    rows: list[dict[str, Any]] = decode(reply.payload).to_pylist()
    return rows
