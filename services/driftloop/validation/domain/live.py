"""The live gate: a confidence sequence over losses of champion and shadow on the same rows."""

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import SHADOW_PREFIX, matrix_of
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import LiveVerdict, ShadowConcluded
from driftloop.contracts.state import Shadow
from driftloop.contracts.stats import Evidence
from driftloop.evidence import BettingConfidenceSequence, verdict
from driftloop.modelspec import durations
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Spec

LOOK = 32


class LiveGate:
    """The evidence on one shadow; feed it the outcomes from its start on, in the order of the log.

    It looks for a verdict every `LOOK` paired rows, so how the log is cut into batches changes
    nothing. Rows that were held up and happened before the shadow's start are left out: they show
    how the world was before. `late` counts those it would have judged. Its level and margin are
    those that the registry wrote down at the start: a new spec changes no trial under way.
    """

    def __init__(self, spec: Spec, shadow: Shadow) -> None:
        challenger = shadow.role == "challenger"
        limits = spec.shadow if challenger else spec.probation
        self._spec, self._shadow = spec, shadow
        self._most = limits.max_rows
        self._longest = durations.milliseconds(limits.max_duration)
        self._loss = row_loss(spec)
        self._level = spec.shadow.level if shadow.level is None else shadow.level
        self._margin = spec.shadow.margin if shadow.margin is None else shadow.margin
        self._sequence = BettingConfidenceSequence(level=self._level, margin=self._margin)
        self._column = f"{SHADOW_PREFIX}{shadow.version}"
        self._sums = [0.0, 0.0]
        self.late = 0
        self._began = 0
        self._clock = 0
        self._concluded: ShadowConcluded | None = None

    def update(self, outcomes: pa.RecordBatch) -> bool:
        """Take in the rows both versions answered; returns whether there were any."""
        before = self._sequence.interval.rows
        if self._concluded is not None:
            return False
        outcomes, times = self._in_time(outcomes)
        if not len(times):
            return False
        self._began = self._began or int(times[0])
        clock = np.maximum.accumulate(np.maximum(times, self._clock))
        end = int(np.searchsorted(clock, self._began + self._longest, side="right"))
        self._clock = int(clock[-1] if end == len(clock) else clock[end])
        self._play(*self._paired(outcomes.slice(0, end)))
        if self._concluded is None and end < len(clock):
            self._concluded = self._conclude("undecided", self._why_undecided("max_duration"))
        return self._sequence.interval.rows > before

    def _in_time(self, outcomes: pa.RecordBatch) -> tuple[pa.RecordBatch, NDArray[np.int64]]:
        """The rows that happened after the shadow's start, and their event times."""
        times = outcomes.column("event_time").cast(pa.int64()).to_numpy()
        there = times > self._shadow.from_time
        if there.all():
            return outcomes, times
        self.late += len(self._paired(outcomes.filter(pa.array(~there)))[0])
        return outcomes.filter(pa.array(there)), times[there]

    def _play(self, champion: NDArray[np.float64], shadow: NDArray[np.float64]) -> None:
        """Take in paired losses up to the first verdict."""
        at = 0
        while at < len(champion) and self._concluded is None:
            rows = self._sequence.interval.rows
            end = at + min(LOOK - rows % LOOK, self._most - rows)
            live, other = champion[at:end], shadow[at:end]
            self._sums = [self._sums[0] + float(live.sum()), self._sums[1] + float(other.sum())]
            self._sequence.update(live - other)
            at = end
            self._look()

    def _paired(self, outcomes: pa.RecordBatch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Losses of the champion and the shadow on the rows both answered with finite numbers.

        Raises `Reject` if labels or the champion's answers have no loss; a shadow's end its trial.
        """
        if self._column not in outcomes.schema.names:
            return np.empty(0), np.empty(0)
        version = outcomes.column("version").to_numpy(zero_copy_only=False)
        shadow = outcomes.column(self._column)
        at = np.flatnonzero(
            (version == self._shadow.champion) & shadow.is_valid().to_numpy(zero_copy_only=False)
        )
        labels = outcomes.column("label").to_numpy()[at]
        try:
            live = self._loss(matrix_of(outcomes.column("answer"))[at], labels)
        except ValueError as error:
            raise Reject(
                f"rows without a loss of version {self._shadow.champion}: {error}"
            ) from error
        try:
            other = self._loss(matrix_of(shadow)[at], labels)
        except ValueError as error:
            self._concluded = self._conclude("worse", f"its answers have no loss ({error})")
            return np.empty(0), np.empty(0)
        both = np.isfinite(live) & np.isfinite(other)
        return live[both], other[both]

    def evidence(self) -> Evidence:
        """Where the confidence sequence stands."""
        interval, rows = self._sequence.interval, max(self._sequence.interval.rows, 1)
        return Evidence(
            about=self._spec.name,
            run=self._shadow.run,
            role=self._shadow.role,
            version=self._shadow.version,
            champion=self._shadow.champion,
            rows=interval.rows,
            mean=0.0 if math.isnan(interval.mean) else interval.mean,
            lower=interval.lower,
            upper=interval.upper,
            margin=self._margin,
            champion_loss=self._sums[0] / rows,
            shadow_loss=self._sums[1] / rows,
            data_time=self._clock,
        )

    def concluded(self) -> ShadowConcluded | None:
        """The verdict once the evidence is in, or the rows or the time are used up; else None."""
        return self._concluded

    def _look(self) -> None:
        interval = self._sequence.interval
        found: LiveVerdict = verdict(interval, self._margin)
        last = interval.rows >= self._most
        enough = interval.rows >= self._spec.shadow.min_rows
        if found != "undecided" and enough and (last or interval.rows % LOOK == 0):
            self._concluded = self._conclude(found, self._why(found))
        elif last:
            self._concluded = self._conclude("undecided", self._why_undecided("max_rows"))

    def _why(self, found: LiveVerdict) -> str:
        rule = self._shadow.rule.replace("_", "-")
        side = "over" if found == "better" else "under"
        return f"{found} by {rule}: {side} {self._margin:+.5f} at level {self._level:.3g}"

    def _why_undecided(self, limit: str) -> str:
        if self._sequence.interval.rows < self._spec.shadow.min_rows:
            return f"too few labelled rows that both answered within {limit}"
        return f"no evidence either way at level {self._level:.3g} within {limit}"

    def _conclude(self, found: LiveVerdict, why: str) -> ShadowConcluded:
        said, shadow = self.evidence(), self._shadow
        what = f"version {shadow.version} against champion {shadow.champion}"
        numbers = (
            f"{self._spec.loss} difference {said.mean:+.5f} "
            f"in [{said.lower:+.5f}, {said.upper:+.5f}] on {said.rows} rows"
        )
        if self.late:
            numbers += f"; {self.late} late rows of before its start were left out"
        return ShadowConcluded(
            model=said.about,
            data_time=said.data_time,
            run=shadow.run,
            version=shadow.version,
            champion=shadow.champion,
            role=shadow.role,
            verdict=found,
            lower=said.lower,
            upper=said.upper,
            mean=said.mean,
            rows=said.rows,
            reason=f"{what}: {why}; {numbers}",
        )
