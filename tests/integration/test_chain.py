"""The chain of events: exact across kills, and whatever is done to the record is found."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing
from driftloop.cli.chain import Finding, verify
from driftloop.contracts import chain, headers, subjects
from driftloop.contracts.events import DataAccumulated
from driftloop.local.nats import NatsServer
from driftloop.registry.notary import Notary
from tests.support.flows import eventually, held, process, register
from tests.support.loop import spec
from tests.support.secured import Secured, broker

__all__ = ["broker"]

MODELS = ("ebb", "flow")


async def say(bus: Bus, first: int, last: int, models: Sequence[str] = MODELS) -> None:
    """Events `first` to `last` of each model, by turns."""
    for number in range(first, last + 1):
        for model in models:
            await bus.emit(DataAccumulated(model=model, rows=number, outcomes_seq=number))


@contextlib.asynccontextmanager
async def notary(bus: Bus) -> AsyncIterator[None]:
    """The notary at work, on a connection of its own."""
    url = bus.connection.nc.connected_url
    assert url is not None
    own = await Bus.open(url.geturl(), "registry")
    task = asyncio.create_task(Notary(own).run())
    try:
        yield
    finally:
        own.stopping.set()
        await task
        await own.close()


async def noted(bus: Bus, model: str) -> list[chain.Entry]:
    links = [chain.decode(m.payload) for m in await held(bus, "CHAIN", subjects.chain(model))]
    return [entry for link in links for entry in link.entries]


async def checked(bus: Bus, models: Sequence[str] = (), settle: float = 10.0) -> list[Finding]:
    """What is found, but for what could not be compared: no telemetry runs here."""
    found = await verify(bus, models, settle=settle, ask=0.5)
    assert [f.kind for f in found if not f.grave] == ["not compared"]
    return [f for f in found if f.grave]


@pytest.fixture
async def noticed(bus: Bus) -> Bus:
    """Twelve events of two models, in their chains, and nobody writes any more."""
    for model in MODELS:
        await register(bus, spec(name=model))
    async with notary(bus):
        await say(bus, 1, 2)
        await checked(bus)
        await say(bus, 3, 6)
        assert await checked(bus) == []
    return bus


async def test_every_event_is_in_its_chain_in_order(noticed: Bus) -> None:
    for at, model in enumerate(MODELS):
        entries = await noted(noticed, model)
        assert [entry.seq for entry in entries] == [1 + at + 2 * n for n in range(6)]


async def test_events_that_come_together_are_a_link(bus: Bus) -> None:
    for model in MODELS:
        await register(bus, spec(name=model))
    await say(bus, 1, 6)  # before there is a notary
    async with notary(bus):
        assert await checked(bus) == []
    links = await held(bus, "CHAIN", "chain.*")
    assert len(links) < sum([len(await noted(bus, model)) for model in MODELS])


async def test_a_thousand_events_are_chained_once_and_in_order_across_kills(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    names = [f"m{n}" for n in range(20)]
    for name in names:
        await register(bus, spec(name=name))
    made = random.Random(7)
    with process("registry", nats_server.url, tmp_path) as service:
        said = asyncio.create_task(say(bus, 1, 50, names))
        for _ in range(2):
            mark = await bus.log.last_seq("CHAIN") + made.randint(5, 20)

            async def further(mark: int = mark) -> bool:
                return await bus.log.last_seq("CHAIN") >= mark or said.done()

            await eventually(further, "the chain grows")
            service.kill()
            service.start()
        await said
        assert await checked(bus, settle=20.0) == []
    for name in names:
        seqs = [entry.seq for entry in await noted(bus, name)]
        there = [m.seq for m in await held(bus, "EVENTS", f"events.{name}.>")]
        assert seqs == there
        assert len(seqs) >= 50


async def test_two_notaries_write_one_chain(bus: Bus) -> None:
    for model in MODELS:
        await register(bus, spec(name=model))
    async with notary(bus), notary(bus):
        await say(bus, 1, 20)
        assert await checked(bus) == []
    for model in MODELS:
        assert len(await noted(bus, model)) == 20


async def rewrite(bus: Bus, change: Callable[[list[Delivered]], list[Delivered]]) -> None:
    """Put another history in place of EVENTS, with the same sequences, as one with the disk may."""
    before = await held(bus, "EVENTS", "events.>")
    js = bus.connection.js
    config = (await js.stream_info("EVENTS")).config
    await js.delete_stream("EVENTS")
    await js.add_stream(config)
    for number, m in enumerate(change(before)):
        its = {**m.headers, headers.MSG_ID: f"{number}"}
        await bus.publish([Outgoing(subject=m.subject, payload=m.payload, headers=its)])


def changed(events: list[Delivered]) -> list[Delivered]:
    other = events[4].event()
    forged = msgspec.structs.replace(other, rows=999)
    events[4] = msgspec.structs.replace(events[4], payload=msgspec.msgpack.encode(forged))
    return events


def swapped(events: list[Delivered]) -> list[Delivered]:
    events[4], events[6] = events[6], events[4]
    return events


def put_in(events: list[Delivered]) -> list[Delivered]:
    return [*events[:4], events[1], *events[4:]]


def shown(found: list[Finding]) -> list[tuple[str, int, str]]:
    return [(f.model, f.seq, f.kind) for f in found]


async def test_a_removed_event_is_found(noticed: Bus) -> None:
    await noticed.connection.js.delete_msg("EVENTS", 5)
    assert shown(await checked(noticed)) == [("ebb", 5, "removed")]
    assert shown(await checked(noticed, ["ebb"])) == [("ebb", 5, "removed")]
    assert await checked(noticed, ["flow"]) == []


async def test_a_changed_event_is_found(noticed: Bus) -> None:
    await rewrite(noticed, changed)
    assert shown(await checked(noticed)) == [("ebb", 5, "changed")]


async def test_events_in_another_order_are_found(noticed: Bus) -> None:
    await rewrite(noticed, swapped)
    found = await checked(noticed)
    assert shown(found) == [("ebb", 5, "moved"), ("ebb", 7, "moved")]
    assert found[0].text == "event 5 (data.accumulated) was noted as 7"


async def test_an_event_that_is_put_in_is_found(noticed: Bus) -> None:
    await rewrite(noticed, put_in)
    found = await checked(noticed, settle=0.2)
    assert ("flow", 5, "moved") in shown(found), "it was noted as 2"
    assert {seq for _, seq, _ in shown(found)} >= set(range(5, 13)), "all others are moved on"


async def test_a_cut_tail_of_the_log_is_found_by_the_chain(noticed: Bus) -> None:
    for seq in (11, 12):
        await noticed.connection.js.delete_msg("EVENTS", seq)
    found = await checked(noticed, settle=0.2)
    assert shown(found) == [("ebb", 11, "removed"), ("flow", 12, "removed")]


async def test_a_cut_tail_of_log_and_chain_is_found_by_their_counts(noticed: Bus) -> None:
    js = noticed.connection.js
    for seq in (9, 10, 11, 12):
        await js.delete_msg("EVENTS", seq)
    for message in await held(noticed, "CHAIN", "chain.*"):
        if chain.decode(message.payload).last > 8:
            await js.delete_msg("CHAIN", message.seq)
    found = await checked(noticed, settle=0.2)
    assert {f.kind for f in found} >= {"link", "removed"}
    assert any(f.kind == "removed" and f.text.startswith("event") for f in found)
    assert any(f.kind == "link" and "gone" in f.text for f in found)


async def test_a_cut_tail_of_the_chain_is_found_by_the_log(noticed: Bus) -> None:
    *_, tail = await held(noticed, "CHAIN", "chain.ebb")
    await noticed.connection.js.delete_msg("CHAIN", tail.seq)
    found = await checked(noticed, ["ebb"], settle=0.2)
    (only,) = found
    assert (only.model, only.kind) == ("ebb", "not noted")
    assert only.text.endswith("the end was cut off, or no registry runs")


async def test_a_removed_link_is_found(noticed: Bus) -> None:
    first, *_ = await held(noticed, "CHAIN", "chain.ebb")
    await noticed.connection.js.delete_msg("CHAIN", first.seq)
    found = await checked(noticed, ["ebb"])
    assert {f.kind for f in found} == {"link", "put in"}
    assert any("begins after" in f.text for f in found)


async def rechained(bus: Bus, change: Callable[[chain.Link], chain.Link]) -> None:
    """Put another last link in the place of that of `ebb`."""
    *_, tail = await held(bus, "CHAIN", "chain.ebb")
    await bus.connection.js.delete_msg("CHAIN", tail.seq)
    link = change(chain.decode(tail.payload))
    made = {**tail.headers, headers.MSG_ID: "forged"}
    await bus.publish([Outgoing(subject=tail.subject, payload=chain.encode(link), headers=made)])


async def test_a_changed_entry_is_found(noticed: Bus) -> None:
    def other(link: chain.Link) -> chain.Link:
        last = chain.Entry(link.last, b"x" * 32)
        return msgspec.structs.replace(link, entries=(*link.entries[:-1], last))

    await rechained(noticed, other)
    found = await checked(noticed, ["ebb"])
    assert {f.kind for f in found} == {"link", "changed"}
    assert any("its entries do not have its hash" in f.text for f in found)


async def test_the_notary_goes_on_after_what_is_no_link_and_says_so(noticed: Bus) -> None:
    made = {headers.MSG_ID: "garbage", "ce-id": "garbage"}
    await noticed.publish([Outgoing(subject="chain.ebb", payload=b"garbage", headers=made)])
    async with notary(noticed):
        await say(noticed, 7, 8)

        async def told() -> bool:
            last = await noticed.log.last("EVENTS", "events.ebb.integrity.refused")
            return last is not None and "is none" in str(last.event())

        await eventually(told, "the notary says what it found")
        found = await checked(noticed, settle=1.0)
    assert any(f.kind == "link" for f in found)


async def test_links_that_the_registry_did_not_sign_are_found(broker: Secured) -> None:
    async with broker.user("registry") as registry, broker.user("feedback") as feedback:
        await register(registry, spec(name="ebb"))
        task = asyncio.create_task(Notary(registry).run())
        await say(feedback, 1, 3, ["ebb"])
        async with broker.user("operator") as operator:
            assert await checked(operator) == []
            registry.stopping.set()
            await task
            async with broker.user("admin") as admin:

                def resigned(link: chain.Link) -> chain.Link:
                    return msgspec.structs.replace(link, signature=b"s" * 64)

                await rechained(admin, resigned)
            found = await checked(operator, ["ebb"])
    assert [f.kind for f in found] == ["signature"]
    assert found[0].text.endswith("the registry did not sign it")
