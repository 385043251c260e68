"""What the registry counts: triggers and what came of them, runs, and the time of their stages."""

import contextlib
import time
from typing import Final

from driftloop.contracts.events import RetrainRequested, RunFinished, TriggerDeclined
from driftloop.contracts.state import ModelState, Run
from driftloop.runtime import metrics

TRIGGERS: Final = metrics.counter(
    "triggers",
    "Triggers by what came of them: started (a run), kept (for later) or declined",
    ["model", "decision"],
)
STARTED: Final = metrics.counter("runs_started", "Runs that began", ["model", "trigger"])
FINISHED: Final = metrics.counter("runs_finished", "Runs that ended", ["model", "verdict"])
STAGE_SECONDS: Final = metrics.histogram(
    "run_stage_seconds",
    "Time a run spent in a stage, by the wall's clock",
    ["stage"],
    buckets=metrics.STAGE_BUCKETS,
)
DEADLINE: Final = metrics.gauge(
    "run_deadline_timestamp_seconds",
    "When the present stage of a run is given up, in seconds since 1970; none without a run",
    ["model", "stage"],
)
PAUSED: Final = metrics.gauge(
    "model_paused", "Whether an operator has paused a model (1)", ["model"]
)
DECISIONS: Final = ("started", "kept", "declined")


class StageClock:
    """Since when the present stage of each model's run goes on, as far as this process saw."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, str, float]] = {}

    def moved(self, before: ModelState, after: ModelState) -> None:
        """A decision was written: count what it says."""
        for said in after.outbox:
            _count(said.event)
        if after.deferred is not None and after.deferred != before.deferred:
            TRIGGERS.labels(after.model, "kept").inc()
        self._stages(before.run, after.run, after.model)

    def _stages(self, before: Run | None, after: Run | None, model: str) -> None:
        was = (before.id, before.stage) if before is not None else None
        now = (after.id, after.stage) if after is not None else None
        if was == now:
            return
        since = self._since.pop(model, None)
        if was is not None and since is not None and since[:2] == was:
            STAGE_SECONDS.labels(was[1]).observe(time.monotonic() - since[2])
        if now is not None:
            self._since[model] = (*now, time.monotonic())


class Standing:
    """Where each model stands, as gauges."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        """The stage of each model that has a deadline."""

    def now(self, model: str, state: ModelState | None) -> None:
        """A model stands here; None: it is gone."""
        if (stage := self._told.pop(model, None)) is not None:
            DEADLINE.remove(model, stage)
        if state is None:
            with contextlib.suppress(KeyError):
                PAUSED.remove(model)
            return
        for decision in DECISIONS:
            TRIGGERS.labels(model, decision)  # 0 is told, so that the first one is a rise
        FINISHED.labels(model, "failed")
        PAUSED.labels(model).set(state.paused is not None)
        if state.run is not None and state.run.deadline:
            self._told[model] = state.run.stage
            DEADLINE.labels(model, state.run.stage).set(state.run.deadline)


def _count(event: object) -> None:
    match event:
        case RetrainRequested():
            TRIGGERS.labels(event.model, "started").inc()
            STARTED.labels(event.model, event.trigger).inc()
        case TriggerDeclined():
            TRIGGERS.labels(event.model, "declined").inc()
        case RunFinished():
            FINISHED.labels(event.model, event.verdict).inc()
