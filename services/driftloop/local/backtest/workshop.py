"""Trainer and offline gate without a bus: a request for a retrain in, a judged candidate out."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.events import (
    AnyEvent,
    CandidateApproved,
    CandidateRejected,
    CandidateTrained,
    Dataset,
    Gate,
    Manifest,
    RetrainRequested,
    TrainingFailed,
    TrainingStarted,
)
from driftloop.local.backtest.models import Fits
from driftloop.local.backtest.watch import Stopwatch
from driftloop.local.backtest.world import World
from driftloop.modelspec.spec import Spec
from driftloop.runtime.child import ChildFailed
from driftloop.trainer.domain.window import Part, choose, words
from driftloop.trainer.tasks import FitResult, FitTask
from driftloop.validation.domain import offline
from driftloop.validation.domain.offline import Case, Measured
from driftloop.validation.scoring import measure

STREAM = "OUTCOMES"


class _Rows(NamedTuple):
    """Outcomes `rows`, and the batches of the log, `first` to `last`, that they are."""

    first: int
    last: int
    rows: slice


class Workshop:
    """Trains candidates on the outcomes so far, and judges them on their holdouts.

    `models` are the ONNX bytes of each version; `served` (rows, width) are the answers given to the
    valid rows so far, NaN where none.
    """

    def __init__(
        self, spec: Spec, world: World, fits: Fits, watch: Stopwatch, served: Matrix
    ) -> None:
        self._spec = spec
        self._world = world
        self._fits = fits
        self._watch = watch
        self._served = served
        self._parts: list[Part] = []
        self._ends: list[int] = []
        self._results: dict[int, FitResult] = {}
        self.models: dict[int, bytes] = {}
        self.fitted: list[int] = []
        """Outcomes at each fit."""

    def add(self, seq: int, rows: slice) -> None:
        """A batch of outcomes is in the log."""
        newest = int(self._world.outcome_times[rows].max())
        self._parts.append(Part(seq, rows.stop - rows.start, newest))
        self._ends.append(rows.stop)

    def train(self, asked: RetrainRequested) -> Iterator[AnyEvent]:
        """Fix the training sets, say so, fit, say what came of it."""
        about: dict[str, Any] = {
            "model": asked.model,
            "data_time": asked.data_time,
            "run": asked.run,
            "version": asked.version,
        }
        try:
            with self._watch.aside():
                newest = self._newest()
                plan = choose(newest, self._spec.training, asked.since_time)
                train = self._rows(newest[plan.first : plan.cut])
                held = self._rows(newest[plan.cut :])
                datasets = self._dataset(train), self._dataset(held)
            yield TrainingStarted(
                **about,
                train=datasets[0],
                holdout=datasets[1],
                window=words(plan.windows),
                windows=plan.windows,
            )
            task = FitTask.of(self._spec, plan.windows, self._data(train), self._data(held))
            made = self._fits.fit(self._spec, task)
            tried = sum(window.loss is not None for window in made.tried)
            self.fitted += [self._ends[-1]] * tried
            with self._watch.aside():
                manifest = self._manifest(asked, made, (train, held))
        except (InvalidInput, ChildFailed) as error:
            yield TrainingFailed(**about, reason=f"training: {error}")
            return
        self.models[asked.version], self._results[asked.version] = made.model, made
        sha256 = _sha256(msgspec.json.encode(manifest))
        yield CandidateTrained(**about, manifest=manifest, manifest_sha256=sha256)

    def _newest(self) -> list[Part]:
        """The newest batches, about `training.window_rows` rows, as the trainer reads them."""
        if not self._parts:
            raise InvalidInput("training rows: there are no outcomes; accepted: some labelled rows")
        skip = max(0, self._ends[-1] - self._spec.training.window_rows)
        return self._parts[bisect_right(self._ends, skip) :]

    def _rows(self, parts: list[Part]) -> _Rows:
        first, last = parts[0].seq, parts[-1].seq
        return _Rows(
            first, last, slice(self._ends[first - 1] - parts[0].rows, self._ends[last - 1])
        )

    def _data(self, rows: _Rows) -> tuple[Matrix, NDArray[np.float64]]:
        return self._world.outcome_features[rows.rows], self._world.labels[rows.rows]

    def _dataset(self, rows: _Rows) -> Dataset:
        """Its digest is of features and labels: there are no messages to take one of."""
        features, labels = self._data(rows)
        return Dataset(
            stream=STREAM,
            first_seq=rows.first,
            last_seq=rows.last,
            rows=len(labels),
            sha256=_sha256(features, labels),
        )

    def _manifest(
        self, asked: RetrainRequested, made: FitResult, rows: tuple[_Rows, _Rows]
    ) -> Manifest:
        whole, held = rows
        start = whole.rows.stop - made.chosen.rows
        train = _Rows(made.chosen.first_seq, whole.last, slice(start, whole.rows.stop))
        return Manifest(
            model=asked.model,
            version=asked.version,
            model_sha256=_sha256(made.model),
            model_bytes=len(made.model),
            train=self._dataset(train),
            holdout=self._dataset(held),
            holdout_answers_sha256=_sha256(made.answers),
            snapshot_sha256="",
            spec_revision=asked.spec_revision,
            features=tuple(f.name for f in self._spec.features),
            width=self._spec.width,
            estimator=made.estimator,
            window=words(made.tried),
            metrics=made.metrics,
            seconds=0.0,
            cpu_seconds=0.0,
            environment=made.environment,
            tried=tuple(msgspec.structs.replace(w, seconds=0.0) for w in made.tried),
        )

    def judge(self, event: CandidateTrained) -> AnyEvent:
        """Approve or reject a candidate, with every gate's number and bound."""
        with self._watch.aside():
            try:
                gates = offline.judge(self._spec, self._case(event))
                why = offline.reason(gates)
            except (Reject, ValueError) as error:
                gates = (Gate(name="runs", value=0.0, bound=1.0, passed=False, detail=str(error)),)
                why = f"runs: the candidate could not be judged: {error}"
        about: dict[str, Any] = {
            "model": event.model,
            "data_time": event.data_time,
            "run": event.run,
            "version": event.version,
            "gates": gates,
            "seconds": 0.0,
        }
        if why:
            return CandidateRejected(**about, reason=f"offline gate: {why}")
        return CandidateApproved(**about)

    def _case(self, event: CandidateTrained) -> Case:
        held = event.manifest.holdout
        start = self._ends[held.first_seq - 1] - self._parts[held.first_seq - 1].rows
        rows = slice(start, self._ends[held.last_seq - 1])
        features = self._world.outcome_features[rows]
        edges = offline.edge_inputs(self._spec, features[:1])
        measured = measure(self.models[event.version], features, edges)
        return Case(
            manifest=event.manifest,
            features=features,
            labels=self._world.labels[rows],
            reference=self._results.pop(event.version).answers,
            measured=self._timeless(measured),
            served=self._served[self._world.row[rows]],
        )

    def _timeless(self, measured: Measured) -> Measured:
        """The latency as 0, or infinite where it is over its bound: it differs each time."""
        slow = measured.latency_seconds * 1e3 > self._spec.gates.latency_ms
        return msgspec.structs.replace(measured, latency_seconds=float("inf") if slow else 0.0)


def _sha256(*parts: bytes | NDArray[Any]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return whole.hexdigest()
