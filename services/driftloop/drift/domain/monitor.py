"""All that is watched of one model's champion, sharing one false-alarm budget."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.alarms import Shift
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.events import DriftDetected, LabelsShifted, PerformanceDegraded
from driftloop.drift.domain import harm, watched
from driftloop.drift.domain.arrays import packed, unpacked
from driftloop.drift.domain.estimates import Estimates
from driftloop.drift.domain.harm import LabelledLosses
from driftloop.drift.domain.signals import Change, Signal, Signals, Standing
from driftloop.drift.domain.snapshot import FORMAT, Snapshot
from driftloop.evidence import split_alarm_budget
from driftloop.evidence.arrays import IntArray
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Spec

Found = DriftDetected | LabelsShifted | PerformanceDegraded

PARTS: Final = {"features": 0.45, "prediction": 0.15, "label": 0.1, "loss": 0.3}
"""How the budget is shared by the groups of signals; those that are not watched leave theirs."""


class Monitor:
    """Watches scored rows and outcomes of one champion, from its promotion on.

    Without `estimate` the loss of rows without labels is not estimated.
    """

    def __init__(self, spec: Spec, champion: int, *, estimate: bool = True) -> None:
        self._spec = spec
        self._champion = champion
        self._loss = row_loss(spec)
        self._labelled = LabelledLosses()
        self._estimate = estimate
        self.estimates = Estimates(spec, champion)
        drift = spec.drift
        features = watched.features(spec) if drift.features else []
        answers = watched.answers(spec) if drift.predictions else []
        self._columns = np.array([at for at, _ in features], dtype=np.intp)
        self._answers = np.array([at for at, _ in answers], dtype=np.intp)
        groups = {
            "features": [signal for _, signal in features],
            "prediction": [signal for _, signal in answers],
            "label": [watched.labels(spec)] if drift.labels else [],
            "loss": [watched.losses()] if drift.loss else [],
        }
        budget = split_alarm_budget(
            drift.alarms_per_million, {name: PARTS[name] for name in groups if groups[name]}
        )
        self.groups = {
            name: self._group(signals, budget[name], only_up=name == "loss")
            for name, signals in groups.items()
            if signals
        }

    def _group(self, signals: list[Signal], rows_per_alarm: float, *, only_up: bool) -> Signals:
        return Signals(signals, self._spec.drift.reference_rows, rows_per_alarm, only_up=only_up)

    def scored(self, batch: pa.RecordBatch, seq: int) -> Iterator[DriftDetected]:
        """Feed a scored batch; yields shifts of features, missing rates and answers."""
        width = batch.column("features").type.list_size
        if width != len(self._spec.features) or not self._fits(batch):
            return  # rows of another revision of the spec: not what this champion was trained on
        if self._estimate:
            self.estimates.scored(batch, seq)
        times = _times(batch)
        values = matrix_of(batch.column("features"))[:, self._columns]
        yield from self._drifted("features", values, seq, times, np.arange(len(times)))
        at = self._answered(batch)
        values = matrix_of(batch.column("answer"))[at][:, self._answers]
        yield from self._drifted("prediction", values, seq, times, at)

    def outcomes(self, batch: pa.RecordBatch, seq: int) -> Iterator[Found]:
        """Feed a batch of outcomes; yields rises of the champion's own loss, and label shifts."""
        if not self._fits(batch):
            return
        if self._estimate:
            self.estimates.outcomes(batch, seq)
        at, labels, losses = self.labelled(batch)
        if not len(at):
            return
        times = _times(batch)
        self._labelled.add(times[at], losses)
        for change in self._feed("label", _column(labels), seq, times, at):
            yield LabelsShifted(**self._said(change, times, "OUTCOMES"))
        for change in self._feed("loss", _column(losses), seq, times, at):
            said = self._said(change, times, "OUTCOMES")
            self.estimates.void("performance degraded", change.since.time)
            yield PerformanceDegraded(**said, loss=self._spec.loss, version=self._champion)

    def labelled(
        self, batch: pa.RecordBatch
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """The outcomes of a batch that have a loss of this champion: rows, labels and losses."""
        at = self._answered(batch)
        labels = batch.column("label").to_numpy()[at]
        losses = self._loss(matrix_of(batch.column("answer"))[at], labels)
        good = np.isfinite(losses)
        return at[good], labels[good], losses[good]

    def snapshot(self, revision: int, next_seq: dict[str, int]) -> Snapshot:
        """All of the monitor, which was fed each stream up to before `next_seq`."""
        return Snapshot(
            format=FORMAT,
            champion=self._champion,
            revision=revision,
            next_seq=dict(next_seq),
            groups={name: group.state() for name, group in self.groups.items()},
            labelled=packed(self._labelled.rows[-harm.ROWS :]),
            estimates=self.estimates.state(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from there; raises `ValueError` when it is of others, and then is of no use."""
        if snapshot.groups.keys() != self.groups.keys():
            accepted = ", ".join(self.groups)
            raise ValueError(f"groups are {', '.join(snapshot.groups)}; accepted: {accepted}")
        for name, group in self.groups.items():
            group.restore(snapshot.groups[name])
        self._labelled.rows = unpacked(snapshot.labelled)
        self.estimates = Estimates.restore(self._spec, self._champion, snapshot.estimates)

    def standing(self, stream: str) -> Iterator[Standing]:
        """Where the signals that are fed by `stream` stand."""
        for _, group in self._fed_by(stream):
            yield from group.standing()

    def evidence(self, stream: str) -> Iterator[tuple[str, float]]:
        """The groups that are fed by `stream`, and the share of what makes an alarm that is in."""
        for name, group in self._fed_by(stream):
            yield name, group.evidence

    def _fed_by(self, stream: str) -> Iterator[tuple[str, Signals]]:
        for name, group in self.groups.items():
            if (name in ("label", "loss")) == (stream == "OUTCOMES"):
                yield name, group

    def _drifted(
        self, name: str, values: Matrix, seq: int, times: IntArray, rows: IntArray
    ) -> Iterator[DriftDetected]:
        for change in self._feed(name, values, seq, times, rows):
            first = change.parts[0]
            shift: Shift = first.shift  # type: ignore[assignment]  # of these groups all are
            said = self._said(change, times, "SCORED")
            yield DriftDetected(**said, shift=shift, feature=first.feature)

    def _feed(
        self, name: str, values: Matrix, seq: int, times: IntArray, rows: IntArray
    ) -> Iterator[Change]:
        """Feed a group, if there is one, the values of these rows of a batch."""
        group = self.groups.get(name)
        if group is not None and len(rows):
            yield from group.update(values, seq, rows, times[rows])

    def _said(self, change: Change, times: IntArray, stream: str) -> dict[str, Any]:
        first = change.parts[0]
        return {
            "model": self._spec.name,
            "data_time": int(times.max(initial=0)),
            "stream": stream,
            "seq": change.at.seq,
            "row": change.at.row,
            "detector": first.detector,
            "before": first.before,
            "after": first.after,
            "strength": first.strength,
            "since_time": change.since.time,
            "since_seq": change.since.seq,
            "since_row": change.since.row,
            "rows_since": change.rows_since,
            "parts": change.parts,
            "summaries": change.summaries,
            "labelled": self._labelled.since(change.since.time),
        }

    def _fits(self, batch: pa.RecordBatch) -> bool:
        """Whether the answers are as wide as this champion's."""
        return bool(batch.column("answer").type.list_size == self._spec.width)

    def _answered(self, batch: pa.RecordBatch) -> NDArray[np.intp]:
        """The rows this champion answered with finite numbers."""
        version = batch.column("version").to_numpy(zero_copy_only=False)
        at = np.flatnonzero(version == self._champion)
        finite = np.isfinite(matrix_of(batch.column("answer"))[at]).all(axis=1)
        return np.asarray(at[finite])


def _column(values: NDArray[np.float64]) -> Matrix:
    return np.asarray(values, dtype=np.float32)[:, None]


def _times(batch: pa.RecordBatch) -> IntArray:
    times: IntArray = batch.column("event_time").cast(pa.int64()).to_numpy()
    return times
