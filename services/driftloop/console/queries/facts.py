"""Control events from the table `events`, as the log has them."""

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final

import msgspec

from driftloop.console.domain.times import iso
from driftloop.console.queries.past import Past, Row
from driftloop.contracts import headers
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.facts import Fact, fact
from driftloop.contracts.sql import text
from driftloop.contracts.why import CROWNED
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

COLUMNS: Final = "seq, id, at, correlation, causation, body"
Fits = Callable[[Fact], bool]
MOST_STEPS: Final = 24
"""Causes of causes that are looked up."""

_UNREAD: Final = metrics.counter("console_unread_events", "Kept events that could not be read")
_decode: Final = msgspec.json.Decoder(AnyEvent).decode


def moment(found: datetime | None) -> str:
    """A time of a table as in `ce-time`; "" for none."""
    return iso(found.timestamp()) if found is not None else ""


def millis(found: datetime | None) -> int:
    """Milliseconds since 1970; 0 for none."""
    return round(found.timestamp() * 1000) if found is not None else 0


def among(names: Collection[str]) -> str:
    """`IN (...)` of texts, also of none."""
    return f"IN ({', '.join(map(text, sorted(names))) or 'NULL'})"


def facts_of(rows: Iterable[Row]) -> list[Fact]:
    """The events in rows with `COLUMNS`; one that a newer version said is left out and counted."""
    found = []
    for row in rows:
        try:
            event = _decode(row["body"])
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            log.warning("event %s cannot be read: %s", row["id"], error)
            _UNREAD.inc()
            continue
        said = {
            "ce-id": row["id"],
            "ce-time": moment(row["at"]),
            headers.CORRELATION: row["correlation"],
            headers.CAUSATION: row["causation"],
        }
        found.append(fact(row["seq"], said, event))
    return found


async def select(
    past: Past, model: str, where: str, limit: int, fits: Fits | None = None
) -> list[Fact]:
    """The newest `limit` events of a model of which `where` holds, in the order of the log.

    `fits` says the same of an event: then those are there, too, that telemetry has not heard yet.
    """
    sql = (
        f"SELECT {COLUMNS} FROM events FINAL WHERE model = {text(model)} AND {where}"
        f" ORDER BY seq DESC LIMIT {limit}"
    )
    found = facts_of(reversed(await past.ask(sql)))
    if fits is None:
        return found
    known = {told.id for told in found}
    later = [told for told in past.heard(model) if told.id not in known and fits(told)]
    return sorted([*found, *later], key=lambda told: told.seq)[-limit:] if later else found


async def with_causes(past: Past, model: str, facts: list[Fact]) -> list[Fact]:
    """The events and what led to them, in the order of the log."""
    found = {told.id: told for told in facts}
    for _ in range(MOST_STEPS):
        wanted = {told.causation for told in found.values()} - found.keys() - {""}
        more = await by_ids(past, model, wanted)
        if not more:
            break
        found |= {told.id: told for told in more}
    return sorted(found.values(), key=lambda told: told.seq)


async def by_ids(past: Past, model: str, ids: Collection[str]) -> list[Fact]:
    """The events of a model with these ids."""
    if not ids:
        return []
    return await select(past, model, f"id {among(ids)}", len(ids), lambda told: told.id in ids)


async def of_run(past: Past, model: str, run: str, limit: int) -> list[Fact]:
    """The newest events of a run."""
    where = f"correlation = {text(run)}"
    return await select(past, model, where, limit, lambda told: told.correlation == run)


async def crownings(past: Past, model: str, limit: int) -> list[Fact]:
    """The newest promotions and roll-backs."""
    where = "kind IN ('model.promoted', 'model.rolled_back')"
    return await select(past, model, where, limit, lambda told: isinstance(told.event, CROWNED))
