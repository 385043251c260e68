"""The estimated loss of one champion's newest rows, while their labels are still to come."""

from dataclasses import astuple
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import matrix_of
from driftloop.contracts.stats import EstimatedLoss
from driftloop.drift.domain.estimates_state import STATE, State, decode, joined, packed, unpacked
from driftloop.evidence.estimated import NEEDED, LossEstimator
from driftloop.evidence.estimated_terms import Kind
from driftloop.evidence.estimated_windows import IN_A_ROW, Window, Windows
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Spec

ROWS: Final = 1_000
"""Rows of a window."""
WAITING: Final = ("times", "answers", "used")
LABELLED: Final = (*WAITING, "losses")

Floats32 = NDArray[np.float32]
IntArray = NDArray[np.int64]
Floats = NDArray[np.float64]


class Read(NamedTuple):
    """Rows of a batch that are used: which, and their times, answers and features."""

    rows: slice | IntArray
    times: IntArray
    answers: Floats32
    features: Floats32


class Estimates:
    """Estimates the mean loss of each `ROWS` rows that the champion scored, one after the other.

    What it learns from is the champion's outcomes; until `NEEDED` of them are in, nothing is said.
    How the logs are cut into batches changes nothing; how far one is read before the other decides
    which labels an estimate knows.
    """

    def __init__(self, spec: Spec, champion: int) -> None:
        self._spec = spec
        self._champion = champion
        self._loss = row_loss(spec)
        kinds = [Kind(len(feature.categories), feature.nullable) for feature in spec.features]
        self._estimator = LossEstimator(spec.loss, kinds)
        self._windows = Windows()
        self._waiting: list[tuple[IntArray, Floats32, Floats32]] = []
        self._held = 0
        self._labelled: list[tuple[IntArray, Floats32, Floats32, Floats]] = []
        self._labels = 0
        self._newest: Window | None = None
        self._void = ""
        self._since = 0
        self.skipped = 0
        """Rows left out because the answer, or the label, was no finite number."""

    @property
    def state_text(self) -> str:
        """Where it stands, for people."""
        if not self._estimator.ready:
            return f"not enough labelled rows yet: {self._known}"
        return self._void or ("estimates" if self._newest else f"waits for {ROWS:,} scored rows")

    def scored(self, batch: pa.RecordBatch, seq: int) -> None:
        """Feed a scored batch; `seq` is its place in the log."""
        read = self._read(batch)
        if read is None or not self._estimator.chosen:
            return
        self._add(read.times, read.answers, self._estimator.used(read.features))

    def outcomes(self, batch: pa.RecordBatch, seq: int) -> None:
        """Feed a batch of outcomes; `seq` is its place in the log."""
        read = self._read(batch)
        if read is None:
            return
        labels = batch.column("label").to_numpy()[read.rows]
        losses = self._loss(read.answers, labels)
        if not self._since:
            self._learn(read.times, read.answers, read.features, losses)
            return
        new = np.flatnonzero(read.times >= self._since)
        self._learn(read.times[new], read.answers[new], read.features[new], losses[new])

    @property
    def dropped(self) -> int:
        """Labelled rows that came so long before their window was full that they were not kept."""
        return self._windows.dropped

    @property
    def _known(self) -> str:
        rows = self._estimator.learned + self._labels
        return f"{rows:,} of {NEEDED:,}"

    def void(self, reason: str, since: int = 0) -> None:
        """What was learned holds no longer: learn anew from rows since (event time, milliseconds).

        Until there are `NEEDED` of them, `stat` has the last estimate and says why it is void.
        """
        self._void = reason
        self._since = since
        self._estimator.forget()
        self._windows.forget()
        self._waiting.clear()
        self._labelled.clear()
        self._held = self._labels = 0

    def stat(self) -> EstimatedLoss | None:
        """The estimate of the newest full window; None before the first one."""
        window, last = self._newest, self._windows.last
        if window is None:
            return None
        void = self._void
        if void:
            void += f"; labelled rows since: {self._known}"
        return EstimatedLoss(
            about=self._spec.name,
            version=self._champion,
            loss=self._spec.loss,
            estimate=window.mean,
            lower=window.lower,
            upper=window.upper,
            rows=window.rows,
            from_time=window.begin,
            data_time=window.end,
            void=void,
            reconciled=self._windows.reconciled,
            last_estimate=last.mean if last else 0.0,
            last_realised=last.realised if last else 0.0,
            last_rows=last.labelled if last else 0,
            last_time=last.end if last else 0,
        )

    def _read(self, batch: pa.RecordBatch) -> Read | None:
        """The rows that the champion answered, with a number; None if there are none."""
        features = batch.column("features")
        if features.type.list_size != len(self._spec.features):
            return None  # rows of another revision of the spec: not what the champion learned from
        version = batch.column("version").to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(version == self._champion)
        if not len(rows):
            return None
        answers = matrix_of(batch.column("answer"))
        finite: NDArray[np.bool_] = np.ones(batch.num_rows, dtype=np.bool_)
        if not np.isfinite(answers).all():
            finite &= np.isfinite(answers).all(axis=1)
        if "label" in batch.schema.names:
            finite &= np.isfinite(batch.column("label").to_numpy())
        good = rows[finite[rows]]
        self.skipped += len(rows) - len(good)
        times = batch.column("event_time").view(pa.int64()).to_numpy()
        if len(good) == batch.num_rows:
            return Read(slice(None), times, answers, matrix_of(features))
        return Read(good, times[good], answers[good], matrix_of(features)[good])

    def _add(self, times: IntArray, answers: Floats32, used: Floats32) -> None:
        start = 0
        while start < len(times):
            part = slice(start, start + ROWS - self._held)
            self._waiting.append((times[part].copy(), answers[part].copy(), used[part]))
            self._held += len(times[part])
            start = part.stop
            if self._held == ROWS:
                self._close()

    def _learn(
        self, times: IntArray, answers: Floats32, features: Floats32, losses: Floats
    ) -> None:
        start = 0
        while start < len(times):
            part = slice(start, start + self._estimator.wanted - self._labels)
            used = self._estimator.used(features[part])
            rows = (times[part].copy(), answers[part].copy(), used, losses[part])
            self._labelled.append(rows)  # copies: no message of the log is held
            self._labels += len(times[part])
            start = part.stop
            if self._labels == self._estimator.wanted:
                self._take()

    def _take(self) -> None:
        """Compare a block of labelled rows with what was expected, then learn it."""
        times, answers, used, losses = map(np.concatenate, zip(*self._labelled, strict=True))
        self._labelled.clear()
        self._labels = 0
        self._windows.labelled(times, losses)
        if self._windows.failed:
            self.void(f"{IN_A_ROW} estimates in a row were wrong on one side", self._since)
        else:
            self._estimator.learn(answers, used, losses)

    def _close(self) -> None:
        """Estimate the window that is full."""
        times, answers, used = map(np.concatenate, zip(*self._waiting, strict=True))
        self._waiting.clear()
        self._held = 0
        if not self._estimator.ready:
            return
        self._void = ""
        expected = self._estimator.expect(answers, used)
        self._newest = self._windows.issue(expected, ROWS, int(times.min()), int(times.max()))

    def state(self) -> bytes:
        """What `restore` goes on from."""
        return msgspec.msgpack.encode(
            State(
                version=STATE,
                model=self._spec.name,
                champion=self._champion,
                loss=self._spec.loss,
                features=len(self._spec.features),
                void=self._void,
                since=self._since,
                skipped=self.skipped,
                newest=astuple(self._newest) if self._newest else (),
                estimator=packed(self._estimator.state()),
                windows=packed(self._windows.state()),
                waiting=packed(joined(WAITING, self._waiting)),
                labelled=packed(joined(LABELLED, self._labelled)),
            )
        )

    @classmethod
    def restore(cls, spec: Spec, champion: int, data: bytes) -> "Estimates":
        """Go on from a `state` of this champion.

        Raises ValueError if it is of another version, champion, loss or set of features.
        """
        state = decode(data)
        made = cls(spec, champion)
        of = (state.version, state.model, state.champion, state.loss, state.features)
        wanted = (STATE, spec.name, champion, spec.loss, len(spec.features))
        if of != wanted:
            raise ValueError(
                f"state is of (version, model, champion, loss, features) {of}; accepted is {wanted}"
            )
        made._void, made._since, made.skipped = state.void, state.since, state.skipped
        made._newest = Window.restore(state.newest) if state.newest else None
        made._estimator.restore(unpacked(state.estimator))
        made._windows.restore(unpacked(state.windows))
        if waiting := unpacked(state.waiting):
            times, answers, used = (waiting[name] for name in WAITING)
            made._waiting, made._held = [(times, answers, used)], len(times)
        if labelled := unpacked(state.labelled):
            times, answers, used, losses = (labelled[name] for name in LABELLED)
            made._labelled, made._labels = [(times, answers, used, losses)], len(times)
        return made
