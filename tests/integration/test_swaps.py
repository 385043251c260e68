import asyncio
import gc
import time
from collections.abc import AsyncIterator
from functools import cache

import numpy as np
import psutil
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import InvalidName, NotLoaded, Retry, UnknownModel
from driftloop.contracts.state import ModelState
from driftloop.inference.session import Session
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.versions import Champion, Versions
from driftloop.modelspec.spec import Registered
from driftloop.runtime import metrics
from tests.support.tiny_models import classifier, manifest, rows, spec, state

MODELS = {version: classifier(seed=version) for version in (1, 2, 3)}
MANIFESTS = tuple(manifest(version, model.onnx) for version, model in MODELS.items())


@cache
def forest(seed: int) -> bytes:
    """About 0.6 MB: a few of them are over a budget of ten megabytes."""
    matrix = rows(2_000, seed)
    label = (matrix[:, 0] * matrix[:, 1] > 0.3 * matrix[:, 2]).astype(int)
    fitted = RandomForestClassifier(30, max_depth=12, random_state=seed).fit(matrix, label)
    options = {id(fitted): {"zipmap": False}}
    made = to_onnx(fitted, matrix[:1], target_opset=18, options=options)
    return bytes(made.SerializeToString())


async def decide(bus: Bus, made: ModelState) -> None:
    revision = (await bus.models.read(made.model)).revision
    await bus.models.write(made.model, made, revision)


def version_of(champion: Champion | None) -> int:
    return champion.manifest.version if champion else 0


@pytest.fixture
async def store(bus: Bus) -> Artifacts:
    """A registered model with three versions, the first of which is champion."""
    await bus.specs.write("flights", Registered(spec=spec(), revision=1, by="t", at=0.0), 0)
    made = Artifacts(bus)
    for model in MODELS.values():
        await made.put(model.onnx)
    await decide(bus, state(1, *MANIFESTS))
    return made


@pytest.fixture
async def versions(bus: Bus, store: Artifacts) -> AsyncIterator[Versions]:
    made = Versions(bus, store, InferenceSettings())
    yield made
    await made.close()


async def test_what_answers_is_known_without_waiting_once_it_was_looked_at(
    versions: Versions,
) -> None:
    assert versions.live("flights") is None
    assert versions.names() == []
    await versions.refresh_all()
    live = versions.live("flights")
    assert live is not None
    assert version_of(live.champion) == 1
    assert versions.names() == ["flights"]
    assert await versions.of("flights") is live


async def test_a_look_that_changes_nothing_tells_nobody_and_keeps_the_very_same(
    versions: Versions,
) -> None:
    before = await versions.refresh("flights")
    told: list[str] = []
    versions.changed.append(told.append)
    after = await versions.refresh("flights")
    assert after.champion is before.champion
    assert told == []


async def test_a_swap_is_told_to_all_who_listen_even_if_one_of_them_fails(
    bus: Bus, versions: Versions
) -> None:
    await versions.refresh("flights")
    told: list[tuple[str, int]] = []

    def broken(_: str) -> None:
        raise RuntimeError("a bug")

    def hear(model: str) -> None:
        live = versions.live(model)
        told.append((model, version_of(live.champion if live else None)))

    versions.changed += [broken, hear]
    await decide(bus, state(2, *MANIFESTS))
    await versions.refresh("flights")
    assert told == [("flights", 2)]


async def test_any_version_the_state_knows_answers_when_it_is_asked_for(
    versions: Versions,
) -> None:
    matrix = rows(5, 3)
    for version, model in MODELS.items():
        pinned = await versions.pinned("flights", version)
        assert version_of(pinned) == version
        np.testing.assert_allclose(pinned.session.run(matrix), model.answers(matrix), atol=1e-5)
    live = versions.live("flights")
    assert live is not None
    assert version_of(live.champion) == 1, "asking for a version changed the champion"
    assert await versions.pinned("flights", 1) is live.champion


async def test_a_version_that_is_loaded_is_there_without_waiting(versions: Versions) -> None:
    assert versions.loaded("flights", 2) is None
    pinned = await versions.pinned("flights", 2)
    assert versions.loaded("flights", 2) == pinned
    assert versions.loaded("flights", 3) is None
    await versions.unload("flights")
    assert versions.loaded("flights", 2) is None


async def test_a_version_nobody_knows_is_refused_with_those_there_are(
    versions: Versions,
) -> None:
    for _ in range(2):
        with pytest.raises(
            UnknownModel, match="version: 9 of flights is not known; accepted: 1, 2, 3"
        ):
            await versions.pinned("flights", 9)
    with pytest.raises(UnknownModel, match="'nobody' is not registered"):
        await versions.pinned("nobody", 1)
    with pytest.raises(InvalidName):
        await versions.pinned("no.name", 1)


async def test_a_version_registered_just_now_is_found(bus: Bus, versions: Versions) -> None:
    await versions.refresh("flights")
    late = classifier(seed=4)
    await Artifacts(bus).put(late.onnx)
    await decide(bus, state(1, *MANIFESTS, manifest(4, late.onnx)))
    assert version_of(await versions.pinned("flights", 4)) == 4


async def test_a_version_whose_artifact_is_gone_or_refused_says_so(
    bus: Bus, versions: Versions
) -> None:
    broken = b"not a model at all"
    await Artifacts(bus).put(broken)
    await decide(bus, state(1, *MANIFESTS, manifest(4, b"never kept"), manifest(5, broken)))
    with pytest.raises(UnknownModel, match="version: 4 of flights is not kept"):
        await versions.pinned("flights", 4)
    with pytest.raises(Retry, match=r"version: 5 of flights could not be loaded: .* not ONNX"):
        await versions.pinned("flights", 5)


async def test_many_who_ask_for_one_version_share_one_load(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Counted(Session):
        def __init__(self, data: bytes, *rest: object) -> None:
            made.append(len(data))
            super().__init__(data, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr("driftloop.inference.session_cache.Session", Counted)
    await versions.refresh("flights")
    hurried = asyncio.create_task(versions.pinned("flights", 2))
    others = [asyncio.create_task(versions.pinned("flights", 2)) for _ in range(20)]
    await asyncio.sleep(0)
    hurried.cancel()
    got = await asyncio.gather(*others)
    assert len({id(champion.session) for champion in got}) == 1
    assert len(made) == 2, "the champion and version 2 once each"


async def test_an_unloaded_model_is_refused_to_requests_and_answers_the_stream(
    versions: Versions,
) -> None:
    told: list[str] = []
    await versions.of("flights")
    versions.changed.append(told.append)
    await versions.unload("flights")
    for _ in range(2):
        with pytest.raises(NotLoaded, match="flights is unloaded"):
            versions.check_loaded("flights")
    with pytest.raises(NotLoaded):
        await versions.pinned("flights", 2)
    assert version_of((await versions.of("flights")).champion) == 1
    live = await versions.load("flights")
    versions.check_loaded("flights")
    assert version_of(live.champion) == 1
    assert told == ["flights", "flights"]


async def test_only_registered_models_are_loaded_and_unloaded(versions: Versions) -> None:
    for does in (versions.load, versions.unload):
        with pytest.raises(UnknownModel, match="'nobody' is not registered"):
            await does("nobody")
    assert versions.names() == []


async def test_a_load_of_a_champion_that_is_refused_says_why(bus: Bus, versions: Versions) -> None:
    await decide(bus, state(4, *MANIFESTS, manifest(4, b"never kept")))
    with pytest.raises(Retry, match="champion 4 could not be loaded"):
        await versions.load("flights")


async def test_a_session_that_was_swapped_out_answers_the_requests_it_has(
    bus: Bus, versions: Versions
) -> None:
    before = (await versions.of("flights")).champion
    assert before is not None
    await decide(bus, state(2, *MANIFESTS))
    await versions.refresh("flights")
    matrix = rows(5, 3)
    np.testing.assert_allclose(before.session.run(matrix), MODELS[1].answers(matrix), atol=1e-5)


async def test_a_new_champion_does_not_wait_for_the_bytes_of_a_shadow(
    bus: Bus, store: Artifacts, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await versions.refresh("flights")
    hold = asyncio.Event()
    get = store.get

    async def slow(sha256: str) -> bytes:
        if sha256 == MANIFESTS[2].model_sha256:
            await hold.wait()
        return await get(sha256)

    monkeypatch.setattr(store, "get", slow)
    await decide(bus, state(2, *MANIFESTS, shadows=(3,)))
    looking = asyncio.create_task(versions.refresh("flights"))
    deadline = time.monotonic() + 10
    while version_of(live.champion if (live := versions.live("flights")) else None) != 2:
        assert time.monotonic() < deadline, "the swap waits for the shadow"
        await asyncio.sleep(0.005)
    hold.set()
    assert [shadow.manifest.version for shadow in (await looking).shadows] == [3]


async def test_a_shadow_is_loaded_in_its_own_process_only(bus: Bus, versions: Versions) -> None:
    await decide(bus, state(1, *MANIFESTS, shadows=(2, 3)))
    live = await versions.refresh("flights")
    assert [shadow.manifest.version for shadow in live.shadows] == [2, 3]
    assert metrics.values()["driftloop_sessions"] == 1
    again = await versions.refresh("flights")
    assert again.shadows == live.shadows
    for shadow in live.shadows:
        answers = shadow.begin(rows(2, 1))
        assert answers is not None
        model = MODELS[shadow.manifest.version]
        np.testing.assert_allclose(await answers, model.answers(rows(2, 1)), atol=1e-5)
    await decide(bus, state(1, *MANIFESTS))
    assert (await versions.refresh("flights")).shadows == ()
    for shadow in live.shadows:
        await shadow.ended()
        assert shadow.pid == 0


async def test_versions_unused_for_longest_go_first_and_the_champion_never(
    bus: Bus, store: Artifacts
) -> None:
    data = {version: forest(version) for version in (1, 2, 3, 4)}
    for each in data.values():
        await store.put(each)
    sizes = {v: Session(each, 3, 2).size for v, each in data.items()}
    await decide(bus, state(1, *(manifest(v, each) for v, each in data.items())))
    megabytes = (sum(sizes.values()) - min(sizes.values()) // 2 >> 20) + 1
    assert sum(sizes.values()) > megabytes << 20, "all four fit"
    assert sum(sizes.values()) - min(sizes.values()) <= megabytes << 20, "three do not fit"
    versions = Versions(bus, store, InferenceSettings(sessions_mb=megabytes))
    evicted = metrics.values()["driftloop_sessions_evicted_total"]
    for version in (2, 3, 2, 4):
        await versions.pinned("flights", version)
    values = metrics.values()
    assert values["driftloop_sessions_evicted_total"] - evicted == 1
    assert values["driftloop_session_bytes"] == sizes[1] + sizes[2] + sizes[4]
    assert values["driftloop_sessions"] == 3


async def test_a_budget_smaller_than_what_answers_keeps_what_answers(
    bus: Bus, store: Artifacts
) -> None:
    data = [forest(version) for version in (1, 2, 3)]
    for each in data:
        await store.put(each)
    manifests = [manifest(at + 1, each) for at, each in enumerate(data)]
    versions = Versions(bus, store, InferenceSettings(sessions_mb=1))
    for champion in (1, 2, 3):
        await decide(bus, state(champion, *manifests))
        assert version_of((await versions.refresh("flights")).champion) == champion
        assert metrics.values()["driftloop_sessions"] == 1


@pytest.mark.parametrize(
    "megabytes",
    [
        pytest.param(512, id="both stay loaded"),
        pytest.param(1, id="each is loaded anew", marks=pytest.mark.slow),
    ],
)
@pytest.mark.fault(46, "200 changes of champion; memory")
async def test_memory_does_not_grow_with_the_number_of_swaps(
    bus: Bus, store: Artifacts, megabytes: int
) -> None:
    data = [forest(version) for version in (1, 2)]
    for each in data:
        await store.put(each)
    manifests = [manifest(at + 1, each) for at, each in enumerate(data)]
    versions = Versions(bus, store, InferenceSettings(sessions_mb=megabytes))
    evicted = metrics.values()["driftloop_sessions_evicted_total"]
    process, resident = psutil.Process(), 0
    for swap in range(200):
        await decide(bus, state(swap % 2 + 1, *manifests))
        live = await versions.refresh("flights")
        assert live.champion is not None
        live.champion.session.run(rows(256, 1))
        if swap == 49:
            gc.collect()
            resident = process.memory_info().rss
    gc.collect()
    assert process.memory_info().rss < 1.05 * resident
    loads = metrics.values()["driftloop_sessions_evicted_total"] - evicted
    assert loads == (199 if megabytes == 1 else 0)
