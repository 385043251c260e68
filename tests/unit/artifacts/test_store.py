import os

import pytest

from driftloop.artifacts.store import ArtifactCorrupt, ArtifactMissing, Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.names import digest


async def test_bytes_come_back_by_their_digest(bus: Bus) -> None:
    store = Artifacts(bus)
    for data in (b"", b"x", os.urandom(1 << 20)):
        name = await store.put(data)
        assert name == digest(data)
        assert await store.get(name) == data
        assert await store.put(data) == name


async def test_reading_what_is_small_leaves_no_consumer_behind(bus: Bus) -> None:
    store = Artifacts(bus)
    names = [await store.put(os.urandom(size)) for size in (1, 100_000, 300_000)]
    before = (await bus.connection.js.account_info()).consumers
    for name in names:
        assert digest(await store.get(name)) == name
    assert (await bus.connection.js.account_info()).consumers == before


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", "x*", "..", "", "A" * 64, "0" * 65])
async def test_what_is_not_kept_is_missing(bus: Bus, name: str) -> None:
    with pytest.raises(ArtifactMissing, match=r"accepted: 64 hex|is not in the store"):
        await Artifacts(bus).get(name)


@pytest.mark.fault(35, "other bytes under a digest")
async def test_other_bytes_under_a_digest_are_found(bus: Bus) -> None:
    name = digest(b"what was signed")
    objects = await bus.connection.js.object_store("ARTIFACTS")
    await objects.put(name, b"what somebody put there")
    with pytest.raises(ArtifactCorrupt, match=f"artifact {name}: the bytes kept have digest"):
        await Artifacts(bus).get(name)


@pytest.mark.fault(35, "a changed chunk in the store")
async def test_a_changed_chunk_is_found(bus: Bus) -> None:
    store = Artifacts(bus)
    name = await store.put(os.urandom(300_000))
    js = bus.connection.js
    first = await js.get_msg("OBJ_ARTIFACTS", seq=1)
    await js.delete_msg("OBJ_ARTIFACTS", 1)
    assert first.subject
    with pytest.raises(ArtifactCorrupt):
        await store.get(name)
