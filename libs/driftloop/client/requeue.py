"""Sends quarantined rows again, and then the labels that were given up because of them.

All of it is read from the log: which rows are in quarantine and never became valid, their originals
as they were received, and which labels feedback gave up for that reason. So it may be run again at
any time, and does what is left to do. In memory are 8 bytes for each row in quarantine.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from driftloop.bus.audit.flight import joining
from driftloop.bus.audit.ids import Hashes, hashes
from driftloop.bus.audit.window import first_at
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.client.client import Client
from driftloop.client.quarantine import watch
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import LABELS, ROW_QUARANTINED, encode
from driftloop.contracts.names import digest
from driftloop.modelspec.rows import as_text, plain
from driftloop.modelspec.spec import Registered

SETTLE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.2
SCORERS: Final = ("inference-scored", "inference-backlog")
_NONE: Final[Hashes] = np.zeros(0, np.int64)
_VALUE: Final = re.compile(r"^([^:]{1,80}): .*?((is|does) [a-z0-9 ]+)$", re.DOTALL)
"""The value in a problem, which the console leaves out where it counts rows by reason."""


class Requeued(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows sent again, and of the labels that waited for such rows.

    `gone` rows are no longer in the log. `labels` were sent again, `joined` are outcomes now.
    """

    model: str
    rows: int
    valid: int
    quarantined: int
    gone: int
    reasons: dict[str, int]
    labels: int
    joined: int
    all_checked: bool
    all_scored: bool


class _Rows(msgspec.Struct, kw_only=True):
    """The rows that were sent, by their ids."""

    ids: Hashes
    gone: int
    start: int
    """The first sequence of ROWS that may hold what was sent."""


async def requeue(bus: Bus, client: Client, model: str, reason: str, since: float) -> Requeued:
    """Send the rows in quarantine again whose reason contains `reason` and that came since then.

    `reason` may also be a problem as the console lists it, without its value: `x: is above 10`.
    Under the same event ids, through ingest, and only rows that are not valid by now. Raises what
    the client raises.
    """
    registered = await bus.spec(model)
    sent = await _send_rows(bus, client, registered, reason, since)
    found = await watch(bus, model, sent.start)
    valid = await _ids(bus, "ROWS", subjects.rows(model, "valid", "*"), sent.start)
    now_valid = np.intersect1d(sent.ids, valid)
    labels = await _labels(bus, model)
    scored = await _scored(bus, model) if len(labels) else True
    joined = 0
    if labels and scored:
        batch = _label_batch(labels)
        await client.send_labels(model, batch, key=_key(registered, batch))
        joined = await _joined(bus, model, np.array(list(labels), np.int64))
    return Requeued(
        model=model,
        rows=len(sent.ids),
        valid=len(now_valid),
        quarantined=len(sent.ids) - len(now_valid),
        gone=sent.gone,
        reasons=dict(found.reasons),
        labels=len(labels) if scored else 0,
        joined=joined,
        all_checked=found.all_checked,
        all_scored=scored,
    )


async def _send_rows(
    bus: Bus, client: Client, registered: Registered, reason: str, since: float
) -> _Rows:
    model = registered.spec.name
    first = await first_at(bus, "ROWS", since) if since else 1
    here = [ids async for _, ids in _quarantined(bus, model, reason, first)]
    known = await _ids(bus, "ROWS", subjects.rows(model, "valid", "*"), 1)
    chosen = _newest(here, known)
    start, sent, gone = await bus.log.last_seq("ROWS") + 1, [_NONE], 0
    number = 0
    async for message, ids in _quarantined(bus, model, reason, first):
        mask = chosen[number : number + len(ids)]
        number += len(ids)
        if number > len(chosen):  # what came since we began
            break
        if not mask.any():
            continue
        rows = await _original(bus, registered, message, ids[mask])
        gone += int(mask.sum()) - (rows.num_rows if rows is not None else 0)
        if rows is not None and rows.num_rows:
            await client.send_rows(model, rows, key=_key(registered, rows))
            sent.append(hashes(_id_column(rows, registered)))
    return _Rows(ids=np.concatenate(sent), gone=gone, start=start)


async def _quarantined(
    bus: Bus, model: str, reason: str, first: int
) -> AsyncIterator[tuple[Delivered, Hashes]]:
    """Each batch of quarantine with the ids of its rows of this reason."""
    subject = subjects.rows(model, "quarantined", "*")
    last = await bus.log.last("ROWS", subject)
    if last is None:
        return
    async for message in bus.log.range("ROWS", subject, first, last.seq):
        batch = message.batch()
        reasons = batch.column("reason").to_pylist()
        mask = pa.array([reason in text or reason == problem(text) for text in reasons])
        yield message, hashes(batch.column(0).filter(mask))


def problem(text: str) -> str:
    """The first problem of a row without its value, as the console lists reasons."""
    return _VALUE.sub(r"\1: \2", text.split("; accepted: ")[0])


def _newest(batches: list[Hashes], known: Hashes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Of each id its last row, unless the id is `known`; a mask over the rows of all batches."""
    ids = np.concatenate([_NONE, *batches])
    last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]
    mask = np.zeros(len(ids), np.bool_)
    mask[last] = True
    return mask & ~np.isin(ids, known)


async def _original(
    bus: Bus, registered: Registered, message: Delivered, wanted: Hashes
) -> pa.RecordBatch | None:
    """These rows as they were received; None if the log has them no more."""
    position = message.headers.get(headers.INPUT, "").rpartition(":")[2]
    if not position.isdigit():
        return None
    subject = subjects.rows(registered.spec.name, "received", "*")
    found = await bus.log.at_or_after("ROWS", subject, int(position))
    if found is None or found.seq != int(position):
        return None
    rows = found.batch()
    ids = hashes(_id_column(rows, registered))
    firsts = np.unique(ids, return_index=True)[1]
    at = np.sort(firsts[np.isin(ids[firsts], wanted)])
    return rows.take(pa.array(at))


def _id_column(rows: pa.RecordBatch, registered: Registered) -> pa.Array:
    name = registered.spec.columns.event_id
    if name not in rows.schema.names:
        return pa.nulls(rows.num_rows, pa.string())
    return as_text(plain(rows).column(name))


async def _ids(bus: Bus, stream: str, subject: str, first: int) -> Hashes:
    """The ids in column 0 of all batches of a subject from a sequence on."""
    last = await bus.log.last(stream, subject)
    if last is None:
        return _NONE
    found = [
        hashes(message.batch().column(0))
        async for message in bus.log.range(stream, subject, first, last.seq)
    ]
    return np.unique(np.concatenate([_NONE, *found]))


Told = dict[int, tuple[str, str, object]]
"""Labels by the hash of their event id: the id, the label, its time."""


async def _labels(bus: Bus, model: str) -> Told:
    """The newest label of each id whose label was given up for its row, which is valid now."""
    refused = await _given_up(bus, model)
    if not len(refused):
        return {}
    valid = await _ids(bus, "ROWS", subjects.rows(model, "valid", "*"), 1)
    done = await _ids(bus, "OUTCOMES", subjects.outcomes(model), 1)
    wanted = np.setdiff1d(np.intersect1d(refused, valid), done)
    subject = subjects.labels(model)
    last = await bus.log.last("LABELS", subject)
    told: Told = {}
    if last is None or not len(wanted):
        return told
    async for message in bus.log.range("LABELS", subject, 1, last.seq):
        batch = message.batch()
        ids = hashes(batch.column(0))
        mask = np.isin(ids, wanted)
        rows = batch.filter(pa.array(mask)).to_pylist()
        for key, row in zip(ids[mask].tolist(), rows, strict=True):
            told[key] = (row["event_id"], row["label"], row["label_time"])
    return told


async def _given_up(bus: Bus, model: str) -> Hashes:
    subject = subjects.dead("feedback", model)
    last = await bus.log.last("DEAD", subject)
    if last is None:
        return _NONE
    found = [_NONE]
    async for message in bus.log.range("DEAD", subject, 1, last.seq):
        if headers.READ in message.headers:
            batch = message.batch()
            mask = [reason == ROW_QUARANTINED for reason in batch.column("reason").to_pylist()]
            found.append(hashes(batch.column(0).filter(pa.array(mask))))
    return np.unique(np.concatenate(found))


def _label_batch(told: Told) -> pa.RecordBatch:
    names = LABELS.names
    rows = [dict(zip(names, row, strict=True)) for row in told.values()]
    return pa.RecordBatch.from_pylist(rows, schema=LABELS)


def _key(registered: Registered, batch: pa.RecordBatch) -> str:
    """What the batch is known by: the same rows, sent again soon under the same spec, are stored
    once.
    """
    return f"requeue-{registered.revision}-{digest(encode(batch))[:32]}"


async def _scored(bus: Bus, model: str) -> bool:
    """Whether feedback has heard the answers to all valid rows, after a while."""

    async def heard() -> bool:
        if any([await bus.log.lag("ROWS", durable) for durable in SCORERS]):
            return False
        last, at = await bus.log.last("SCORED", subjects.scored(model)), await joining(bus, model)
        return last is None or (at is not None and at.scored >= last.seq)

    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        done = await heard()
        if done or time.monotonic() > deadline:
            return done
        await asyncio.sleep(LOOK_SECONDS)


async def _joined(bus: Bus, model: str, wanted: Hashes) -> int:
    """How many of these ids are outcomes, once feedback has heard all labels."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        last, at = await bus.log.last("LABELS", subjects.labels(model)), await joining(bus, model)
        if last is None or (at is not None and at.labels >= last.seq):
            break
        await asyncio.sleep(LOOK_SECONDS)
    done = await _ids(bus, "OUTCOMES", subjects.outcomes(model), 1)
    return len(np.intersect1d(wanted, done))
