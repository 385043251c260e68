"""Dead letters and quarantined rows given back, on real services: once, and accounted for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.letters import letters as dead_letters
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.bus.rights import ADMIN, CLIENT, OPERATOR
from driftloop.client.client import Client
from driftloop.contracts import headers, subjects
from driftloop.contracts.events import LetterDropped, LetterReplayed
from driftloop.local.up import register
from driftloop.modelspec.rows import from_dicts
from driftloop.modelspec.spec import Spec
from tests.support.accounting import audited, broken, labels, parts, rows, system, told
from tests.support.flows import eventually, held, rain_spec, rows_held
from tests.support.processes import driftloop
from tests.support.secured import secured

pytestmark = pytest.mark.asyncio(loop_scope="module")


class World(NamedTuple):
    """A running system, whose admin `bus` is, its address and its keys."""

    bus: Bus
    url: str
    keys: str

    async def tell(self, *arguments: str) -> tuple[int, Any]:
        """The exit code of a command, and its JSON document."""
        return await told(self.url, *arguments, keys=self.keys)

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code of a command, and what it says."""
        return await driftloop(self.url, *arguments, keys=self.keys)

    async def apply(self, spec: Spec) -> None:
        """Register a spec, as an operator does."""
        async with operator(self) as bus:
            await register(bus, [spec], by="test")

    def client(self) -> Client:
        """A producer."""
        return Client(self.url, key=f"{self.keys}/{CLIENT}.nk")


@asynccontextmanager
async def operator(world: World) -> AsyncIterator[Bus]:
    """A bus with the operator's rights."""
    bus = await Bus.open(world.url, "cli", keys=world.keys, user=OPERATOR)
    try:
        yield bus
    finally:
        await bus.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Six services and a broker for all tests here; each has models of its own."""
    folder = tmp_path_factory.mktemp("system")
    async with (
        secured(folder) as broker,
        broker.user(ADMIN) as bus,
        system(broker.server.url, folder, keys=broker.keys),
    ):
        yield World(bus, broker.server.url, broker.keys)


async def _received(bus: Bus, model: str, name: str, payload: bytes) -> int:
    """Put a payload where received rows are, whatever it is; its place."""
    made = batch_message(
        subjects.rows(model, "received"),
        pa.RecordBatch.from_pydict({"event_id": ["x"]}),
        kind="rows.received",
        source="test",
        msg_id=f"rows.received:{model}:{name}",
    )
    [ack] = await bus.publish([msgspec.structs.replace(made, payload=payload)])
    return ack.seq


def _arrow(first: int, last: int) -> bytes:
    from driftloop.contracts.batches import encode

    return encode(from_dicts(rows(first, last)))


async def _letters(bus: Bus, model: str) -> list[int]:
    return [letter.seq async for letter in dead_letters(bus, model=model)]


async def _are_dead(bus: Bus, model: str, count: int) -> list[int]:
    async def true() -> bool:
        return len(await _letters(bus, model)) == count

    await eventually(true, f"{count} dead letters about {model}")
    return await _letters(bus, model)


async def test_a_letter_is_given_back_to_who_could_not_use_it_and_to_nobody_else(
    world: World,
) -> None:
    bus = world.bus
    await _received(bus, "fog", "1", _arrow(0, 50))
    [number] = await _are_dead(bus, "fog", 1)
    code, found = await world.tell("dead", "list", "--model", "fog")
    assert (code, found[0]["service"], found[0]["seq"]) == (0, "validation-rows", number)
    assert "'fog' is not registered" in found[0]["reason"]
    code, out, _ = await world.run("dead", "show", str(number))
    assert code == 0
    assert "50 rows of 6 columns" in out
    assert "dl-origin: rows.fog.received.0 ROWS:" in out

    code, found = await world.tell("dead", "replay", str(number))
    assert (code, found["done"]) == (1, 0)
    assert "not registered" in found["letters"][0]["error"]
    assert await _letters(bus, "fog") == [number]

    await world.apply(rain_spec(name="fog"))
    report = await audited(bus, "fog")
    assert broken(report) == {}, report
    assert parts(report, "received") == {"dead": 50}
    code, out, err = await world.run("dead", "replay", str(number), "--reason", "registered")
    assert (code, f"letter {number} of validation-rows" in out) == (0, True), err
    assert await _letters(bus, "fog") == []
    report = await audited(bus, "fog")
    assert broken(report) == {}, report
    assert parts(report, "received") == {"valid": 50}
    assert parts(report, "valid") == {"scored": 50}
    [event] = [m.event() for m in await held(bus, "EVENTS", "events.fog.letter.replayed")]
    assert isinstance(event, LetterReplayed)
    assert (event.letter, event.reason) == (number, "registered")


async def test_dropped_letters_stay_in_the_sums_and_in_the_audit_trail(world: World) -> None:
    bus = world.bus
    at = [await _received(bus, "mist", str(n), _arrow(10 * n, 10 * n + 10)) for n in range(3)]
    numbers = await _are_dead(bus, "mist", 3)
    await world.apply(rain_spec(name="mist"))
    code, _, err = await world.run("dead", "drop", "--model", "mist")
    assert (code, "Drop 3 dead letters for good?" in err) == (1, True)
    assert await _letters(bus, "mist") == numbers
    code, found = await world.tell("dead", "drop", str(numbers[0]), "--yes", "--reason", "a test")
    assert (code, found["done"]) == (0, 1)
    code, found = await world.tell("dead", "replay", "--model", "mist")
    assert (code, found["done"]) == (0, 2)
    report = await audited(bus, "mist")
    assert broken(report) == {}, report
    assert parts(report, "received") == {"valid": 20, "dead": 10}
    [event] = [m.event() for m in await held(bus, "EVENTS", "events.mist.letter.dropped")]
    assert isinstance(event, LetterDropped)
    assert (event.position, event.reason) == (f"ROWS:{at[0]}", "a test")
    code, _, err = await world.run("dead", "drop", str(numbers[0]), "--yes")
    assert (code, "is no dead letter" in err) == (2, True)
    code, _, err = await world.run("dead", "replay")
    assert (code, "say which letters" in err) == (2, True)


@pytest.mark.fault(24, "a poisoned row in a batch of 500, a message that is no Arrow")
async def test_poison_among_others_is_set_apart_and_labels_given_up_are_no_letters(
    world: World,
) -> None:
    bus = world.bus
    await world.apply(rain_spec(name="hail"))
    poison = rows(0, 500)
    poison[250]["wind"] = {"not": "a number"}
    async with world.client() as client:
        await client.send_rows("hail", poison)
        await client.send_labels("hail", labels(245, 255))
    await _received(bus, "hail", "no arrow", b"{poison")
    await _received(bus, "hail", "good", _arrow(500, 510))
    [number] = await _are_dead(bus, "hail", 1)
    report = await audited(bus, "hail")
    assert broken(report) == {}, report
    assert parts(report, "received") == {"valid": 509, "quarantined": 1}
    assert parts(report, "labels") == {"joined": 9, "unmatched": 1}
    assert report.unreadable == 1
    [refused] = await rows_held(bus, "ROWS", subjects.rows("hail", "quarantined"))
    assert (refused["event_id"], refused["reason"].split(":")[0]) == ("e250", "wind")
    code, found = await world.tell("dead", "show", str(number))
    assert (code, found["content"]) == (0, "b'{poison'")
    given_up = await bus.log.last("DEAD", subjects.dead("feedback", "hail"))
    assert given_up is not None
    code, _, err = await world.run("dead", "show", str(given_up.seq))
    assert (code, "is no dead letter" in err) == (2, True)
    await world.tell("dead", "drop", str(number), "--yes")


async def test_a_letter_of_telemetry_comes_into_its_table(world: World) -> None:
    bus = world.bus
    await world.apply(rain_spec(name="snow"))
    async with world.client() as client:
        await client.send_rows("snow", rows(0, 20))
    await audited(bus, "snow")
    [message] = await held(bus, "SCORED", subjects.scored("snow"))
    spoilt = {k: v for k, v in message.headers.items() if not k.startswith("Nats-")}
    spoilt |= {
        headers.MSG_ID: "dead:test",
        headers.REASON: "a reason",
        headers.ORIGIN: f"{message.subject} {message.position}",
    }
    subject = subjects.dead("telemetry-scored", "snow")
    await bus.publish([Outgoing(subject=subject, payload=message.payload, headers=spoilt)])
    scored = await held(bus, "SCORED", subjects.scored("snow"))
    code, found = await world.tell("dead", "replay", "--service", "telemetry-scored")
    assert (code, found["done"]) == (0, 1)
    assert await held(bus, "SCORED", subjects.scored("snow")) == scored
    assert broken(await audited(bus, "snow")) == {}


async def test_quarantined_rows_and_their_labels_come_back_after_the_spec_is_mended(
    world: World,
) -> None:
    bus = world.bus
    await world.apply(rain_spec(name="gale"))
    async with world.client() as client:
        await client.send_rows("gale", rows(0, 30))
        await client.send_rows("gale", rows(30, 60, wind=300))
        await client.send_rows("gale", rows(60, 65, wind=-5))
        await client.send_rows("gale", rows(30, 32, wind=310))
        await client.send_labels("gale", labels(0, 65))
    report = await audited(bus, "gale")
    assert broken(report) == {}, report
    assert parts(report, "received") == {"valid": 30, "quarantined": 35, "duplicate": 2}
    assert parts(report, "labels") == {"joined": 30, "unmatched": 35}

    spec = rain_spec(name="gale")
    features = (msgspec.structs.replace(spec.features[0], max=400), *spec.features[1:])
    await world.apply(msgspec.structs.replace(spec, features=features))
    code, found = await world.tell("quarantine", "replay", "gale", "--reason", "wind: 3")
    assert (code, found["rows"], found["valid"], found["quarantined"]) == (0, 30, 30, 0), found
    assert (found["labels"], found["joined"]) == (30, 30)
    report = await audited(bus, "gale")
    assert broken(report) == {}, report
    assert parts(report, "received") == {"valid": 60, "quarantined": 5, "duplicate": 32}
    assert parts(report, "labels") == {"joined": 60, "unmatched": 5, "duplicate": 30}
    outcomes = subjects.outcomes("gale")
    winds = {
        row["event_id"]: row["features"][0] for row in await rows_held(bus, "OUTCOMES", outcomes)
    }
    assert (winds["e30"], winds["e32"]) == (310, 300)  # of two copies the newest

    code, out, _ = await world.run("quarantine", "replay", "gale")
    assert code == 1
    assert "5 rows of gale sent again: 0 are valid now, 5 are not." in out
    code, found = await world.tell("quarantine", "replay", "gale", "--since", "1s")
    assert found["labels"] == 0
    code, found = await world.tell("audit", "--model", "gale", "--settle", "20")
    assert (code, found["closes"], found["in_flight"]) == (0, True, [])
