"""The gates on the real bus: real models, real outcomes, verdicts that survive a restart."""

import io
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, batch_message
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Shadow
from driftloop.local.nats import NatsServer
from driftloop.modelspec.spec import Spec
from driftloop.validation.app import SERVICE
from tests.support import tiny_models
from tests.support.flows import eventually, held, register, running
from tests.support.loop import BEGIN_MS, answers, outcomes, spec
from tests.support.tiny_models import Tiny

MODEL = "tide"
OUTCOMES = subjects.outcomes(MODEL)
ROWS = 300


def of_two(**changes: Any) -> Spec:
    return spec(
        features=[{"name": "a", "min": -9, "max": 9}, {"name": "b", "min": -9, "max": 9}], **changes
    )


async def say_outcomes(bus: Bus, name: str, labels: NDArray[np.float64], **columns: Any) -> None:
    batch = outcomes(labels, **columns)
    await bus.publish(
        [batch_message(OUTCOMES, batch, kind="outcomes", source="test", msg_id=f"outcomes:{name}")]
    )


async def candidate(bus: Bus, model: Tiny, onnx: bytes = b"") -> e.CandidateTrained:
    """A candidate and its holdout: 300 rows the model is mostly right about."""
    artifacts = Artifacts(bus)
    features = tiny_models.rows(ROWS, 5, 2)
    truth = model.answers(features)[:, 1].round().astype(np.float64)
    await say_outcomes(bus, "holdout", truth, features=features)
    (message,) = await held(bus, "OUTCOMES", OUTCOMES)
    reference = io.BytesIO()
    np.save(reference, model.answers(features), allow_pickle=False)
    sha256 = await artifacts.put(onnx or model.onnx)
    made = tiny_models.manifest(
        1, model.onnx, model=MODEL, features=("a", "b"), width=2, sha256=sha256
    )
    manifest = msgspec.structs.replace(
        made,
        holdout=_dataset(message),
        holdout_answers_sha256=await artifacts.put(reference.getvalue()),
        metrics={"baseline_0": 0.5, "baseline_1": 0.5},
    )
    return e.CandidateTrained(
        model=MODEL, run="run-1", version=1, manifest=manifest, manifest_sha256="aa" * 32
    )


def _dataset(message: Delivered) -> e.Dataset:
    return e.Dataset(
        stream="OUTCOMES",
        first_seq=message.seq,
        last_seq=message.seq,
        rows=ROWS,
        sha256=digest(message.payload),
    )


async def verdict(bus: Bus, nats_server: NatsServer, event: e.CandidateTrained) -> e.AnyEvent:
    async with running(SERVICE, nats_server.url):
        await bus.emit(event)
        found: list[e.AnyEvent] = []

        async def judged() -> bool:
            kinds = ("candidate.approved", "candidate.rejected")
            messages = [await held(bus, "EVENTS", subjects.event(MODEL, kind)) for kind in kinds]
            found[:] = [m.event() for kind in messages for m in kind]
            return bool(found)

        await eventually(judged, "a verdict")
    assert len(found) == 1
    return found[0]


async def test_a_real_model_is_approved_with_every_number(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, of_two())
    event = await candidate(bus, tiny_models.classifier(features=2))
    found = await verdict(bus, nats_server, event)
    assert isinstance(found, e.CandidateApproved)
    gates = {gate.name: gate for gate in found.gates}
    assert gates["parity"].value < 1e-5
    assert gates["edge_inputs_not_finite"].value == 0
    assert gates["loss_to_baseline"].value < -0.5
    assert 0 < gates["latency_ms"].value < 50


@pytest.mark.fault(31, "a candidate answers otherwise than what was fitted")
async def test_a_model_that_is_not_what_was_fitted_is_rejected(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, of_two())
    other = tiny_models.classifier(seed=3, features=2).onnx
    found = await verdict(
        bus, nats_server, await candidate(bus, tiny_models.classifier(features=2), other)
    )
    assert isinstance(found, e.CandidateRejected)
    assert found.reason.startswith("offline gate: parity: ")


@pytest.mark.fault(31, "a candidate is no model")
async def test_bytes_that_are_no_model_are_rejected_and_the_service_goes_on(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, of_two())
    event = await candidate(bus, tiny_models.classifier(features=2), b"not a model")
    found = await verdict(bus, nats_server, event)
    assert isinstance(found, e.CandidateRejected)
    assert "runs: the candidate could not be judged" in found.reason


async def test_a_holdout_the_log_does_not_hold_is_no_evidence(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, of_two())
    event = await candidate(bus, tiny_models.classifier(features=2))
    moved = msgspec.structs.replace(event.manifest.holdout, sha256="00" * 32)
    manifest = msgspec.structs.replace(event.manifest, holdout=moved)
    found = await verdict(bus, nats_server, msgspec.structs.replace(event, manifest=manifest))
    assert isinstance(found, e.CandidateRejected)
    assert "holdout: the log's rows have another digest; accepted: " + "00" * 32 in found.reason


async def shadowed(bus: Bus) -> None:
    shadow = Shadow(
        version=2,
        champion=1,
        role="challenger",
        run="run-2",
        from_seq=1,
        started_id="shadow.started:tide:run-2:challenger",
    )
    await bus.models.write(MODEL, ModelState(model=MODEL, champion=1, shadows=(shadow,)), 0)


async def test_a_shadow_is_concluded_from_outcomes_and_after_a_restart_to_the_same_verdict(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    await shadowed(bus)
    truth = (np.random.default_rng(0).random(100) < 0.5).astype(np.float64)
    for number in range(6):
        await say_outcomes(
            bus,
            str(number),
            truth,
            version=1,
            chances=np.where(truth == 1, 0.6, 0.4),
            shadows={2: np.where(truth == 1, 0.9, 0.1)},
            times=[BEGIN_MS + 100 * number + at for at in range(100)],
        )
    assert answers([0.5]).type.list_size == 2
    subject = subjects.event(MODEL, "shadow.concluded")
    for _ in range(2):
        async with running(SERVICE, nats_server.url):

            async def concluded() -> bool:
                return len(await held(bus, "EVENTS", subject)) > 0

            await eventually(concluded, "a verdict on the shadow")
    (message,) = await held(bus, "EVENTS", subject)
    found = message.event()
    assert isinstance(found, e.ShadowConcluded)
    assert (found.verdict, found.role, found.version) == ("better", "challenger", 2)
    assert found.rows < 600
    assert message.headers["dl-causation"] == "shadow.started:tide:run-2:challenger"
    assert message.headers["dl-correlation"] == "run-2"
