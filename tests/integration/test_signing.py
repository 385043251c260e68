"""What nobody signed is not loaded and not promoted: real broker with keys, real sessions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from driftloop.artifacts import signing
from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import event_message
from driftloop.contracts import events as e
from driftloop.contracts import requests, subjects
from driftloop.contracts.errors import InvalidInput, Retry
from driftloop.contracts.headers import MSG_ID, Origin
from driftloop.contracts.manifest import canonical
from driftloop.contracts.names import digest
from driftloop.contracts.requests import Command
from driftloop.contracts.state import ModelState, Promotion, Shadow, Version
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.versions import Versions
from driftloop.registry.app import wire
from driftloop.registry.settings import RegistrySettings
from driftloop.trainer.handlers import Trainer
from driftloop.trainer.settings import TrainerSettings
from tests.integration.test_trainer import asked, feed
from tests.support import synthetic
from tests.support.flows import eventually, process, register
from tests.support.loop import spec as tide
from tests.support.secured import Secured, broker
from tests.support.tiny_models import classifier, manifest, rows, spec
from tests.unit.registry.keeper import MODEL, Keeper

__all__ = ["broker"]

NAME = "flights"
MODELS = {number: classifier(seed=number) for number in (1, 2, 3)}


class Stage:
    """Users of one broker: what they make, what the registry says of it, and who loads it."""

    def __init__(self, trainer: Bus, registry: Bus, inference: Bus) -> None:
        self.trainer = trainer
        self.registry = registry
        self.inference = inference
        self.number = 0

    def version(self, number: int, signer: Bus | None = None) -> Version:
        """A version as the trainer makes it; `signer` is another who does."""
        its = manifest(number, MODELS[number].onnx)
        return Version(
            manifest=its,
            manifest_sha256=digest(canonical(its)),
            run="r",
            stage="candidate",
            signature=signing.signed_manifest((signer or self.trainer).identity, its),
        )

    def state(self, champion: int, *, shadows: tuple[int, ...] = (), **changes: Any) -> ModelState:
        """A state with the next promotion, countersigned."""
        versions = changes.pop("versions", {at: self.version(at) for at in MODELS})
        self.number += 1
        its = versions[champion]
        promotion = Promotion(
            model=NAME,
            number=changes.pop("number", self.number),
            version=champion,
            previous=0,
            manifest_sha256=its.manifest_sha256,
            model_sha256=its.manifest.model_sha256,
        )
        assert self.registry.identity is not None
        made = ModelState(
            model=NAME,
            champion=champion,
            versions=versions,
            promotion=signing.countersigned(self.registry.identity, promotion),
            shadows=tuple(
                Shadow(
                    version=at,
                    champion=champion,
                    role="challenger",
                    run=f"r{at}",
                    from_seq=1,
                    started_id="s",
                )
                for at in shadows
            ),
        )
        return msgspec.structs.replace(made, **changes)

    async def write(self, state: ModelState) -> None:
        """State first, then the event, as the registry does."""
        revision = (await self.registry.models.read(NAME)).revision
        await self.registry.models.write(NAME, state, revision)
        its = state.promotion
        if its is not None:
            fields = {name: getattr(its, name) for name in its.__struct_fields__}
            run = f"run-{revision}"
            await self.registry.emit(e.ModelPromoted(run=run, reason="test", **fields))

    async def refusals(self) -> list[e.ModelRefused]:
        """What inference says that it refused."""
        subject = subjects.event(NAME, e.ModelRefused.kind)
        last = await self.registry.log.last("EVENTS", subject)
        if last is None:
            return []
        found = [
            message.event()
            async for message in self.registry.log.range("EVENTS", subject, 1, last.seq)
        ]
        return [event for event in found if isinstance(event, e.ModelRefused)]


@pytest.fixture
async def stage(broker: Secured) -> AsyncIterator[Stage]:
    """The artifacts are kept, version 1 is champion."""
    async with (
        broker.user("trainer") as trainer,
        broker.user("registry") as registry,
        broker.user("inference") as inference,
    ):
        made = Stage(trainer, registry, inference)
        for model in MODELS.values():
            await Artifacts(trainer).put(model.onnx)
        await register(registry, spec())
        await made.write(made.state(1))
        yield made


@pytest.fixture
async def versions(stage: Stage) -> AsyncIterator[Versions]:
    """What inference loads, with version 1 loaded."""
    made = Versions(stage.inference, Artifacts(stage.inference), InferenceSettings())
    await made.refresh_all()
    await answers(made, 1)
    yield made
    await made.close()


async def answers(versions: Versions, number: int) -> None:
    """The champion is this version, and answers as its estimator does."""
    champion = (await versions.refresh(NAME)).champion
    assert champion is not None, versions.note()
    assert champion.manifest.version == number
    some = rows(20, 7)
    np.testing.assert_allclose(champion.session.run(some), MODELS[number].answers(some), atol=1e-5)


async def refused(stage: Stage, versions: Versions, version: int, says: str) -> e.ModelRefused:
    """Version 1 goes on; a refusal of this version is told once, with a reason that `says`."""
    for _ in range(3):
        await answers(versions, 1)
    assert says in versions.note(), versions.note()
    assert "version 1 answers" in versions.note()
    assert versions.problem() == ""

    async def told() -> bool:
        return bool(await stage.refusals())

    await eventually(told, "the refusal is told")
    (event,) = await stage.refusals()
    assert (event.version, event.role) == (version, "champion")
    assert says in event.reason
    return event


async def test_what_is_signed_by_both_is_loaded(stage: Stage, versions: Versions) -> None:
    await stage.write(stage.state(2, shadows=(3,)))
    await answers(versions, 2)
    assert [s.manifest.version for s in (await versions.of(NAME)).shadows] == [3]
    assert (await versions.pinned(NAME, 1)).manifest.version == 1
    assert versions.note() == ""
    assert await stage.refusals() == []


@pytest.mark.fault(35, "one flipped byte of a promoted model")
async def test_one_flipped_byte_is_refused(
    stage: Stage, versions: Versions, broker: Secured
) -> None:
    data = bytearray(MODELS[2].onnx)
    data[len(data) // 2] ^= 1
    async with broker.user("admin") as admin:
        store = await admin.connection.js.object_store("ARTIFACTS")
        await store.put(stage.version(2).manifest.model_sha256, bytes(data))
    await stage.write(stage.state(2))
    await refused(stage, versions, 2, "the bytes kept have digest")


@pytest.mark.fault(36, "a promoted manifest signed by another key, or by nobody")
@pytest.mark.parametrize("signer", ["another", "nobody"])
async def test_a_manifest_that_the_trainer_did_not_sign_is_refused(
    stage: Stage, versions: Versions, signer: str
) -> None:
    its = stage.version(2, signer=stage.inference)
    if signer == "nobody":
        its = msgspec.structs.replace(its, signature=b"")
    await stage.write(stage.state(2, versions={1: stage.version(1), 2: its}))
    says = "is not signed" if signer == "nobody" else "not by a key of trainer"
    await refused(stage, versions, 2, says)


@pytest.mark.fault(36, "the signed manifest of another version")
async def test_the_manifest_of_another_version_is_refused(stage: Stage, versions: Versions) -> None:
    await stage.write(stage.state(2, versions={1: stage.version(1), 2: stage.version(3)}))
    await refused(stage, versions, 2, "version 2: has the manifest of version 3")


@pytest.mark.fault(42, "the state of an older promotion is written again")
async def test_an_old_promotion_is_refused_here_and_by_a_process_that_starts(
    stage: Stage, versions: Versions
) -> None:
    old = stage.state(2)
    await stage.write(old)
    await answers(versions, 2)
    await stage.write(stage.state(1))
    await answers(versions, 1)
    revision = (await stage.registry.models.read(NAME)).revision
    await stage.registry.models.write(NAME, old, revision)
    event = await refused(stage, versions, 2, "is an old one; accepted: 3 or later")
    assert event.reason.startswith("promotion 2 of flights (version 2)")
    fresh = Versions(stage.inference, Artifacts(stage.inference), InferenceSettings())
    await fresh.refresh_all()
    assert (await fresh.of(NAME)).champion is None
    assert "is an old one" in fresh.problem()
    await fresh.close()


@pytest.mark.fault(43, "a state names a champion that was never decided on")
@pytest.mark.parametrize("how", ["other champion", "no promotion", "no champion"])
async def test_a_state_without_a_promotion_that_fits_is_refused(
    stage: Stage, versions: Versions, how: str
) -> None:
    good = stage.state(1)
    changes: dict[str, Any] = {
        "other champion": {"champion": 2},
        "no promotion": {"champion": 2, "promotion": None},
        "no champion": {"champion": 0},
    }
    forged = msgspec.structs.replace(good, **changes[how])
    revision = (await stage.registry.models.read(NAME)).revision
    await stage.registry.models.write(NAME, forged, revision)
    version, says = {
        "other champion": (2, "the state has version 2"),
        "no promotion": (2, "there is no promotion of it"),
        "no champion": (0, "no champion, after promotion 1"),
    }[how]
    await refused(stage, versions, version, says)


async def test_a_shadow_and_a_version_by_number_need_the_trainers_signature(
    stage: Stage, versions: Versions
) -> None:
    unsigned = msgspec.structs.replace(stage.version(3), signature=b"")
    await stage.write(
        stage.state(
            1, shadows=(2, 3), versions={1: stage.version(1), 2: stage.version(2), 3: unsigned}
        )
    )
    await answers(versions, 1)
    assert [s.manifest.version for s in (await versions.of(NAME)).shadows] == [2]
    with pytest.raises(Retry, match=r"version: 3 of flights could not be loaded: .* not signed"):
        await versions.pinned(NAME, 3)

    async def told() -> bool:
        return {event.role for event in await stage.refusals()} == {"shadow", "version"}

    await eventually(told, "both refusals are told")


async def test_the_service_stays_ready_and_says_what_it_refused(
    stage: Stage, broker: Secured, tmp_path: Any
) -> None:
    keys = {"DRIFTLOOP_KEYS": broker.keys, "DRIFTLOOP_INFERENCE_REFRESH_SECONDS": "0.2"}
    with process("inference", broker.server.url, tmp_path, **keys) as service:
        its = stage.version(2, signer=stage.registry)
        await stage.write(stage.state(2, versions={1: stage.version(1), 2: its}))
        async with httpx.AsyncClient(base_url=service.base) as http:

            async def said() -> bool:
                answer = await http.get("/readyz")
                assert answer.status_code == 200, answer.text
                return "not by a key of trainer" in answer.json()["reason"]

            await eventually(said, "readiness says what was refused")
            row = {"a": 1.0, "b": 0.5, "c": 0.0}
            got = await http.post(f"/v1/models/{NAME}/predict", json={"rows": [row]})
            assert got.json()["version"] == 1
            counted = (await http.get("/metrics")).text
            assert 'driftloop_versions_refused_total{model="flights",role="champion"}' in counted


# the registry


@contextlib.asynccontextmanager
async def keeping(broker: Secured) -> AsyncIterator[Bus]:
    """The registry, wired in this process with its own key."""
    async with broker.user("registry") as bus:
        settings = RegistrySettings(nats_url=broker.server.url, keys=broker.keys)
        wired = await wire(settings, bus)
        tasks = [asyncio.create_task(task) for task in wired.tasks]
        await bus.start()
        try:
            yield bus
        finally:
            bus.stopping.set()
            await asyncio.gather(*tasks)


def candidate(keeper: Keeper, trainer: Bus) -> e.CandidateTrained:
    """What the trainer says of the run in progress, signed."""
    its = keeper.trained().manifest
    return e.CandidateTrained(
        model=MODEL,
        run=keeper.run.id,
        version=keeper.run.version,
        manifest=its,
        manifest_sha256=digest(canonical(its)),
        signature=signing.signed_manifest(trainer.identity, its),
    )


class Loop:
    """The registry, and those it hears."""

    def __init__(
        self, bus: Bus, trainer: Bus, validation: Bus, feedback: Bus, operator: Bus
    ) -> None:
        self.operator = operator
        self.bus = bus
        self.trainer = trainer
        self.validation = validation
        self.feedback = feedback
        self.keeper = Keeper()

    async def state(self) -> ModelState:
        found = (await self.bus.models.read(MODEL)).value
        self.keeper.state = found or ModelState(model=MODEL)
        return self.keeper.state

    async def hear(self, by: Bus, event: e.AnyEvent) -> ModelState:
        await by.emit(event)

        async def true() -> bool:
            return event.event_id() in (await self.state()).seen

        await eventually(true, event.event_id())
        return await self.state()

    async def promote(self, version: int) -> None:
        """What `driftloop promote` asks."""
        command = Command(command="promote", by="ann", version=version)
        await self.operator.ask(requests.command(MODEL), msgspec.msgpack.encode(command))

    async def audits(self) -> list[e.IntegrityRefused]:
        subject = subjects.event(MODEL, e.IntegrityRefused.kind)
        last = await self.bus.log.last("EVENTS", subject)
        if last is None:
            return []
        found = [m.event() async for m in self.bus.log.range("EVENTS", subject, 1, last.seq)]
        return [event for event in found if isinstance(event, e.IntegrityRefused)]


@pytest.fixture
async def loop(broker: Secured) -> AsyncIterator[Loop]:
    async with (
        keeping(broker) as bus,
        broker.user("trainer") as trainer,
        broker.user("validation") as validation,
        broker.user("feedback") as feedback,
        broker.user("operator") as operator,
    ):
        await register(bus, tide())
        yield Loop(bus, trainer, validation, feedback, operator)


@pytest.mark.fault(36, "a candidate that the trainer did not sign")
async def test_a_candidate_without_a_signature_is_ignored_and_the_true_one_is_taken(
    loop: Loop,
) -> None:
    await loop.hear(loop.feedback, loop.keeper.accumulated(100))
    true = candidate(loop.keeper, loop.trainer)
    for signature in (b"", candidate(loop.keeper, loop.validation).signature):
        forged = msgspec.structs.replace(true, signature=signature)
        message = event_message(forged, source="trainer", origin=Origin())
        its = {**message.headers, MSG_ID: f"forged-{signature.hex()}"}
        await loop.trainer.publish([msgspec.structs.replace(message, headers=its)])

    async def told() -> bool:
        return len(await loop.audits()) == 2

    await eventually(told, "both are told")
    state = await loop.state()
    assert state.run is not None, "who can forge must not be able to end a run"
    assert (state.run.stage, state.versions) == ("training", {})
    assert {(a.what, a.claimed, a.version) for a in await loop.audits()} == {
        ("candidate", "trainer", 1)
    }
    state = await loop.hear(loop.trainer, true)
    assert state.run is not None
    assert state.run.stage == "gating"
    assert state.versions[1].signature == true.signature


async def test_promotions_are_countersigned_and_numbered_past_those_in_the_log(loop: Loop) -> None:
    await loop.hear(loop.feedback, loop.keeper.accumulated(100))
    await loop.hear(loop.trainer, candidate(loop.keeper, loop.trainer))
    state = await loop.hear(loop.validation, loop.keeper.approved())
    assert signing.champion_problem(loop.bus.trust, state) == ""
    assert state.promotion is not None
    assert state.promotion.number == 1
    entry = await loop.bus.models.read(MODEL)
    assert entry.value is not None
    # Somebody set the counter back; the log knows better.
    back = msgspec.structs.replace(state.promotion, number=-5)
    older = msgspec.structs.replace(entry.value, promotion=back, next_version=3)
    second = msgspec.structs.replace(
        older,
        versions={**older.versions, 2: _second(loop)},
    )
    await loop.bus.models.write(MODEL, second, entry.revision)
    await loop.promote(2)
    state = await loop.state()
    assert state.promotion is not None
    assert (state.champion, state.promotion.number) == (2, 2)
    assert signing.champion_problem(loop.bus.trust, state) == ""
    subject = subjects.event(MODEL, e.ModelPromoted.kind)
    last = await loop.bus.log.last("EVENTS", subject)
    assert last is not None
    said = last.event()
    assert isinstance(said, e.ModelPromoted)
    assert signing.promotion_of(said) == state.promotion


async def test_a_version_that_the_trainer_did_not_sign_is_not_promoted(loop: Loop) -> None:
    await loop.hear(loop.feedback, loop.keeper.accumulated(100))
    await loop.hear(loop.trainer, candidate(loop.keeper, loop.trainer))
    state = await loop.hear(loop.validation, loop.keeper.approved())
    unsigned = msgspec.structs.replace(_second(loop), signature=b"")
    forged = msgspec.structs.replace(state, versions={**state.versions, 2: unsigned})
    await loop.bus.models.write(MODEL, forged, (await loop.bus.models.read(MODEL)).revision)
    with pytest.raises(InvalidInput, match="manifest of version 2: is not signed"):
        await loop.promote(2)
    assert (await loop.state()).champion == 1
    (audit,) = await loop.audits()
    assert (audit.what, audit.version) == ("promotion", 2)


def _second(loop: Loop) -> Version:
    """A version of before, signed by the trainer."""
    its = synthetic.manifest(MODEL, 2)
    return Version(
        manifest=its,
        manifest_sha256=digest(canonical(its)),
        run="r2",
        stage="retired",
        signature=signing.signed_manifest(loop.trainer.identity, its),
    )


async def test_a_forged_candidate_does_not_keep_the_trainer_from_the_true_one(
    broker: Secured,
) -> None:
    async with (
        broker.user("registry") as registry,
        broker.user("trainer") as trainer,
        broker.user("feedback") as feedback,
    ):
        fast = {"min_rows": 100, "window_rows": 500, "min_rows_since_change": 200}
        await register(registry, tide(training={**fast, "parameters": {"max_iter": 5}}))
        await feed(feedback, 0, 5)
        its = synthetic.manifest(MODEL, 1)
        forged = e.CandidateTrained(
            model=MODEL, run="run-1", version=1, manifest=its, manifest_sha256="ab" * 32
        )
        await trainer.emit(forged)
        made = Trainer(trainer, TrainerSettings())
        said = [event async for event in made.on_retrain(asked(), Origin())]
        await made.close()
    candidate_said = said[-1]
    assert isinstance(candidate_said, e.CandidateTrained)
    proof = candidate_said.manifest_sha256, candidate_said.signature
    assert signing.manifest_problem(trainer.trust, candidate_said.manifest, *proof) == ""
