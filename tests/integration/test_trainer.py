"""The trainer on the real bus: the same run gives the same candidate, however often it is asked."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.contracts import events as e
from driftloop.contracts import headers, subjects
from driftloop.contracts.headers import Origin
from driftloop.contracts.manifest import canonical
from driftloop.contracts.names import digest
from driftloop.local.nats import NatsServer
from driftloop.trainer import dataset
from driftloop.trainer.app import SERVICE
from driftloop.trainer.handlers import Trainer
from driftloop.trainer.settings import TrainerSettings
from tests.support.flows import eventually, held, process, register, running
from tests.support.loop import BEGIN_MS, outcomes, spec

MODEL = "tide"
ROWS = 100
FAST = {"min_rows": 100, "window_rows": 500, "min_rows_since_change": 200}


async def feed(bus: Bus, first: int, last: int, turned: int = 10**9) -> None:
    """Batches `first` to `last` (exclusive); from batch `turned` on the labels are the others."""
    for number in range(first, last):
        drawn = np.random.default_rng(number)
        features = drawn.normal(size=(ROWS, 2))
        message = batch_message(
            subjects.outcomes(MODEL),
            outcomes(
                ((features[:, 0] > 0) != (number >= turned)).astype(np.float64),
                features=features,
                times=[BEGIN_MS + 60_000 * (ROWS * number + at) for at in range(ROWS)],
            ),
            kind="outcomes",
            source="test",
            msg_id=f"outcomes:{number}",
            extra={headers.TOTAL: str(ROWS * (number + 1))},
        )
        await bus.publish([message])


def asked(run: str = "run-1", since_time: int = 0) -> e.RetrainRequested:
    return e.RetrainRequested(
        model=MODEL,
        run=run,
        trigger="drift",
        reason="a moved",
        version=1,
        spec_revision=1,
        since_time=since_time,
    )


async def said(trainer: Trainer, event: e.RetrainRequested) -> list[e.AnyEvent]:
    return [found async for found in trainer.on_retrain(event, Origin())]


async def test_a_request_is_answered_with_a_candidate_that_can_be_rebuilt(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 10}}))
    await feed(bus, 0, 8)
    async with running(SERVICE, nats_server.url):
        await bus.emit(asked())

        async def trained() -> bool:
            return bool(await held(bus, "EVENTS", subjects.event(MODEL, "candidate.trained")))

        await eventually(trained, "a candidate")
    (message,) = await held(bus, "EVENTS", subjects.event(MODEL, "candidate.trained"))
    candidate = message.event()
    assert isinstance(candidate, e.CandidateTrained)
    manifest = candidate.manifest
    assert (manifest.train.rows, manifest.holdout.rows) == (400, 100)
    assert manifest.train.last_seq + 1 == manifest.holdout.first_seq
    assert manifest.window == "the newest 500 rows"
    artifacts = Artifacts(bus)
    session = ort.InferenceSession(await artifacts.get(manifest.model_sha256))
    assert [found.name for found in session.get_inputs()] == ["features"]
    assert digest(canonical(manifest)) == candidate.manifest_sha256
    assert await artifacts.get(candidate.manifest_sha256) == canonical(manifest)
    assert manifest.feature_types == ("number", "number")
    assert [(t.name, t.shape) for t in manifest.inputs] == [("features", (-1, 2))]
    assert manifest.outputs[-1].shape == (-1, 2)
    assert "ai.onnx.ml.TreeEnsembleClassifier" in manifest.operators
    assert manifest.opset["ai.onnx.ml"] >= 1
    snapshot = pq.read_table(_file(await artifacts.get(manifest.snapshot_sha256)))
    assert snapshot.num_rows == 500


def _file(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


async def test_a_second_attempt_has_the_same_rows_and_gives_the_same_model(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 10}}))
    await feed(bus, 0, 6)
    trainer = Trainer(bus, TrainerSettings())
    started, first = await said(trainer, asked())
    await bus.emit(started)
    await feed(bus, 6, 9)
    again, second = await said(trainer, asked())
    assert again == started
    assert isinstance(first, e.CandidateTrained)
    assert isinstance(second, e.CandidateTrained)
    assert second.manifest.model_sha256 == first.manifest.model_sha256
    assert second.manifest.snapshot_sha256 == first.manifest.snapshot_sha256
    assert second.manifest.train == first.manifest.train
    await bus.emit(second)
    assert await said(trainer, asked()) == []
    newer = await said(trainer, asked("run-2"))
    assert isinstance(newer[0], e.TrainingStarted)
    assert newer[0].train != first.manifest.train


TURNED = 3
SINCE = BEGIN_MS + 60_000 * ROWS * TURNED


async def test_rows_since_the_change_are_chosen_and_named_where_they_answer_better(
    bus: Bus,
) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 10}}))
    await feed(bus, 0, 7, TURNED)
    started, trained = await said(Trainer(bus, TrainerSettings()), asked(since_time=SINCE))
    assert isinstance(started, e.TrainingStarted)
    assert started.window == "the newest 500 rows or 400 rows since the change"
    assert [w.first_seq for w in started.windows] == [3, TURNED + 1]
    assert (started.train.first_seq, started.train.rows) == (3, 400)
    assert isinstance(trained, e.CandidateTrained)
    manifest = trained.manifest
    assert manifest.window.startswith("400 rows since the change (loss 0.")
    assert "not the newest 500 rows (loss 0." in manifest.window
    assert (manifest.train.first_seq, manifest.train.rows) == (TURNED + 1, 300)
    assert manifest.holdout == started.holdout
    newest, since = manifest.tried
    assert since.chosen
    assert since.rows == manifest.train.rows
    assert newest.loss is not None
    assert since.loss is not None
    assert newest.loss > since.loss == manifest.metrics["brier"]
    assert (await dataset.rebuild(bus, MODEL, manifest.train)).dataset == manifest.train
    snapshot = pq.read_table(_file(await Artifacts(bus).get(manifest.snapshot_sha256)))
    assert snapshot.num_rows == 400


async def test_rows_of_before_a_change_that_was_none_are_kept(bus: Bus) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 10}}))
    await feed(bus, 0, 7)
    started, trained = await said(Trainer(bus, TrainerSettings()), asked(since_time=SINCE))
    assert isinstance(started, e.TrainingStarted)
    assert isinstance(trained, e.CandidateTrained)
    assert trained.manifest.train == started.train
    assert [w.name for w in trained.manifest.tried if w.chosen] == ["newest"]


async def test_a_second_attempt_tries_the_windows_of_the_first_and_chooses_the_same(
    bus: Bus,
) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 10}}))
    await feed(bus, 0, 7, TURNED)
    trainer = Trainer(bus, TrainerSettings())
    started, first = await said(trainer, asked(since_time=SINCE))
    await bus.emit(started)
    await feed(bus, 7, 9, TURNED)
    again, second = await said(trainer, asked(since_time=SINCE))
    assert again == started
    assert isinstance(first, e.CandidateTrained)
    assert isinstance(second, e.CandidateTrained)
    assert second.manifest.train.first_seq == TURNED + 1
    assert lasting(second.manifest) == lasting(first.manifest)


def lasting(manifest: e.Manifest) -> e.Manifest:
    """The manifest without what it took, in seconds."""
    tried = tuple(msgspec.structs.replace(w, seconds=0.0) for w in manifest.tried)
    return msgspec.structs.replace(manifest, seconds=0.0, cpu_seconds=0.0, tried=tried)


async def test_an_attempt_from_before_there_were_several_windows_is_taken_up(bus: Bus) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 5}}))
    await feed(bus, 0, 7, TURNED)
    trainer = Trainer(bus, TrainerSettings())
    started, _ = await said(trainer, asked())
    assert isinstance(started, e.TrainingStarted)
    await bus.emit(msgspec.structs.replace(started, windows=()))
    again, trained = await said(trainer, asked())
    assert isinstance(again, e.TrainingStarted)
    assert again.window == started.window
    assert isinstance(trained, e.CandidateTrained)
    assert trained.manifest.train == started.train


async def test_weights_that_an_estimator_does_not_take_fail_the_run_with_the_reason(
    bus: Bus,
) -> None:
    neighbours = {"estimator": "sklearn.neighbors.KNeighborsClassifier", "windows": ["weighted"]}
    await register(bus, spec(training={**FAST, **neighbours}))
    await feed(bus, 0, 4)
    _, failed = await said(Trainer(bus, TrainerSettings()), asked())
    assert isinstance(failed, e.TrainingFailed)
    assert "weighted needs weights, but KNeighborsClassifier takes none" in failed.reason


async def test_a_run_without_rows_and_one_that_cannot_be_fitted_fail_with_the_reason(
    bus: Bus,
) -> None:
    await register(bus, spec(training={**FAST, "estimator": "sklearn.nowhere.Thing"}))
    trainer = Trainer(bus, TrainerSettings())
    (failed,) = await said(trainer, asked())
    assert isinstance(failed, e.TrainingFailed)
    assert "there are no outcomes of tide" in failed.reason
    await feed(bus, 0, 3)
    _, failed = await said(trainer, asked())
    assert isinstance(failed, e.TrainingFailed)
    assert "'sklearn.nowhere.Thing' cannot be found" in failed.reason


@pytest.mark.fault(31, "a fit does not end")
async def test_a_fit_past_its_time_limit_fails(bus: Bus) -> None:
    slow = {"max_iter": 100_000, "early_stopping": False}
    await register(bus, spec(training={**FAST, "time_limit": "1s", "parameters": slow}))
    await feed(bus, 0, 3)
    _, failed = await said(Trainer(bus, TrainerSettings()), asked())
    assert isinstance(failed, e.TrainingFailed)
    assert failed.reason == "training: gave no result within 1 s and was ended"


async def test_stopped_while_it_fits_the_trainer_ends_soon_and_fails_no_run(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    slow = {"max_iter": 100_000, "early_stopping": False}
    await register(bus, spec(training={**FAST, "parameters": slow}))
    await feed(bus, 0, 3)
    with process("trainer", nats_server.url, tmp_path) as service:
        await bus.emit(asked())

        async def begun() -> bool:
            return bool(await held(bus, "EVENTS", subjects.event(MODEL, "training.started")))

        await eventually(begun, "the training")
        before = asyncio.get_running_loop().time()
        await asyncio.to_thread(service.stop)
        assert asyncio.get_running_loop().time() - before < 8
    assert not await held(bus, "EVENTS", subjects.event(MODEL, "training.failed"))
