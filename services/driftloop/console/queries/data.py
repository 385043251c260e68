"""Data quality: rows set aside, and how long labels take."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from driftloop.console.api.shapes import (
    Data,
    DataOf,
    Quantiles,
    QuarantineList,
    QuarantineReason,
    QuarantineRow,
    Sum,
)
from driftloop.console.audits import Audit
from driftloop.console.domain.times import iso
from driftloop.console.hub import Models
from driftloop.console.queries.dead import Dead, dead_letters
from driftloop.console.queries.facts import among
from driftloop.console.queries.past import Past, Row
from driftloop.contracts.sql import text

REASONS: Final = 20
"""Reasons of one model that are listed, those of the most rows."""
DELAY_BATCHES: Final = 64
"""Newest batches of outcomes of a model whose label delay is looked at."""
STORED_SECONDS: Final = 600.0
"""When a message was stored does not change."""
_WHY: Final = (
    "replaceRegexpOne(splitByString('; accepted: ', reason)[1],"
    r" '^([^:]{1,80}): .*?((is|does) [a-z0-9 ]+)$', '\\1: \\2')"
)
"""SQL: the first problem of a row, without its value, which is another in each row."""


async def data(
    past: Past,
    models: Sequence[str],
    audits: Mapping[str, Audit],
    seen: Models,
    now: float,
) -> Data:
    """Data quality of these models at `now` (seconds since 1970).

    Dead letters are counted of all models that the caller may see.
    """
    quarantined = await _quarantined(past, models)
    delays = await _delays(past, models)
    letters = await dead_letters(past)
    return Data(
        time=iso(now),
        dead=sum(n for its, n in letters.counts.items() if seen is None or its in seen),
        models=[
            _of(model, quarantined[model], delays.get(model), letters, audits.get(model))
            for model in models
        ],
    )


def _of(
    model: str,
    quarantined: list[QuarantineReason],
    delay: Quantiles | None,
    letters: Dead,
    audit: Audit | None,
) -> DataOf:
    return DataOf(
        model=model,
        quarantined=quarantined,
        dead=letters.counts[model],
        sums=[
            Sum(
                name=one.name,
                left=one.left,
                right=one.right,
                parts=one.parts,
                missing=one.missing,
                extra=one.extra,
                closes=one.closes,
                note=one.note,
            )
            for one in (audit.sums if audit is not None else [])
        ],
        closes=all(one.closes for one in audit.sums) if audit is not None else None,
        audited=iso(audit.card.at) if audit is not None else "",
        delay=delay,
    )


async def _quarantined(
    past: Past, models: Collection[str]
) -> defaultdict[str, list[QuarantineReason]]:
    rows = await past.ask(
        f"SELECT model, {_WHY} AS why, count() AS n, max(seq) AS newest FROM quarantine FINAL"
        f" WHERE model {among(models)} GROUP BY model, why"
        f" ORDER BY n DESC, why LIMIT {REASONS} BY model"
    )
    found: defaultdict[str, list[QuarantineReason]] = defaultdict(list)
    for row in rows:
        stored = await _stored(past, row["model"], row["newest"]) if len(models) == 1 else ""
        reason = QuarantineReason(reason=row["why"], rows=row["n"], newest=stored)
        found[row["model"]].append(reason)
    return found


async def _delays(past: Past, models: Collection[str]) -> dict[str, Quantiles]:
    """Time from a row to its label, where labels say when they were known."""
    its = f"FROM outcomes WHERE model {among(models)}"
    rows = await past.ask(
        "SELECT model, count() AS n, quantilesExactInclusive(0.5, 0.9, 0.99, 1)(delay) AS at FROM"
        " (SELECT model, event_id, toUnixTimestamp64Milli(assumeNotNull(label_time))"
        f" - toUnixTimestamp64Milli(event_time) AS delay {its} AND label_time IS NOT NULL"
        f" AND (model, seq) IN (SELECT model, seq {its} GROUP BY model, seq"
        f" ORDER BY seq DESC LIMIT {DELAY_BATCHES} BY model)"
        " ORDER BY seq DESC LIMIT 1 BY model, event_id) GROUP BY model"
    )
    return {row["model"]: _quantiles(row) for row in rows}


def _quantiles(row: Row) -> Quantiles:
    p50, p90, p99, most = (at / 1_000 for at in row["at"])
    return Quantiles(rows=row["n"], p50=p50, p90=p90, p99=p99, most=most)


async def quarantine(past: Past, model: str, reason: str, limit: int) -> QuarantineList:
    """The newest rows that were set aside, of one reason as `data` lists them ("": of any)."""
    await past.bus.spec(model)
    which = f" AND why = {text(reason)}" if reason else ""
    rows = await past.ask(
        f"SELECT seq, event_time, event_id, {_WHY} AS why, reason, row FROM quarantine FINAL"
        f" WHERE model = {text(model)}{which} ORDER BY seq DESC, event_id LIMIT {limit}"
    )
    return QuarantineList(
        model=model,
        rows=[
            QuarantineRow(
                seq=row["seq"],
                time=await _stored(past, model, row["seq"]),
                event_id=row["event_id"],
                reason=row["why"],
                text=row["reason"],
                row=_row(row["row"]),
            )
            for row in rows
        ],
    )


def _row(said: str) -> dict[str, Any]:
    """The fields of a row; the text itself where it was cut, or holds what JSON has not."""
    try:
        return msgspec.json.decode(said, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"": said}


async def _stored(past: Past, model: str, seq: int) -> str:
    """When a batch of quarantined rows was stored; "" if the log has it no more."""

    async def look() -> str:
        subject = f"rows.{model}.quarantined.*"
        found = await past.bus.log.at_or_after("ROWS", subject, seq)
        return iso(found.time) if found is not None and found.seq == seq else ""

    return await past.cache.get(f"ROWS {model} {seq}", look, STORED_SECONDS)
