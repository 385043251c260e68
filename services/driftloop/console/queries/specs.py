"""The spec of a model as text, now and in its earlier revisions."""

from collections import deque
from itertools import pairwise
from typing import Final

import msgspec

from driftloop.bus.kv import gone
from driftloop.bus.messages import Delivered
from driftloop.console.api.shapes import SpecHistory, SpecRevision
from driftloop.console.domain.times import iso
from driftloop.console.queries.past import Past
from driftloop.contracts import subjects
from driftloop.contracts.events import SpecRegistered
from driftloop.contracts.state import SPECS_BUCKET
from driftloop.modelspec import toml
from driftloop.modelspec.spec import Registered

MOST: Final = 100
"""Revisions that are read, the newest."""


async def spec(past: Past, model: str) -> SpecRevision:
    """The spec that is registered now; raises `UnknownModel`."""
    return revision(await past.bus.spec(model))


def revision(known: Registered) -> SpecRevision:
    """A registered spec as text."""
    return SpecRevision(
        revision=known.revision,
        time=iso(known.at),
        by=known.by,
        text=toml.dumps(known.spec),
        reason=known.reason,
    )


async def history(past: Past, model: str) -> SpecHistory:
    """The newest revisions, those with a text: as events tell them, or the bucket still has them.

    Events of older releases have no text, and the bucket keeps the last 16 revisions only.
    """
    newest = await past.bus.spec(model)
    return await past.cache.get(f"specs {model} {newest.revision}", lambda: _read(past, newest))


async def _read(past: Past, newest: Registered) -> SpecHistory:
    model = newest.spec.name
    told = [_told(m) for m in await _all(past, "EVENTS", subjects.event(model, _KIND))]
    kept = [_kept(past, m) for m in await _all(past, f"KV_{SPECS_BUCKET}", _key(model))]
    found = {its.revision: its for its in (*told, *kept, revision(newest)) if its is not None}
    revisions = compared([found[at] for at in sorted(found)][-MOST:])
    return SpecHistory(
        model=model, revisions=revisions[::-1], lost=newest.revision - len(revisions)
    )


def compared(revisions: list[SpecRevision]) -> list[SpecRevision]:
    """Each revision, oldest first, with what differs from the one before it."""
    made = revisions[:1]
    for before, its in pairwise(revisions):
        names = (f"revision {before.revision}", f"revision {its.revision}")
        diff = toml.diff(before.text, its.text, names)
        made.append(msgspec.structs.replace(its, diff=diff))
    return made


async def _all(past: Past, stream: str, subject: str) -> list[Delivered]:
    last = await past.bus.log.last(stream, subject)
    if last is None:
        return []
    newest: deque[Delivered] = deque(maxlen=MOST)
    async for message in past.bus.log.range(stream, subject, 1, last.seq):
        newest.append(message)
    return list(newest)


def _told(message: Delivered) -> SpecRevision | None:
    event = message.event()
    if not isinstance(event, SpecRegistered) or not event.text:
        return None
    time = message.headers.get("ce-time", "")
    return SpecRevision(
        revision=event.revision, time=time, by=event.by, text=event.text, reason=event.reason
    )


def _kept(past: Past, message: Delivered) -> SpecRevision | None:
    if gone(message) or past.bus.specs.forged(message):
        return None
    try:
        return revision(_decode(message.payload))
    except msgspec.ValidationError:  # of a release whose specs were others
        return None


def _key(model: str) -> str:
    return f"$KV.{SPECS_BUCKET}.{model}"


_KIND: Final = SpecRegistered.kind
_decode: Final = msgspec.msgpack.Decoder(Registered).decode
