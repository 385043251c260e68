"""All detectors of one model's champion, sharing one false-alarm budget."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import matrix_of
from driftloop.contracts.events import DriftDetected, PerformanceDegraded
from driftloop.drift.domain.detector import CLOCK, Change, Detector
from driftloop.drift.domain.scale import Floats, Frequencies, Quantiles, Scale, Unit
from driftloop.evidence import split_alarm_budget
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Feature, Spec

Shift = Literal["covariate", "missing", "prediction"]


class Monitor:
    """Watches scored rows and outcomes of one champion, from its promotion on."""

    def __init__(self, spec: Spec, champion: int) -> None:
        self._spec = spec
        self._champion = champion
        self._loss = row_loss(spec)
        drift = spec.drift
        watched = [(at, f) for at, f in enumerate(spec.features) if f.monitor and drift.features]
        nullable = [(at, f) for at, f in watched if f.nullable]
        count = len(watched) + len(nullable) + int(drift.predictions) + int(drift.loss)
        self._delta = split_alarm_budget(drift.alarms_per_million, max(count, 1), CLOCK)
        self._features = [(at, self._new(f.name, partial(_scale, f))) for at, f in watched]
        self._missing = [(at, self._new(f"{f.name}:missing", _unit)) for at, f in nullable]
        self._prediction = self._new("prediction", _unit if spec.width > 1 else Quantiles)
        self._live_loss = self._new("loss", _unit, only_up=True)

    def _new(
        self,
        name: str,
        scale: "type[Unit] | type[Quantiles] | partial[Scale] | object",
        only_up: bool = False,
    ) -> Detector:
        return Detector(name, self._delta, self._spec.drift.reference_rows, scale, only_up)  # type: ignore[arg-type]

    def detectors(self) -> list[Detector]:
        """All detectors, features first."""
        features = [d for _, d in (*self._features, *self._missing)]
        drift = self._spec.drift
        return (
            features
            + [self._prediction] * int(drift.predictions)
            + [self._live_loss] * int(drift.loss)
        )

    def scored(self, batch: pa.RecordBatch, seq: int) -> Iterator[DriftDetected]:
        """Feed a scored batch; yields covariate, missing-rate and prediction shifts."""
        if batch.column("features").type.list_size != len(self._spec.features):
            return  # rows of another revision of the spec: not what this champion was trained on
        clock, first = _times(batch)
        rows = matrix_of(batch.column("features"))
        features = np.ascontiguousarray(rows.T, dtype=np.float64)  # one after the other
        for at, detector in self._features:
            for change in detector.update(features[at], seq, first):
                yield self._drift(detector, "covariate", change, seq, clock)
        missing = np.isnan(features).astype(np.float64) if self._missing else features
        for at, detector in self._missing:
            for change in detector.update(missing[at], seq, first):
                yield self._drift(detector, "missing", change, seq, clock)
        if self._spec.drift.predictions:
            for change in self._prediction.update(self._predictions(batch), seq, first):
                yield self._drift(self._prediction, "prediction", change, seq, clock)

    def outcomes(self, batch: pa.RecordBatch, seq: int) -> Iterator[PerformanceDegraded]:
        """Feed a batch of outcomes; yields rises of the champion's own loss."""
        if not self._spec.drift.loss:
            return
        clock, first = _times(batch)
        losses = np.full(batch.num_rows, np.nan)
        at = np.flatnonzero(self._answered(batch))
        if len(at):
            answers = matrix_of(batch.column("answer"))[at]
            losses[at] = self._loss(answers, batch.column("label").to_numpy()[at])
        for change in self._live_loss.update(losses, seq, first):
            yield PerformanceDegraded(
                model=self._spec.name,
                data_time=clock,
                stream="OUTCOMES",
                seq=seq,
                detector="loss",
                loss=self._spec.loss,
                version=self._champion,
                **change._asdict(),
            )

    def _answered(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        version = batch.column("version").to_numpy(zero_copy_only=False)
        return np.asarray(version == self._champion)

    def _predictions(self, batch: pa.RecordBatch) -> Floats:
        """The champion's chance of the last class, or its value; NaN where another answered."""
        values = np.full(batch.num_rows, np.nan)
        at = np.flatnonzero(self._answered(batch))
        if len(at):
            values[at] = matrix_of(batch.column("answer"))[at, -1]
        return values

    def _drift(
        self, detector: Detector, shift: Shift, change: Change, seq: int, clock: int
    ) -> DriftDetected:
        feature = "" if shift == "prediction" else detector.name.removesuffix(":missing")
        return DriftDetected(
            model=self._spec.name,
            data_time=clock,
            stream="SCORED",
            seq=seq,
            detector=detector.name,
            shift=shift,
            feature=feature,
            **change._asdict(),
        )


def _scale(feature: Feature, reference: Floats) -> Scale:
    if feature.type == "category":
        return Frequencies(reference, len(feature.categories))
    return Quantiles(reference)


def _unit(_: Floats) -> Scale:
    return Unit()


def _times(batch: pa.RecordBatch) -> tuple[int, int]:
    times = batch.column("event_time").cast(pa.int64()).to_numpy()
    return int(times.max(initial=0)), int(times[0]) if len(times) else 0
