"""Verifies the chains of control events: what was removed, changed, put in or moved since."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from driftloop.artifacts import signing
from driftloop.cli import output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.session import visit
from driftloop.contracts import chain, requests, subjects
from driftloop.contracts.chain import Link
from driftloop.contracts.errors import DriftloopError, Reject
from driftloop.contracts.names import check_model_name

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus
    from driftloop.bus.messages import Delivered

EVENTS: Final = "EVENTS"
EVERY: Final = "*"
LOOK_SECONDS: Final = 0.1
ASK_SECONDS: Final = 5.0
NEWEST: Final = "SELECT model, max(seq) AS seq FROM events FINAL GROUP BY model"

Kind = Literal[
    "removed",  # an event that the chain, or ClickHouse, or the count of the log has
    "changed",  # an event that says something else than when it was noted
    "moved",  # an event that was noted at another place
    "put in",  # an event at a place that the chain passed over
    "not noted",  # events after the end of the chain
    "link",  # a link that does not follow from the one before, or is missing
    "signature",  # a link that the registry did not sign
    "not compared",  # a check that could not be made
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong with the record of a model at a sequence: of EVENTS, for a link of CHAIN."""

    model: str
    seq: int
    kind: Kind
    text: str

    @property
    def grave(self) -> bool:
        """Whether the record is not what it was; else only a check could not be made."""
        return self.kind != "not compared"


class _Chain:
    """What the links of one model list, checked as they come."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.listed: dict[int, bytes] = {}
        self.last = self.number = 0
        self.hash = chain.genesis(model)

    def add(self, link: Link, place: int) -> Iterator[Finding]:
        """Take in the next link; what is wrong with it."""
        if link.number != self.number or link.before != self.hash:
            yield self._wrong(place, f"begins after {link.number} entries, not {self.number}")
        if chain.extended(link.before, link.entries) != link.after:
            yield self._wrong(place, "its entries do not have its hash")
        self.number, self.hash = link.number + len(link.entries), link.after
        for entry in link.entries:
            if entry.seq <= self.last:
                yield self._wrong(place, f"event {entry.seq} comes after event {self.last}")
            self.last = max(self.last, entry.seq)
            self.listed[entry.seq] = entry.sha256

    def _wrong(self, place: int, what: str) -> Finding:
        text = f"link {place} of CHAIN: {what}"
        return Finding(model=self.model, seq=place, kind="link", text=text)


def run(url: str, models: Sequence[str], json: bool) -> None:
    """Verify and show; ends with exit code 1 if the record is not what it was."""

    async def work(bus: "Bus") -> list[Finding]:
        return await verify(bus, models)

    found = visit(url, work)
    if json:
        output.as_json(found)
    elif found:
        rows = ((one.model, one.seq or "", one.kind, one.text) for one in found)
        output.table(("model", "sequence", "what", "found"), rows, right=("sequence",))
    if any(one.grave for one in found):
        raise Stop(Exit.NO, "the record of events is not what was noted")
    if not json:
        output.say("Every event is what was noted, and none is missing.")


async def verify(
    bus: "Bus", models: Sequence[str] = (), *, settle: float = 5.0, ask: float = ASK_SECONDS
) -> list[Finding]:
    """What is wrong with the chains of these models (none: of all), in the order of the log.

    Waits up to `settle` seconds for the notary to note what is in the log when it begins, and `ask`
    seconds for ClickHouse, whose table `events` is another copy: what the log lost at its end, its
    chain too, is seen there. An empty list is the answer one hopes for. Holds some 200 bytes for
    each event.
    """
    for model in models:
        check_model_name(model)
    last = await bus.log.last_seq(EVENTS)
    await _settled(bus, models, last, settle)
    its = _Check(bus, models, last)
    await its.chains()
    await its.events()
    await its.ends(ask)
    return sorted(set(its.found), key=lambda one: (one.model, one.seq, one.kind, one.text))


async def _settled(bus: "Bus", models: Sequence[str], last: int, settle: float) -> None:
    """Wait until the chains have what the log has up to `last`, but not for ever."""
    end = time.monotonic() + settle
    waiting = set(models or await bus.specs.keys())
    while waiting:
        for model in sorted(waiting):
            event = await bus.log.last(EVENTS, _events(model))
            link = await bus.log.last(chain.STREAM, subjects.chain(model))
            there = min(event.seq, last) if event is not None else 0
            if not there or (link is not None and _last(link) >= there):
                waiting.discard(model)
        if time.monotonic() > end:
            return
        await asyncio.sleep(LOOK_SECONDS if waiting else 0)


class _Check:
    """One look at the log up to event `last`: chains first, then events, then their ends."""

    def __init__(self, bus: "Bus", models: Sequence[str], last: int) -> None:
        self.found: list[Finding] = []
        self._bus = bus
        self._models = models
        self._last = last
        self._chains: dict[str, _Chain] = {}
        self._newest: dict[str, int] = {}
        self._seen: set[int] = set()

    async def chains(self) -> None:
        """Read the chains, and look at their links."""
        last = await self._bus.log.last_seq(chain.STREAM)
        places: set[int] = set()
        for model in self._models or (EVERY,):
            async for message in _read(self._bus, chain.STREAM, f"chain.{model}", last):
                places.add(message.seq)
                self._link(message)
        if not self._models:
            self._say("link", "", "of CHAIN", "gone", set(range(1, last + 1)) - places)

    def _link(self, message: "Delivered") -> None:
        model = message.subject.split(".", 1)[1]
        its = self._chains.setdefault(model, _Chain(model))
        where = f"link {message.seq} of CHAIN"
        try:
            link = chain.decode(message.payload)
        except Reject as error:
            self._add(model, message.seq, "link", f"{where}: {error}")
            return
        self.found += its.add(link, message.seq)
        trust = self._bus.trust
        if trust is not None and not signing.link_signed(trust, link):
            self._add(model, message.seq, "signature", f"{where}: the registry did not sign it")

    async def events(self) -> None:
        """Hold the log against the chains."""
        noted = {
            (m, sha): seq for m, its in self._chains.items() for seq, sha in its.listed.items()
        }
        late: dict[str, list[int]] = {}
        for model in self._models or (EVERY,):
            async for message in _read(self._bus, EVENTS, _events(model), self._last):
                its = self._chains.setdefault(message.model, _Chain(message.model))
                self._newest[its.model] = message.seq
                self._seen.add(message.seq)
                sha256 = chain.event_sha256(message.subject, message.headers, message.payload)
                if its.listed.get(message.seq) == sha256:
                    continue
                if message.seq > its.last:
                    late.setdefault(its.model, []).append(message.seq)
                else:
                    self.found.append(_differs(its, message, noted.get((its.model, sha256))))
        for model, seqs in late.items():
            text = (
                f"events {seqs[0]} to {seqs[-1]} ({len(seqs)}) came after the end of the chain, "
                f"event {self._chains[model].last}: the end was cut off, or no registry runs"
            )
            self._add(model, seqs[0], "not noted", text)

    async def ends(self, ask: float) -> None:
        """What is in a chain, in the count of the log, or in ClickHouse, and not in the log."""
        listed: set[int] = set()
        for model, its in self._chains.items():
            there = {seq for seq in its.listed if seq <= self._last}
            self._say("event", model, "", "in the chain only", there - self._seen)
            listed |= there
        if not self._models:
            gone = set(range(1, self._last + 1)) - self._seen - listed
            self._say("event", "", "", "neither in the log nor in a chain", gone)
        await self._copy(ask)

    async def _copy(self, seconds: float) -> None:
        """Hold the end of the log against the table `events`, which telemetry keeps."""
        from driftloop.contracts.batches import decode

        query = msgspec.msgpack.encode(requests.SqlQuery(sql=NEWEST))
        try:
            reply = await self._bus.ask(requests.QUERY_SQL, query, timeout=seconds)
            rows = decode(reply.payload).to_pylist()
        except (DriftloopError, TimeoutError, OSError) as error:
            text = f"ClickHouse, which has a copy of the events, was not asked: {error}"
            self._add("", 0, "not compared", text)
            return
        for row in rows:
            model, seq = row["model"], row["seq"]
            kept = self._newest.get(model, 0)
            if (not self._models or model in self._models) and kept < seq <= self._last:
                text = f"ClickHouse has events up to {seq}, the log up to {kept}"
                self._add(model, seq, "removed", text)
            elif seq > await self._bus.log.last_seq(EVENTS):
                text = f"ClickHouse has event {seq}, to which the log has not come"
                self._add(model, seq, "removed", text)

    def _say(self, thing: str, model: str, of: str, what: str, seqs: set[int]) -> None:
        """One finding for each run of sequences."""
        kind: Kind = "link" if thing == "link" else "removed"
        for first, last in _runs(sorted(seqs)):
            run = f"{thing} {first}" if first == last else f"{thing}s {first} to {last}"
            text = f"{run} {of} {'is' if first == last else 'are'} {what}".replace("  ", " ")
            self._add(model, first, kind, text)

    def _add(self, model: str, seq: int, kind: Kind, text: str) -> None:
        self.found.append(Finding(model=model, seq=seq, kind=kind, text=text))


def _differs(its: _Chain, message: "Delivered", noted_at: int | None) -> Finding:
    seq, kind = message.seq, message.subject.split(".", 2)[2]
    made: dict[str, Any] = {"model": its.model, "seq": seq}
    if noted_at is not None:
        return Finding(kind="moved", text=f"event {seq} ({kind}) was noted as {noted_at}", **made)
    if seq in its.listed:
        text = f"event {seq} ({kind}) does not say what was noted"
        return Finding(kind="changed", text=text, **made)
    return Finding(kind="put in", text=f"event {seq} ({kind}) was never noted", **made)


async def _read(bus: "Bus", stream: str, subject: str, last: int) -> AsyncIterator["Delivered"]:
    newest = await bus.log.last(stream, subject)
    if newest is not None:
        async for message in bus.log.range(stream, subject, 1, min(newest.seq, last)):
            yield message


def _runs(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and last of each run of whole numbers in order without a gap."""
    for _, its in groupby(enumerate(seqs), key=lambda pair: pair[1] - pair[0]):
        run = [seq for _, seq in its]
        yield run[0], run[-1]


def _last(message: "Delivered") -> int:
    try:
        return chain.decode(message.payload).last
    except Reject:
        return 0


def _events(model: str) -> str:
    return f"events.{model}.>" if model != EVERY else "events.>"
