"""Made-up events, states and measurements of a run of the loop, as the services say them."""

import math
from collections.abc import Iterator, Sequence

from driftloop.contracts import events as e
from driftloop.contracts.facts import Fact, fact
from driftloop.contracts.headers import Origin, headers
from driftloop.contracts.state import ModelState, Run, Shadow, Version
from driftloop.contracts.stats import DriftScore, Evidence, JoinStats, ServiceStats

Said = tuple[e.AnyEvent, Origin]

FEBRUARY = 1_360_000_000_000


def dataset(first: int, rows: int) -> e.Dataset:
    """A range of OUTCOMES."""
    return e.Dataset(
        stream="OUTCOMES",
        first_seq=first,
        last_seq=first + rows // 256,
        rows=rows,
        sha256="ab" * 32,
    )


def manifest(model: str, version: int) -> e.Manifest:
    """What a version is made of."""
    return e.Manifest(
        model=model,
        version=version,
        model_sha256=f"{version:02d}" * 32,
        model_bytes=214_000,
        train=dataset(100 * version, 30_000),
        holdout=dataset(100 * version + 118, 3_000),
        holdout_answers_sha256="cd" * 32,
        snapshot_sha256="ef" * 32,
        spec_revision=1,
        features=("hour", "temp"),
        width=2,
        estimator="default",
        window="since the change",
        metrics={"log_loss": 0.4812, "brier": 0.1561, "auc": 0.7034},
        seconds=12.3,
        cpu_seconds=11.9,
        environment={"python": "3.11"},
    )


def gates() -> tuple[e.Gate, ...]:
    """Two gates that passed."""
    return (
        e.Gate(name="loss", value=0.1561, bound=0.1602, passed=True),
        e.Gate(name="parity", value=2e-7, bound=1e-4, passed=True),
    )


def alarm(model: str, seq: int = 900) -> e.DriftDetected:
    """A drift alarm."""
    return e.DriftDetected(
        model=model,
        data_time=FEBRUARY,
        stream="SCORED",
        seq=seq,
        row=17,
        detector="feature:temp",
        before=0.012,
        after=0.183,
        strength=9.31,
        since_time=FEBRUARY - 86_400_000,
        rows_since=4_210,
        shift="covariate",
        feature="temp",
    )


def promotion(model: str, version: int, cause: e.AnyEvent | None = None) -> Iterator[Said]:
    """The events of a run from its trigger to its promotion, each with what it answers."""
    run = f"run-{version:04d}"
    first = cause or alarm(model, 900 + version)
    yield first, Origin()
    at = Origin(causation=first.event_id(), correlation=run)
    asked = e.RetrainRequested(
        model=model,
        run=run,
        trigger="drift",
        reason="temp shifted",
        version=version,
        spec_revision=1,
    )
    yield asked, at
    at = Origin(causation=asked.event_id(), correlation=run)
    made = manifest(model, version)
    yield (
        e.TrainingStarted(
            model=model,
            run=run,
            version=version,
            train=made.train,
            holdout=made.holdout,
            window=made.window,
        ),
        at,
    )
    chain: Sequence[e.AnyEvent] = (
        e.CandidateTrained(
            model=model, run=run, version=version, manifest=made, manifest_sha256="aa" * 32
        ),
        e.CandidateApproved(model=model, run=run, version=version, gates=gates(), seconds=1.4),
        e.ShadowStarted(
            model=model,
            run=run,
            version=version,
            champion=version - 1,
            role="challenger",
            from_seq=1_200,
        ),
        concluded(model, run, version),
        e.ModelPromoted(
            model=model,
            run=run,
            version=version,
            previous=version - 1,
            model_sha256=made.model_sha256,
            reason="better on 1,840 paired rows",
        ),
    )
    for event in chain:
        yield event, at
        at = Origin(causation=event.event_id(), correlation=run)


def concluded(model: str, run: str, version: int) -> e.ShadowConcluded:
    """The live gate's verdict on a challenger."""
    return e.ShadowConcluded(
        model=model,
        run=run,
        version=version,
        champion=version - 1,
        role="challenger",
        verdict="better",
        lower=0.0012,
        upper=0.0213,
        mean=0.0113,
        rows=1_840,
        reason="lower bound above the margin",
    )


def facts(said: Sequence[Said], first_seq: int = 1) -> list[Fact]:
    """The events as they are read back from the log."""
    return [
        fact(first_seq + at, _headers(event, origin), event)
        for at, (event, origin) in enumerate(said)
    ]


def _headers(event: e.AnyEvent, origin: Origin) -> dict[str, str]:
    return headers(
        kind=event.kind,
        source="test",
        subject=event.model,
        msg_id=event.event_id(),
        content_type="application/msgpack",
        origin=origin,
    )


def run(version: int, stage: str = "shadowing", started: float = 0.0) -> Run:
    """A run in progress."""
    return Run(
        id=f"run-{version:04d}",
        trigger="drift",
        trigger_id="drift.detected:x",
        reason="covariate shift of temp",
        version=version,
        stage=stage,  # type: ignore[arg-type]  # a stage, said as text
        deadline=started + 3_600,
        started=started,
        cause="drift.detected:x",
    )


def state(
    model: str, champion: int, running: Run | None, history: tuple[Run, ...] = ()
) -> ModelState:
    """A model with a champion and, while a run is shadowing, a challenger."""
    shadows = (
        (
            Shadow(
                version=running.version,
                champion=champion,
                role="probation" if running.stage == "probation" else "challenger",
                run=running.id,
                from_seq=1_200,
                started_id="shadow.started:x",
            ),
        )
        if running and running.stage in ("shadowing", "probation")
        else ()
    )
    return ModelState(
        model=model,
        champion=champion,
        next_version=champion + 2,
        versions={
            n: Version(
                manifest=manifest(model, n),
                manifest_sha256="aa" * 32,
                run=f"run-{n:04d}",
                stage="champion" if n == champion else "retired",
            )
            for n in range(1, champion + 1)
        },
        shadows=shadows,
        run=running,
        history=history,
        runs_started=len(history) + (running is not None),
    )


def evidence(model: str, version: int, rows: int, gain: float = 0.011) -> Evidence:
    """The confidence sequence of a challenger after `rows` rows: it narrows around `gain`."""
    half = 1.2 / math.sqrt(rows + 10)
    mean = gain + 0.4 * math.sin(rows / 130) / (rows + 40) ** 0.7
    return Evidence(
        about=model,
        run=f"run-{version:04d}",
        role="challenger",
        version=version,
        champion=version - 1,
        rows=rows,
        mean=mean,
        lower=mean - half,
        upper=mean + half,
        margin=0.0,
        champion_loss=0.1733,
        shadow_loss=0.1733 - mean,
        data_time=FEBRUARY,
    )


def service(name: str, started: float, cpu: float, **counters: float) -> ServiceStats:
    """One sample of a healthy service; counters as `scored_rows__flights=10`."""
    return ServiceStats(
        about=name,
        pid=1,
        url="http://127.0.0.1:8800",
        started=started,
        ready=True,
        reason="",
        rss_bytes=148_000_000,
        cpu_seconds=cpu,
        counters={_counter(name): value for name, value in counters.items()},
    )


def _counter(name: str) -> str:
    what, _, model = name.partition("__")
    return f"driftloop_{what}_total{{model={model}}}" if model else f"driftloop_{what}_total"


def score(
    model: str, detector: str, *, share: float = 0.1, mean: float = 0.2, rows: int = 3_000
) -> DriftScore:
    """Where a detector stands."""
    return DriftScore(
        about=model,
        detector=detector,
        mean=mean,
        rows=rows,
        seq=1,
        data_time=0,
        evidence=share,
    )


def join(model: str, outcomes: int) -> JoinStats:
    """Where the label join stands."""
    return JoinStats(
        about=model,
        outcomes_total=outcomes,
        waiting_predictions=1_204,
        waiting_labels=3,
        scored_seq=1,
        labels_seq=1,
        data_time=FEBRUARY,
    )
