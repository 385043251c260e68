"""One request for a retrain in; the training that started, and a candidate or a failure, out."""

import io
import logging
from collections.abc import AsyncIterator

import msgspec
import numpy as np

from driftloop.artifacts import signing
from driftloop.artifacts.onnx_file import Limits, limits_of
from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts import subjects
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import (
    AnyEvent,
    CandidateTrained,
    Manifest,
    RetrainRequested,
    TrainingFailed,
    TrainingStarted,
)
from driftloop.contracts.headers import Origin
from driftloop.contracts.manifest import canonical
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec
from driftloop.runtime import metrics
from driftloop.runtime.child import ChildFailed, Children
from driftloop.runtime.memory import give_back
from driftloop.trainer import dataset
from driftloop.trainer.domain.window import words
from driftloop.trainer.settings import TrainerSettings
from driftloop.trainer.tasks import FitResult, FitTask

log = logging.getLogger(__name__)

FITS = metrics.counter("fits", "Trainings by how they ended", ["model", "result"])
FIT_SECONDS = metrics.counter("fit_seconds", "Time spent fitting and converting", ["model"])
FIT_CPU = metrics.counter(
    "fit_cpu_seconds", "CPU time of fitting and converting, all threads of it", ["model"]
)
FIT_WINDOWS = metrics.counter(
    "fit_windows",
    "Training sets by what came of them: chosen, not chosen or skipped",
    ["model", "window", "result"],
)

PRELOAD = ("driftloop.trainer.fitting",)


class Trainer:
    """Trains one candidate at a time."""

    def __init__(self, bus: Bus, settings: TrainerSettings) -> None:
        self._bus = bus
        self._artifacts = Artifacts(bus)
        # Waiting threads must not spin: on busy cores that turned half a second of fit into twenty.
        threads = {"OMP_NUM_THREADS": str(settings.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self._children = Children(PRELOAD, threads)
        self._limits = limits_of(
            settings.model_mb, settings.model_tensor_mb, settings.model_operators
        )

    async def close(self) -> None:
        """Leave a training that is under way to our successor."""
        await self._children.close()

    async def on_retrain(self, event: RetrainRequested, _: Origin) -> AsyncIterator[AnyEvent]:
        """Fix the training set, say so, fit, say what came of it."""
        try:
            async for said in self._train(event):
                yield said
        finally:
            give_back()

    async def _train(self, event: RetrainRequested) -> AsyncIterator[AnyEvent]:
        if await self._was_done(event):
            return
        spec = (await self._bus.spec(event.model)).spec
        try:
            sets = await self._sets(spec, event)
            yield TrainingStarted(
                model=event.model,
                data_time=event.data_time,
                run=event.run,
                version=event.version,
                train=sets.train.dataset,
                holdout=sets.holdout.dataset,
                window=words(sets.windows),
                windows=sets.windows,
            )
            limit = durations.seconds(spec.training.time_limit)
            fit = await self._children.run(limit, _fit, _task(spec, sets, self._limits))
            manifest = await self._keep(spec, event, fit, sets)
        except (InvalidInput, ChildFailed) as error:
            FITS.labels(event.model, "failed").inc()
            yield TrainingFailed(
                model=event.model,
                data_time=event.data_time,
                run=event.run,
                version=event.version,
                reason=f"training: {error}",
            )
            return
        _count(event.model, fit)
        yield CandidateTrained(
            model=event.model,
            data_time=event.data_time,
            run=event.run,
            version=event.version,
            manifest=manifest,
            manifest_sha256=await self._artifacts.put(canonical(manifest)),
            signature=signing.signed_manifest(self._bus.identity, manifest),
        )

    async def _was_done(self, event: RetrainRequested) -> bool:
        """Whether we said what came of this run, and died before the request was acknowledged."""
        for kind in (CandidateTrained.kind, TrainingFailed.kind):
            last = await self._bus.log.last("EVENTS", subjects.event(event.model, kind))
            said = last.event() if last is not None else None
            if isinstance(said, CandidateTrained | TrainingFailed) and said.run == event.run:
                return not isinstance(said, CandidateTrained) or self._ours(said)
        return False

    def _ours(self, said: CandidateTrained) -> bool:
        """Whether we signed it: one that is forged must not keep us from the true one."""
        return not signing.manifest_problem(
            self._bus.trust, said.manifest, said.manifest_sha256, said.signature
        )

    async def _sets(self, spec: Spec, event: RetrainRequested) -> dataset.Sets:
        """The rows of this run: those it had before, if it is a second attempt."""
        subject = subjects.event(event.model, TrainingStarted.kind)
        last = await self._bus.log.last("EVENTS", subject)
        before = last.event() if last is not None else None
        if isinstance(before, TrainingStarted) and before.run == event.run:
            log.info("%s: second attempt at %s", event.model, event.run)
            return await dataset.again(self._bus, before)
        return await dataset.newest(self._bus, spec.name, spec.training, event.since_time)

    async def _keep(
        self, spec: Spec, event: RetrainRequested, fit: FitResult, sets: dataset.Sets
    ) -> Manifest:
        train = sets.train.since(fit.chosen.first_seq)
        answers = io.BytesIO()
        np.save(answers, fit.answers, allow_pickle=False)
        return Manifest(
            model=event.model,
            version=event.version,
            model_sha256=await self._artifacts.put(fit.model),
            model_bytes=len(fit.model),
            train=train.dataset,
            holdout=sets.holdout.dataset,
            holdout_answers_sha256=await self._artifacts.put(answers.getvalue()),
            snapshot_sha256=await self._artifacts.put(dataset.snapshot((train, sets.holdout))),
            spec_revision=event.spec_revision,
            features=tuple(f.name for f in spec.features),
            width=spec.width,
            estimator=fit.estimator,
            window=words(fit.tried),
            metrics=fit.metrics,
            seconds=fit.seconds,
            cpu_seconds=fit.cpu_seconds,
            environment=fit.environment,
            tried=fit.tried,
            feature_types=tuple(f.type for f in spec.features),
            inputs=fit.found.inputs,
            outputs=fit.found.outputs,
            opset=fit.found.opset,
            operators=fit.found.operators,
        )


def _count(model: str, fit: FitResult) -> None:
    FITS.labels(model, "trained").inc()
    FIT_SECONDS.labels(model).inc(fit.seconds)
    FIT_CPU.labels(model).inc(fit.cpu_seconds)
    for tried in fit.tried:
        result = "chosen" if tried.chosen else "skipped" if tried.skipped else "not chosen"
        FIT_WINDOWS.labels(model, tried.name, result).inc()


def _task(spec: Spec, sets: dataset.Sets, limits: Limits) -> FitTask:
    train, holdout = sets.train, sets.holdout
    of_train, of_holdout = (train.features, train.labels), (holdout.features, holdout.labels)
    task = FitTask.of(spec, sets.windows, of_train, of_holdout)
    return msgspec.structs.replace(task, limits=limits)


def _fit(task: FitTask) -> FitResult:
    """Runs in the child: scikit-learn is imported there, not in the service."""
    from driftloop.trainer.fitting import fit

    return fit(task)
