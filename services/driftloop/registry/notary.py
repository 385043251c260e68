"""The notary: writes a digest of every control event into the chain of its model, in order.

It is a fold over EVENTS and acknowledges nothing. Each link says up to where all events are in
their chains, so after a restart the newest link says where to read on, and the newest link of a
model which of its events are in already. Links are written on condition that nobody else wrote one:
a second registry does no harm.
"""

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from driftloop.artifacts import signing
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing
from driftloop.bus.publish import Conflict
from driftloop.contracts import chain, headers, subjects
from driftloop.contracts.chain import Entry, Link
from driftloop.contracts.errors import Reject, Retry
from driftloop.contracts.events import IntegrityRefused
from driftloop.registry.proofs import REFUSED
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

MOST: Final = 256
"""Events read at once; those of a model make one link."""
HEADS: Final = 4_096
"""Models whose newest link is remembered; of another it is read again."""
NOTED: Final = metrics.counter("chained_events", "Control events in the chains of their models")
PAUSE_SECONDS: Final = 1.0


class _Head(NamedTuple):
    """Where the chain of a model ends: its newest event, entries, hash, and place in CHAIN."""

    last: int
    number: int
    hash: bytes
    place: int


class Notary:
    """The writer of the chains."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heads: dict[str, _Head] = {}

    async def run(self) -> None:
        """Follow EVENTS until the service stops."""
        start = await self._start()
        if not start:
            return
        follow = self._bus.follow("EVENTS", ("events.>",), start)
        while not self._bus.stopping.is_set():
            group = await follow.read(MOST)
            if group:
                await self._note(group)
        await follow.close()

    async def _start(self) -> int:
        """The first event that may be in no chain; 0 if the service stops before it is known."""
        while not self._bus.stopping.is_set():
            try:
                newest = await self._bus.log.last(chain.STREAM, "chain.*")
                return chain.decode(newest.payload).done + 1 if newest is not None else 1
            except Reject as error:
                log.error("chain: its newest link is none (%s); reading all events again", error)
                return 1
            except Retry as error:  # the broker is away
                log.warning("chain: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
        return 0

    async def _note(self, group: Sequence[Delivered]) -> None:
        """Write what is new of a group; tries until it is written, or the service stops."""
        done = group[0].seq - 1
        by_model = sorted(group, key=attrgetter("model"))  # stable: in order within a model
        parts = [(model, list(its)) for model, its in groupby(by_model, attrgetter("model"))]
        while parts and not self._bus.stopping.is_set():
            made = await asyncio.gather(
                *(self._append(model, its, done) for model, its in parts), return_exceptions=True
            )
            failed = [error for error in made if isinstance(error, BaseException)]
            parts = [
                part
                for part, error in zip(parts, made, strict=True)
                if isinstance(error, BaseException)
            ]
            for error in failed:
                if not isinstance(error, Retry):
                    raise error
                log.warning("chain: %s", error)
            if failed:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _append(self, model: str, events: Sequence[Delivered], done: int) -> None:
        """Write one link of the events that the model's chain does not have yet."""
        while True:
            known = self._heads.get(model)
            head = known or await self._head(model)
            fresh = [event for event in events if event.seq > head.last]
            if not fresh:
                return
            link = _link(model, head, fresh, done)
            link = signing.signed_link(self._bus.identity, link)
            try:
                place = await self._bus.publish_next(_message(link, self._bus.service), head.place)
            except Conflict:
                self._heads.pop(model, None)
                if known is not None:
                    await self._compare(model, known)
                continue
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[model] = _Head(link.last, link.number + len(fresh), link.after, place)
            NOTED.inc(len(fresh))
            return

    async def _head(self, model: str) -> _Head:
        newest = await self._bus.log.last(chain.STREAM, subjects.chain(model))
        if newest is None:
            return _Head(0, 0, chain.genesis(model), 0)
        try:
            link = chain.decode(newest.payload)
        except Reject as error:
            await self._refused(model, f"link {newest.seq} of the chain is none: {error}")
            return _Head(0, 0, chain.genesis(model), newest.seq)
        return _Head(link.last, link.number + len(link.entries), link.after, newest.seq)

    async def _compare(self, model: str, known: _Head) -> None:
        """The chain is not as we left it: another registry went on with it, or it was cut."""
        found = await self._head(model)
        if found.number < known.number:
            await self._refused(
                model,
                f"the chain had {known.number} entries up to event {known.last}, and now has "
                f"{found.number} up to event {found.last}",
            )

    async def _refused(self, model: str, reason: str) -> None:
        log.error("%s: %s", model, reason)
        REFUSED.labels(model, "chain").inc()
        event = IntegrityRefused(model=model, version=0, what="chain", reason=reason)
        await self._bus.emit(event)


def _link(model: str, head: _Head, events: Sequence[Delivered], done: int) -> Link:
    entries = tuple(
        Entry(event.seq, chain.event_sha256(event.subject, event.headers, event.payload))
        for event in events
    )
    after = chain.extended(head.hash, entries)
    return Link(
        model=model, number=head.number, before=head.hash, entries=entries, after=after, done=done
    )


def _message(link: Link, source: str) -> Outgoing:
    """Two writers that note the same events make the same message, and one is kept."""
    made = headers.headers(
        kind="chain",
        source=source,
        subject=link.model,
        msg_id=f"chain:{link.model}:{link.entries[0].seq}-{link.last}:{link.after.hex()[:16]}",
        content_type=headers.MSGPACK,
    )
    return Outgoing(subject=subjects.chain(link.model), payload=chain.encode(link), headers=made)
