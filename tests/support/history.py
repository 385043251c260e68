"""A past of one model, made up and said as the services say it, with its rows as plain arrays."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.contracts import events as e
from driftloop.contracts import headers, state, subjects
from driftloop.contracts.alarms import Part
from driftloop.contracts.batches import LABELS, QUARANTINED, matrix_column
from driftloop.contracts.headers import Origin
from driftloop.contracts.stats import DriftScore, EstimatedLoss, JoinStats
from driftloop.modelspec import toml
from driftloop.modelspec.spec import Feature, Registered, Slice, Spec, Target
from tests.support import synthetic as syn

MODEL = "flights"
BEGIN = 1_360_000_000_000
MINUTE = 60_000
ROWS, LABELLED, BATCH = 6_000, 5_600, 200
REIGN = 2_000
"""Rows that each of the versions 1, 2 and 3 answers; half as long the one before answers too."""
SPEC = Spec(
    name=MODEL,
    task="classification",
    target=Target(name="late", classes=("no", "yes")),
    features=(
        Feature(name="temp", nullable=True),
        Feature(name="hour", type="integer", min=0, max=23),
        Feature(name="carrier", type="category", categories=("AA", "B6", "UA"), unseen="accept"),
        Feature(name="wet", type="boolean", monitor=False),
    ),
    slices=(
        Slice(name="united", feature="carrier", value="UA"),
        Slice(name="night", feature="hour", value=3),
    ),
)


class World:
    """The rows: features (rows, 4), answers (rows, 2), labels, versions, and a shadow's answers."""

    def __init__(self, seed: int = 2013) -> None:
        rng = np.random.default_rng(seed)
        at = np.arange(ROWS)
        self.times: NDArray[np.int64] = BEGIN + at * MINUTE
        temp = rng.normal(at / ROWS * 4, 1.0)
        temp[rng.random(ROWS) < 0.05] = np.nan
        hour, carrier = rng.integers(0, 24, ROWS), rng.integers(-1, 3, ROWS)
        wet = rng.integers(0, 2, ROWS)
        self.features = np.stack([temp, hour, carrier, wet], axis=1).astype(np.float32)
        chance = rng.random(ROWS).astype(np.float32)
        self.answers = np.stack([1 - chance, chance], axis=1)
        self.answers[[7, 3_333]] = np.nan
        self.labels = (rng.random(ROWS) < chance).astype(np.float64)
        self.delays: NDArray[np.int64] = rng.integers(1_000, 10_000_000, ROWS)
        self.versions = 1 + at // REIGN
        self.shadow = np.stack([0.8 * chance, 1 - 0.8 * chance], axis=1).astype(np.float32)
        self.shadowed = (at >= REIGN) & (at % REIGN < REIGN // 2)

    def batch(self, start: int, stop: int, *, labelled: bool) -> pa.RecordBatch:
        """Rows as inference scores them, or as feedback joins them."""
        part = slice(start, stop)
        times = pa.array(self.times[part], pa.timestamp("ms", tz="UTC"))
        columns = {
            "event_id": pa.array([f"e{at:05d}" for at in range(start, stop)]),
            "event_time": times,
            "key": pa.array(["UA"] * (stop - start)),
            "features": matrix_column(self.features[part]),
            "version": pa.array(self.versions[part], pa.int32()),
            "answer": matrix_column(self.answers[part]),
        }
        if self.shadowed[start]:
            columns[f"shadow_v{self.versions[start] - 1}"] = matrix_column(self.shadow[part])
        if labelled:
            known = pa.array(self.times[part] + self.delays[part], pa.timestamp("ms", tz="UTC"))
            columns |= {"label": pa.array(self.labels[part]), "label_time": known}
        return pa.RecordBatch.from_pydict(columns)


def message(subject: str, batch: pa.RecordBatch, msg_id: str) -> Outgoing:
    """A batch on its way."""
    return batch_message(subject, batch, kind="test", source="test", msg_id=msg_id)


async def say_rows(bus: Bus, world: World) -> None:
    """Scored rows and outcomes; the third batch of outcomes comes twice."""
    for start in range(0, ROWS, BATCH):
        stop = start + BATCH
        scored = world.batch(start, stop, labelled=False)
        await bus.publish([message(subjects.scored(MODEL), scored, f"scored {start}")])
        if stop <= LABELLED:
            outcomes = world.batch(start, stop, labelled=True)
            copies = ("a", "b") if start == 2 * BATCH else ("a",)
            await bus.publish(
                [message(subjects.outcomes(MODEL), outcomes, f"{start} {c}") for c in copies]
            )


def train_of(version: int) -> e.Dataset:
    """Ten batches of OUTCOMES that a version was trained on (the copy is the fourth message)."""
    first = 5 * version
    return e.Dataset(
        stream="OUTCOMES", first_seq=first, last_seq=first + 9, rows=10 * BATCH, sha256="ab" * 32
    )


def rows_of(data: e.Dataset) -> slice:
    """The rows of a dataset: from the fifth message on, one of the copies is before them."""
    return slice((data.first_seq - 2) * BATCH, (data.last_seq - 1) * BATCH)


def manifest(version: int) -> e.Manifest:
    """What a version is made of."""
    return msgspec.structs.replace(
        syn.manifest(MODEL, version),
        train=train_of(version),
        spec_revision=min(version, 2),
        features=tuple(feature.name for feature in SPEC.features),
        metrics={"brier": 0.2 - 0.01 * version, "log_loss": 0.5},
    )


def gates(version: int) -> tuple[e.Gate, ...]:
    """The gates of a version, one of them of a slice."""
    detail = f"brier on 512 rows: 0.1{version}000 against 0.16000"
    return (
        *syn.gates(),
        e.Gate(name="slice:united", value=-0.1, bound=0.1, passed=True, detail=detail),
    )


def model_state() -> state.ModelState:
    """What the registry keeps: version 3 is champion."""
    made = syn.state(MODEL, 3, None)
    versions = {
        number: msgspec.structs.replace(its, manifest=manifest(number), gates=gates(number))
        for number, its in made.versions.items()
    }
    runs = tuple(
        msgspec.structs.replace(
            syn.run(number, "probation", started=1_000.0 * number),
            verdict="promoted",
            outcome="time is up",
            finished=1_000.0 * number + 60,
        )
        for number in (2, 3)
    )
    return msgspec.structs.replace(made, versions=versions, history=runs, runs_started=2)


def alarm(version: int) -> e.DriftDetected:
    """The alarm that led to a version."""
    time = BEGIN + (version - 1) * REIGN * MINUTE
    part = Part(
        detector="temp",
        shift="covariate",
        feature="temp",
        share=0.75,
        before=0.1,
        after=0.9,
        strength=3.0,
    )
    return msgspec.structs.replace(
        syn.alarm(MODEL, 900 + version),
        detector="temp",
        data_time=time,
        since_time=time - 100 * MINUTE,
        parts=(part,),
    )


def run_of(version: int) -> Iterator[syn.Said]:
    """A run from its alarm on to the end of the probation."""
    origin = Origin()
    for event, origin in syn.promotion(MODEL, version, alarm(version)):
        yield event, origin
    run = f"run-{version:04d}"
    at = Origin(causation=event.event_id(), correlation=run)
    started = e.ShadowStarted(
        model=MODEL,
        run=run,
        version=version - 1,
        champion=version,
        role="probation",
        from_seq=1,
    )
    yield started, at
    at = Origin(causation=started.event_id(), correlation=run)
    concluded = msgspec.structs.replace(
        syn.concluded(MODEL, run, version - 1),
        role="probation",
        champion=version,
        verdict="worse",
        data_time=BEGIN + ((version - 1) * REIGN + REIGN // 2) * MINUTE,
    )
    yield concluded, at
    at = Origin(causation=concluded.event_id(), correlation=run)
    yield (
        e.RunFinished(
            model=MODEL,
            run=run,
            trigger="drift",
            version=version,
            verdict="promoted",
            reason="the old champion is worse",
        ),
        at,
    )


async def say_events(bus: Bus) -> list[syn.Said]:
    """Two runs and two revisions of the spec; the second spec has a description."""
    second = msgspec.structs.replace(SPEC, description="Flights that are late.")
    revision = 0
    for number, spec in enumerate((SPEC, second), 1):
        why = f"reason {number}"
        at = 1_000.0 * number
        kept = Registered(spec=spec, revision=number, by="ana", at=at, reason=why)
        revision = await bus.specs.write(MODEL, kept, revision)
        text = toml.dumps(spec) if number == 2 else ""  # as an older release said it
        await bus.emit(e.SpecRegistered(model=MODEL, revision=number, by="ana", text=text))
    said = [*run_of(2), *run_of(3)]
    for event, origin in said:
        await bus.emit(event, origin)
    await bus.models.write(MODEL, model_state(), 0)
    return said


async def say_stats(bus: Bus, world: World) -> None:
    """Where the detectors and the join stand, and what loss is expected."""
    for n in range(3):
        for detector, evidence in (("temp", 0.1 * n), ("prediction", 0.3), ("wet", 0.5)):
            await bus.stat(
                DriftScore(
                    about=MODEL,
                    detector=detector,
                    mean=0.5,
                    rows=9 + n,
                    seq=n,
                    data_time=BEGIN,
                    evidence=evidence,
                )
            )
    await bus.stat(
        JoinStats(
            about=MODEL,
            outcomes_total=LABELLED,
            waiting_predictions=400,
            waiting_labels=0,
            scored_seq=1,
            labels_seq=1,
            data_time=int(world.times[LABELLED]),
        )
    )
    for void in ("", "the labels are too late"):
        await bus.stat(
            EstimatedLoss(
                about=MODEL,
                version=3,
                loss="brier",
                estimate=0.2,
                lower=0.1,
                upper=0.3,
                rows=1_000,
                from_time=BEGIN,
                data_time=int(world.times[3_000 + 9 * bool(void)]),
                void=void,
            )
        )


async def say_bad_data(bus: Bus) -> None:
    """Rows set aside for three reasons, and two dead letters."""
    wrong = [
        (f"q{n}", f"temp: {n * 1.5} is out of range; accepted: a finite number from 0 to 1")
        for n in range(5)
    ]
    wrong += [("q5", "carrier: 'XX' is not a known category; accepted: one of AA, B6, UA")]
    wrong += [("q6", "hour: is missing; accepted: a whole number from 0 to 23; wet: is missing")]
    made = [(name, None, why, '{"temp":1.5,"hour":3}') for name, why in wrong]
    rows = texts(QUARANTINED, made)
    labels = texts(LABELS, [("e1", "no", None)])
    await bus.publish(
        [
            message(subjects.rows(MODEL, "quarantined"), rows, "quarantined"),
            message(subjects.labels(MODEL), labels, "labels"),
            dead("validation-rows", b"no Arrow", "ROWS:7"),
            dead("drift", world_free_rows(), "SCORED:9"),
        ]
    )


def dead(service: str, payload: bytes, position: str) -> Outgoing:
    """A message that a consumer could not use."""
    said = {
        "Nats-Msg-Id": f"dead:{service}:{position}",
        "content-type": headers.ARROW,
        headers.REASON: "it cannot be read",
        headers.ORIGIN: f"scored.{MODEL}.0 {position}",
    }
    return Outgoing(subject=subjects.dead(service, MODEL), payload=payload, headers=said)


def world_free_rows() -> bytes:
    """Two rows as Arrow."""
    batch = pa.RecordBatch.from_pydict({"a": [1, 2]})
    return message("scored.flights.0", batch, "x").payload


def texts(schema: pa.Schema, given: Sequence[tuple[object, ...]]) -> pa.RecordBatch:
    """Rows of texts in the columns of a schema."""
    made = [dict(zip(schema.names, row, strict=True)) for row in given]
    return pa.RecordBatch.from_pylist(made, schema=schema)
