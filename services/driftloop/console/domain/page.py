"""One model as it is now: its card, spec, versions, shadows, runs and what an operator may do."""

from collections.abc import Mapping
from typing import Final

from driftloop.console.api.shapes.live import Card
from driftloop.console.api.shapes.model import (
    Detector,
    Estimate,
    Feature,
    Labels,
    Model,
    RunShort,
    Shadow,
    SpecShort,
    VersionShort,
)
from driftloop.console.domain.evidence import Line
from driftloop.console.domain.live import Live
from driftloop.console.domain.stages import picture
from driftloop.console.domain.times import iso
from driftloop.contracts import state as states
from driftloop.contracts.stats import JoinStats
from driftloop.modelspec.spec import Registered, Spec

RECENT_RUNS: Final = 20
MOST_DETECTORS: Final = 64
Lines = Mapping[tuple[str, str, str, int], Line]


def page(
    card: Card, live: Live, state: states.ModelState, spec: Registered, lines: Lines, now: float
) -> Model:
    """The page at `now` (seconds since 1970); `commands` are those that the state allows."""
    return Model(
        time=iso(now),
        card=card,
        spec=spec_short(spec),
        features=[
            Feature(name=its.name, type=its.type, monitored=its.monitor)
            for its in spec.spec.features
        ],
        versions=[version_short(its) for _, its in sorted(state.versions.items(), reverse=True)],
        shadows=[shadow(state.model, its, lines, spec.spec) for its in state.shadows],
        steps=list(picture(state.run)),
        runs=runs(state)[:RECENT_RUNS],
        runs_started=state.runs_started,
        labels=labels(live.join),
        estimate=estimate(live),
        detectors=detectors(live),
        commands=commands(state),
    )


def commands(state: states.ModelState) -> list[str]:
    """What the registry would carry out now, by the state alone; some of it needs a version."""
    others = state.versions.keys() - {state.champion}
    taken = {its.version for its in state.shadows}
    allowed = {
        "retrain": state.run is None,
        "challenge": bool(state.champion and others - taken),
        "promote": bool(others),
        "approve": state.waiting is not None,
        "deny": state.waiting is not None,
        "rollback": bool(state.past_champions),
        "pause": state.paused is None,
        "resume": state.paused is not None,
        "silence": True,
        "spec": True,
    }
    return [name for name, may in allowed.items() if may]


def spec_short(registered: Registered) -> SpecShort:
    """A spec in a few words."""
    spec = registered.spec
    return SpecShort(
        revision=registered.revision,
        task=spec.task,
        target=spec.target.name,
        classes=list(spec.target.classes),
        estimator=spec.training.estimator,
        triggers=list(spec.triggers.on),
        approval=spec.approval == "required",
        alarms_per_million=spec.drift.alarms_per_million,
    )


def version_short(version: states.Version) -> VersionShort:
    """A version as lists show it."""
    made = version.manifest
    return VersionShort(
        version=made.version,
        stage=version.stage,
        run=version.run,
        estimator=made.estimator,
        window=made.window,
        metrics=dict(made.metrics),
        train_rows=made.train.rows,
        last_seq=made.train.last_seq,
        seconds=made.seconds,
        cpu_seconds=made.cpu_seconds,
        bytes=made.model_bytes,
        spec_revision=made.spec_revision,
        gates_failed=[gate.name for gate in version.gates if not gate.passed],
    )


def runs(state: states.ModelState) -> list[RunShort]:
    """The run in progress, then those that have ended, the newest first."""
    ended = sorted(state.history, key=lambda run: run.started, reverse=True)
    now = [state.run] if state.run is not None else []
    return [run_short(state.model, run) for run in [*now, *ended]]


def run_short(model: str, run: states.Run) -> RunShort:
    """A run as lists show it."""
    return RunShort(
        id=run.id,
        model=model,
        trigger=run.trigger,
        reason=run.reason,
        version=run.version,
        stage="" if run.verdict else run.stage,
        started=iso(run.started),
        finished=iso(run.finished),
        verdict=run.verdict or "",
        outcome=run.outcome,
        steps=list(picture(run)),
    )


def shadow(model: str, its: states.Shadow, lines: Lines, spec: Spec) -> Shadow:
    """A shadow and its evidence; without numbers before the first labelled rows.

    Level and margin of a log of before are those of the spec.
    """
    line = lines.get((model, its.run, its.role, its.version))
    last = line.last if line is not None else None
    return Shadow(
        version=its.version,
        champion=its.champion,
        role=its.role,
        run=its.run,
        rule=its.rule,
        level=its.level if its.level is not None else spec.shadow.level,
        margin=its.margin if its.margin is not None else spec.shadow.margin,
        challenger=its.challenger,
        from_time=its.from_time,
        rows=last.rows if last else 0,
        mean=last.mean if last else None,
        lower=last.lower if last else None,
        upper=last.upper if last else None,
        champion_loss=last.champion_loss if last else None,
        shadow_loss=last.shadow_loss if last else None,
        points=line.points if line is not None else [],
    )


def labels(join: JoinStats | None) -> Labels | None:
    """Where the label join stands."""
    if join is None:
        return None
    return Labels(
        joined=join.outcomes_total,
        waiting_predictions=join.waiting_predictions,
        waiting_labels=join.waiting_labels,
        data_time=join.data_time,
    )


def estimate(live: Live) -> Estimate | None:
    """The newest estimate of the loss."""
    its = live.estimate
    if its is None:
        return None
    return Estimate(
        version=its.version,
        loss=its.loss,
        estimate=its.estimate,
        lower=its.lower,
        upper=its.upper,
        rows=its.rows,
        from_time=its.from_time,
        data_time=its.data_time,
        void=its.void,
    )


def detectors(live: Live) -> list[Detector]:
    """Detectors, the one with the most evidence first."""
    found = sorted(live.detectors.values(), key=lambda its: (-its.evidence, its.detector))
    return [
        Detector(
            name=its.detector,
            mean=its.mean,
            share=its.evidence,
            rows=its.rows,
            data_time=its.data_time,
        )
        for its in found[:MOST_DETECTORS]
    ]
