"""Buckets: what is kept for reading, and readers of changes."""

import asyncio
import time

import pytest

from driftloop.bus import kv
from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts.errors import Retry
from driftloop.contracts.state import ModelState
from driftloop.local.nats import NatsServer


def state(model: str, champion: int = 1) -> ModelState:
    return ModelState(model=model, champion=champion)


async def write(bus: Bus, model: str, champion: int = 1) -> None:
    revision = (await bus.models.read(model)).revision
    await bus.models.write(model, state(model, champion), revision)


async def remove(bus: Bus, model: str) -> None:
    await bus.models.remove(model, (await bus.models.read(model)).revision)


async def consumers(bus: Bus) -> int:
    return int((await bus.connection.js.account_info()).consumers)


async def test_changes_are_all_values_first_and_then_what_changed(bus: Bus) -> None:
    changes = bus.models.changes()
    assert await changes.next() == {}
    await write(bus, "a")
    await write(bus, "b")
    assert await changes.next() == {"a": state("a"), "b": state("b")}
    assert await changes.next() == {}
    await write(bus, "b", 2)
    await write(bus, "b", 3)
    await write(bus, "c")
    await remove(bus, "a")
    assert await changes.next() == {"a": None, "b": state("b", 3), "c": state("c")}
    late = await bus.models.changes().next()
    assert late == {"b": state("b", 3), "c": state("c")}


async def test_a_bucket_is_never_taken_for_empty(bus: Bus) -> None:
    """However many read it at once while its values are delivered."""
    for at in range(20):
        await write(bus, f"m{at}")
    names = {f"m{at}" for at in range(20)}
    for _ in range(5):
        readers = [bus.models.changes().next() for _ in range(10)]
        assert [set(found) for found in await asyncio.gather(*readers)] == [names] * 10


async def test_many_changes_at_once_are_read_as_a_whole_and_none_is_told_twice(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "STEPS", 3)
    for model in "abcd":
        await write(bus, model)
    changes = bus.models.changes()
    assert set(await changes.next()) == set("abcd")
    await remove(bus, "a")
    for champion in (2, 3, 4):
        await write(bus, "b", champion)
        await write(bus, "e", champion)
    assert await changes.next() == {"a": None, "b": state("b", 4), "e": state("e", 4)}
    assert await changes.next() == {}


async def test_a_reader_of_changes_goes_on_after_the_server_was_away(
    nats_server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(bus, "a")
    changes = bus.models.changes()
    await changes.next()
    await write(bus, "a", 2)
    monkeypatch.setattr(bus.connection.js, "_timeout", 0.3)
    nats_server.kill()
    with pytest.raises(Retry, match="MODELS"):
        await changes.next()
    nats_server.start()
    deadline = time.monotonic() + 20
    while True:
        try:
            assert await changes.next() == {"a": state("a", 2)}
            break
        except Retry:
            assert time.monotonic() < deadline, "the server is not found again"
            await asyncio.sleep(0.05)


async def test_what_changed_without_a_word_is_seen_when_the_log_is_looked_at(
    nats_server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await Bus.open(nats_server.url, "other", layout=Layout())
    await write(bus, "a")
    await write(bus, "b")
    before = await other.models.get("b")
    assert (await other.models.get("a"), before) == (state("a"), state("b"))
    await write(bus, "a", 2)
    assert await other.models.get("a") == state("a"), "not looked at again so soon"
    monkeypatch.setattr(kv, "FRESH_SECONDS", 0.0)
    assert await other.models.get("a") == state("a", 2)
    assert await other.models.get("b") is before, "what did not change is not read again"
    await other.close()


async def test_keys_are_those_of_now_and_need_no_consumer_after_the_first_time(bus: Bus) -> None:
    await write(bus, "b")
    assert await bus.models.keys() == ["b"]
    there = await consumers(bus)
    await write(bus, "a")
    assert await bus.models.keys() == ["a", "b"]
    await remove(bus, "b")
    assert await bus.models.keys() == ["a"]
    assert await bus.models.known() == ["a"]
    assert await consumers(bus) <= there


async def test_what_is_kept_for_reading_is_bounded(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("a", "b", "c"):
        await write(bus, model)
    first = await bus.models.get("a")
    assert await bus.models.get("a") is first
    monkeypatch.setattr(kv, "KEPT_BYTES", 1)
    assert await bus.models.get("b") == state("b")
    again = await bus.models.get("a")
    assert again == first
    assert again is not first, "it was dropped for b, and read again"


async def test_a_value_that_was_on_its_way_during_a_look_is_not_kept(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(bus, "a")
    await bus.models.get("a")
    bus.models.forget("a")
    js = bus.connection.js
    get, hold, asked = js.get_last_msg, asyncio.Event(), asyncio.Event()

    async def slow(stream: str, subject: str) -> object:
        found = await get(stream, subject)
        asked.set()
        await hold.wait()
        return found

    monkeypatch.setattr(js, "get_last_msg", slow)
    reading = asyncio.create_task(bus.models.get("a"))
    await asked.wait()
    monkeypatch.setattr(js, "get_last_msg", get)
    await write(bus, "a", 2)
    assert await bus.models.keys() == ["a"]  # looks at the log
    hold.set()
    assert await reading == state("a")
    assert await bus.models.get("a") == state("a", 2)
