"""Fifty models in one deployment: their rows, their memory, and what they cost."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.state import ModelState, Run
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.versions import Versions
from driftloop.local.bench.many.asking import ask
from driftloop.local.bench.many.fill import fill
from driftloop.local.bench.many.flow import flow
from driftloop.local.bench.many.models import Known, known
from driftloop.local.bench.many.services import fleet
from driftloop.modelspec.spec import Registered, Triggers
from driftloop.registry.clocks import Clocks
from driftloop.runtime import metrics
from driftloop.runtime.settings import PREFIX
from tests.support.tiny_models import classifier, manifest
from tests.support.tiny_models import state as state_of

COUNT = 50
FEW_MB = 1
"""Room for seven sessions."""
FIT = 8
"""With the one that was used last."""
LATER = 1e11
"""Seconds since 1970, in the year 5138."""
SERVICES = ("ingest", "validation", "inference")


async def decide(bus: Bus, made: ModelState) -> None:
    revision = (await bus.models.read(made.model)).revision
    await bus.models.write(made.model, made, revision)


@pytest.fixture
async def models(bus: Bus) -> list[Known]:
    made = known(20)
    await fill(bus, made)
    return made


@pytest.fixture
async def versions(bus: Bus, models: list[Known]) -> AsyncIterator[Versions]:
    made = Versions(bus, Artifacts(bus), InferenceSettings(sessions_mb=FEW_MB))
    await made.refresh_all()
    yield made
    await made.close()


async def answer(versions: Versions, model: Known) -> int:
    """Ask for rows of a model, check the answers; the version that gave them."""
    live = await versions.of(model.name)
    assert live.champion is not None, live.problem
    rows = model.rows(3, 1)
    found = live.champion.session.run(rows)
    np.testing.assert_allclose(found[:, 1], model.expected(rows), atol=1e-5)
    return live.champion.manifest.version


def loaded(versions: Versions, models: list[Known]) -> list[str]:
    return [model.name for model in models if versions.live(model.name)]


async def test_every_row_is_scored_by_its_own_model_while_few_of_them_fit_in_memory(
    tmp_path: Path,
) -> None:
    models = known(COUNT)
    async with fleet(models, tmp_path) as its:
        await asyncio.gather(
            *(its.start(n, {f"{PREFIX}INFERENCE_SESSIONS_MB": f"{FEW_MB}"}) for n in SERVICES)
        )
        through = await flow(its.bus, models, rows=30, size=15, run="test")
        assert (through.lost, through.wrong, through.unanswered) == (0, 0, 0), through.problem
        assert through.scored == 30 * COUNT
        address = its.addresses["inference"]
        asked = await asyncio.to_thread(ask, address, [*models, *reversed(models)])
        assert (asked.failed, asked.wrong, asked.problem) == (0, 0, "")
        async with httpx.AsyncClient(base_url=address) as http:
            told = (await http.get("/metrics")).text
        values = dict(line.rsplit(" ", 1) for line in told.splitlines() if line[0] != "#")
        assert 0 < float(values["driftloop_sessions"]) <= FIT
        assert float(values["driftloop_sessions_evicted_total"]) > 0
        info = await its.bus.connection.js.account_info()
        assert info.consumers < COUNT, "consumers grow with the models"


async def test_a_model_that_was_let_go_is_loaded_again_for_whoever_asks(
    versions: Versions, models: list[Known]
) -> None:
    assert versions.names() == sorted(model.name for model in models)
    assert 0 < len(loaded(versions, models)) <= FIT
    for model in [*models, *models]:
        assert await answer(versions, model) == 1
        assert metrics.values()["driftloop_sessions"] <= FIT
    assert len(loaded(versions, models)) <= FIT


async def test_what_was_used_for_longest_ago_is_let_go_first_and_that_is_told(
    versions: Versions, models: list[Known]
) -> None:
    often, *others = models
    gone: list[str] = []
    versions.changed.append(lambda model: gone.append(model) if not versions.live(model) else None)
    for model in others:
        await answer(versions, often)
        await answer(versions, model)
    assert versions.live(often.name) is not None
    assert set(gone) >= {model.name for model in others[:-FIT]}
    assert often.name not in gone


async def test_a_promotion_of_a_model_that_was_let_go_is_seen_by_the_next_request(
    bus: Bus, versions: Versions, models: list[Known]
) -> None:
    first = models[0]
    for model in models:
        await answer(versions, model)
    assert versions.live(first.name) is None
    present = (await bus.models.get(first.name) or ModelState(model="")).versions[1].manifest
    new = manifest(2, first.onnx(), model=first.name, features=first.features)
    await decide(bus, state_of(2, present, new))
    await versions.refresh_all()
    assert await answer(versions, first) == 2


async def test_a_model_with_a_shadow_stays_whatever_the_budget(
    bus: Bus, versions: Versions, models: list[Known]
) -> None:
    first, shadow = models[0], classifier(features=len(models[0].features))
    await Artifacts(bus).put(shadow.onnx)
    present = (await bus.models.get(first.name) or ModelState(model="")).versions[1].manifest
    new = manifest(2, shadow.onnx, model=first.name, features=first.features)
    await decide(bus, state_of(1, present, new, shadows=(2,)))
    await versions.refresh(first.name)
    for model in models[1:]:
        await answer(versions, model)
    live = versions.live(first.name)
    assert live is not None
    assert [shadow.manifest.version for shadow in live.shadows] == [2]


async def test_deadlines_and_schedules_are_found_in_what_changed(
    bus: Bus, models: list[Known]
) -> None:
    clocks, now = Clocks(bus), time.time()
    await clocks.read()
    assert (clocks.late(LATER), clocks.scheduled(LATER)) == ([], [])
    late, planned = models[0], models[1]
    run = Run(
        id="run-1", trigger="operator", trigger_id="t", reason="", version=2, stage="training",
        deadline=now + 60, started=now, cause="t",
    )  # fmt: skip
    await decide(bus, ModelState(model=late.name, champion=1, run=run))
    await decide(bus, ModelState(model=planned.name, champion=1, last_run_wall_time=now))
    on = Triggers(on=("schedule",), every="1h")
    spec = planned.spec()
    made = type(spec)(
        name=spec.name, task=spec.task, target=spec.target, features=spec.features, triggers=on
    )
    stands = (await bus.specs.read(planned.name)).revision
    await bus.specs.write(planned.name, Registered(spec=made, revision=2, by="t", at=now), stands)
    await clocks.read()
    assert clocks.late(now + 59) == []
    assert clocks.late(now + 60) == [(late.name, run.cause)]
    assert clocks.scheduled(now + 3_599) == []
    assert clocks.scheduled(now + 3_600) == [planned.name]
    await decide(bus, ModelState(model=late.name, champion=1))
    await decide(bus, ModelState(model=planned.name, champion=1, run=run))
    await clocks.read()
    assert clocks.late(now + 60) == [(planned.name, run.cause)]
    assert clocks.scheduled(LATER) == []
