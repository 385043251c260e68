"""Labels that come early, late, in another order, or for rows that are not theirs."""

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.contracts.state import ModelState
from driftloop.drift.app import SERVICE as DRIFT
from driftloop.feedback.app import SERVICE as FEEDBACK
from driftloop.local.nats import NatsServer
from driftloop.runtime import metrics
from tests.support.faults import Record
from tests.support.flows import eventually, held, register, rows_held, running
from tests.support.ledger import compared, in_log
from tests.support.loop import BEGIN_MS, labels, outcomes, scored, spec

MODEL, OTHER = "tide", "calm"
EXPIRED = f"driftloop_feedback_expired_predictions_rows_total{{model={MODEL}}}"


async def say(bus: Bus, subject: str, batch: pa.RecordBatch, name: str) -> None:
    made = batch_message(subject, batch, kind="x", source="test", msg_id=f"{subject}:{name}")
    await bus.publish([made])


async def predicted(bus: Bus, name: str, ids: Sequence[str], model: str = MODEL) -> None:
    batch = scored(ids, version=1, chances=[0.5] * len(ids))
    await say(bus, subjects.scored(model), batch, name)


async def labelled(
    bus: Bus, name: str, given: Sequence[tuple[str, str | None]], model: str = MODEL
) -> None:
    await say(bus, subjects.labels(model), labels(given), name)


async def given_up(bus: Bus, model: str = MODEL) -> dict[str, str]:
    rows = await rows_held(bus, "DEAD", subjects.dead("feedback", model))
    return {row["event_id"]: row["reason"] for row in rows}


async def outcomes_of(bus: Bus, model: str = MODEL) -> Counter[str]:
    return await in_log(bus, "OUTCOMES", subjects.outcomes(model))


@pytest.mark.fault(22, "labels before their rows, rows without labels; what waits too long")
async def test_what_waits_too_long_is_given_up_and_counted(
    bus: Bus, nats_server: NatsServer, rng: random.Random, record: Record
) -> None:
    await register(bus, spec(join={"labels_wait": "2s", "predictions_wait": "2s"}))
    early = [f"e{n}" for n in range(200)]
    rng.shuffle(early)
    async with running(FEEDBACK, nats_server.url, report_seconds=0.1):
        await labelled(bus, "early", [(name, "yes") for name in early])
        await predicted(bus, "late", [*early, *(f"silent{n}" for n in range(30))])
        await labelled(bus, "lost", [(f"nobody{n}", "yes") for n in range(20)])

        async def done() -> bool:
            counted = metrics.values().get(EXPIRED, 0)
            return len(await given_up(bus)) == 20 and counted == 30

        await eventually(done, "20 labels are given up and 30 predictions")
        # Too late: a label of a prediction that was given up is given up as well.
        await labelled(bus, "after", [("silent0", "no")])

        async def told() -> bool:
            return "silent0" in await given_up(bus)

        await eventually(told, "the late label is given up")
    found = await given_up(bus)
    assert set(found) == {*(f"nobody{n}" for n in range(20)), "silent0"}
    assert set(found.values()) == {"no prediction came for it in time"}
    books = compared(await outcomes_of(bus), early).require()
    record(rows=451, **books.counts)


@pytest.mark.fault(23, "labels for ids that nobody knows, or that are another model's")
async def test_a_label_is_joined_to_rows_of_its_own_model_only(
    bus: Bus, nats_server: NatsServer, record: Record
) -> None:
    for name in (MODEL, OTHER):
        await register(bus, spec(name=name, join={"labels_wait": "1s"}))
    own, foreign = [f"own{n}" for n in range(50)], [f"foreign{n}" for n in range(50)]
    async with running(FEEDBACK, nats_server.url, report_seconds=0.1):
        await predicted(bus, "1", own)
        await predicted(bus, "1", foreign, OTHER)
        await labelled(bus, "1", [(name, "yes") for name in (*own, *foreign, "nobody")])

        async def done() -> bool:
            return len(await given_up(bus)) == 51 and len(await outcomes_of(bus)) == 50

        await eventually(done, "own labels are joined, the others given up")
    assert set(await given_up(bus)) == {*foreign, "nobody"}
    assert set(await outcomes_of(bus)) == set(own)
    assert not await outcomes_of(bus, OTHER)
    record(rows=151, lost=0, doubled=0, refused=51)


@pytest.mark.fault(21, "rows and labels in another order, a tenth of them late")
async def test_another_order_joins_the_same_labels(
    bus: Bus, nats_server: NatsServer, rng: random.Random, record: Record
) -> None:
    ids = [f"e{n}" for n in range(1_000)]
    truth = {name: rng.choice(("no", "yes")) for name in ids}
    found: dict[str, dict[str, float]] = {}
    async with running(FEEDBACK, nats_server.url, report_seconds=0.2):
        for model, late in ((MODEL, 0.0), (OTHER, 0.1)):
            await register(bus, spec(name=model))
            rows, given = reordered(rng, ids, late), reordered(rng, ids, late)
            for at, (some, texts) in enumerate(zip(rows, given, strict=True)):
                await predicted(bus, f"{at}", some, model)
                await labelled(bus, f"{at}", [(name, truth[name]) for name in texts], model)

            async def done(model: str = model) -> bool:
                return len(await outcomes_of(bus, model)) == len(ids)

            await eventually(done, f"all labels of {model} are joined")
            compared(await outcomes_of(bus, model), ids).require()
            joined = await rows_held(bus, "OUTCOMES", subjects.outcomes(model))
            found[model] = {row["event_id"]: row["label"] for row in joined}
    assert found[OTHER] == found[MODEL] == {n: float(truth[n] == "yes") for n in ids}
    record(rows=4_000, lost=0, doubled=0)


def reordered(
    rng: random.Random, ids: list[str], late: float, batches: int = 20
) -> list[list[str]]:
    """The ids in batches; a share of them comes up to three batches later, each batch shuffled."""
    size = len(ids) // batches
    made: list[list[str]] = [[] for _ in range(batches)]
    for at, name in enumerate(ids):
        behind = rng.randint(1, 3) if rng.random() < late else 0
        made[min(at // size + behind, batches - 1)].append(name)
    for batch in made if late else []:
        rng.shuffle(batch)
    return made


@pytest.mark.fault(21, "the rows that drift watches come in another order, a tenth of them late")
async def test_another_order_gives_the_same_verdict_about_drift(
    bus: Bus, nats_server: NatsServer, rng: random.Random, record: Record
) -> None:
    rows, change = 4_000, 2_400
    drawn = np.random.default_rng(rng.randrange(1 << 30))
    features = drawn.normal(size=(rows, 2))
    features[change:, 0] += 2.0
    truth = (drawn.random(rows) < 0.1).astype(np.float64)
    names = [f"{n}" for n in range(rows)]
    for model, late in ((MODEL, 0.0), (OTHER, 0.1)):
        await register(bus, spec(name=model, drift={"reference_rows": 400, "predictions": False}))
        state = ModelState(
            model=model, champion=1, champion_since_scored=1, champion_since_outcomes=1
        )
        await bus.models.write(model, state, 0)
        for number, part in enumerate(reordered(rng, names, late)):
            at = np.array([int(name) for name in part])
            its = {"features": features[at], "version": 1, "chances": [0.1] * len(at)}
            times = [BEGIN_MS + 60_000 * int(n) for n in at]
            batch = scored(part, times=times, **its)
            await say(bus, subjects.scored(model), batch, f"{number}")
            joined = outcomes(truth[at], times=times, **its)
            await say(bus, subjects.outcomes(model), joined, f"{number}")
    async with running(DRIFT, nats_server.url):
        for model in (MODEL, OTHER):
            await eventually(partial(alarmed, bus, model), f"drift of {model}")
    (plain,), (other,) = await alarms(bus, MODEL), await alarms(bus, OTHER)
    assert (plain.feature, other.feature) == ("a", "a")
    # Two batches of 200 rows; and the row that the change is dated by may itself be three late.
    for found, most in ((plain, 400), (other, 400 + 3 * 200)):
        assert abs((found.since_time - BEGIN_MS) / 60_000 - change) <= most
    record(rows=4 * rows)


async def alarms(bus: Bus, model: str) -> list[e.DriftDetected]:
    said = await held(bus, "EVENTS", subjects.event(model, e.DriftDetected.kind))
    return [found for found in (m.event() for m in said) if isinstance(found, e.DriftDetected)]


async def alarmed(bus: Bus, model: str) -> bool:
    return bool(await alarms(bus, model))
