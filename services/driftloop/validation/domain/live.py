"""The live gate: a confidence sequence over paired losses of the champion and a shadow on the same rows."""

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import SHADOW_PREFIX, matrix_of
from driftloop.contracts.events import LiveVerdict, ShadowConcluded
from driftloop.contracts.state import Shadow
from driftloop.contracts.stats import Evidence
from driftloop.evidence import BettingConfidenceSequence, verdict
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec
from driftloop.modelspec.losses import row_loss


class LiveGate:
    """The evidence on one shadow; feed it the outcomes from the shadow's start, in the order of the log."""

    def __init__(self, spec: Spec, shadow: Shadow) -> None:
        challenger = shadow.role == "challenger"
        limits = spec.shadow if challenger else spec.probation
        self._spec, self._shadow = spec, shadow
        self._most = limits.max_rows
        self._longest = durations.milliseconds(limits.max_duration)
        self._loss = row_loss(spec)
        self._sequence = BettingConfidenceSequence(level=spec.shadow.level)
        self._column = f"{SHADOW_PREFIX}{shadow.version}"
        self._sums = [0.0, 0.0]
        self._began = 0
        self._clock = 0

    def update(self, outcomes: pa.RecordBatch) -> bool:
        """Take in the rows both versions answered; returns whether there were any."""
        times = outcomes.column("event_time").cast(pa.int64()).to_numpy()
        self._clock = max(self._clock, int(times.max(initial=0)))
        self._began = self._began or self._clock
        paired = self._paired(outcomes)
        if paired is None:
            return False
        champion, shadow = paired
        self._sums = [self._sums[0] + float(champion.sum()), self._sums[1] + float(shadow.sum())]
        self._sequence.update(champion - shadow)
        return True

    def _paired(
        self, outcomes: pa.RecordBatch
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        if self._column not in outcomes.schema.names:
            return None
        version = outcomes.column("version").to_numpy(zero_copy_only=False)
        shadow = outcomes.column(self._column)
        rows = (version == self._shadow.champion) & shadow.is_valid().to_numpy(zero_copy_only=False)
        at = np.flatnonzero(rows)[: self._most - self._sequence.interval.rows]
        if not len(at):
            return None
        labels = outcomes.column("label").to_numpy()[at]
        live = self._loss(matrix_of(outcomes.column("answer"))[at], labels)
        return live, self._loss(matrix_of(shadow)[at], labels)

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
            lower=min(interval.lower, interval.upper),
            upper=max(interval.lower, interval.upper),
            margin=self._spec.shadow.margin,
            champion_loss=self._sums[0] / rows,
            shadow_loss=self._sums[1] / rows,
            data_time=self._clock,
        )

    def concluded(self) -> ShadowConcluded | None:
        """The verdict once the evidence is in, or the rows or the time are used up; else None."""
        interval, margin = self._sequence.interval, self._spec.shadow.margin
        found: LiveVerdict = verdict(interval, margin)
        enough = interval.rows >= self._spec.shadow.min_rows
        if found != "undecided" and enough:
            return self._conclude(found, "the confidence sequence excludes the margin")
        if interval.rows >= self._most:
            return self._conclude("undecided", f"no evidence either way after {self._most} rows")
        if self._began and self._clock - self._began > self._longest:
            return self._conclude("undecided", "no evidence either way within max_duration")
        return None

    def _conclude(self, found: LiveVerdict, why: str) -> ShadowConcluded:
        said, shadow = self.evidence(), self._shadow
        what = f"version {shadow.version} against champion {shadow.champion}"
        numbers = (
            f"{self._spec.loss} difference {said.mean:+.5f} "
            f"in [{said.lower:+.5f}, {said.upper:+.5f}] on {said.rows} rows"
        )
        if self._sequence.interval.contradictory:
            numbers += " (the bounds crossed: the difference moved while it was watched)"
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
