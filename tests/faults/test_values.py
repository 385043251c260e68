"""Numbers that are none, and columns that are not those of the spec."""

import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.state import ModelState
from driftloop.drift.app import SERVICE as DRIFT
from driftloop.local.nats import NatsServer
from driftloop.modelspec.rows import from_dicts
from driftloop.validation.app import SERVICE as VALIDATION
from tests.support.faults import Record
from tests.support.flows import eventually, held, rain_row, rain_spec, register, rows_held, running
from tests.support.loop import BEGIN_MS, scored, spec

MODEL = "tide"
ODD: tuple[Any, ...] = (
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    -1e308,
    3.5e38,
    None,
    "",
    -0.0,
    5e-324,
)
"""Of these, `b` of the spec may be missing, `a` may not."""
BATCH = 200


def subject_of(model: str, state: Any) -> str:
    return subjects.rows(model, state)


async def say_rows(bus: Bus, model: str, name: str, rows: pa.RecordBatch) -> None:
    message = batch_message(
        subject_of(model, "received"), rows, kind="rows.received", source="test", msg_id=name
    )
    await bus.publish([message])


async def checked(bus: Bus, model: str, rows: int) -> tuple[list[Any], list[Any]]:
    """Valid and quarantined rows, as soon as there are so many of them."""
    found: list[list[Any]] = [[], []]

    async def done() -> bool:
        for at, state in enumerate(("valid", "quarantined")):
            found[at] = await rows_held(bus, "ROWS", subject_of(model, state))
        return len(found[0]) + len(found[1]) >= rows

    await eventually(done, f"{rows} rows are checked")
    return found[0], found[1]


async def features_of(bus: Bus, model: str) -> Matrix:
    messages = await held(bus, "ROWS", subject_of(model, "valid"))
    return np.concatenate([matrix_of(m.batch().column("features")) for m in messages])


@pytest.mark.fault(29, "NaN, infinities, 1e308, -0, nothing; then a shift that drift must see")
async def test_no_number_that_is_none_reaches_a_model_or_a_detector(
    bus: Bus, nats_server: NatsServer, rng: random.Random, record: Record
) -> None:
    await register(bus, spec(drift={"reference_rows": 400, "predictions": False}))
    drawn = np.random.default_rng(rng.randrange(1 << 30))
    sent, odd = 0, 0
    async with running(VALIDATION, nats_server.url):
        for number in range(20):
            shift = 5.0 if number >= 12 else 0.0
            rows: list[dict[str, Any]] = []
            for at in range(BATCH):
                a, b = drawn.normal() + shift, drawn.normal()
                row = {"event_id": f"{sent + at}", "event_time": BEGIN_MS + 60_000 * (sent + at)}
                if rng.random() < 0.05:
                    odd += 1
                    column = rng.choice("ab")
                    rows.append({**row, "a": a, "b": b, column: rng.choice(ODD)})
                else:
                    rows.append({**row, "a": a, "b": b})
            sent += BATCH
            await say_rows(bus, MODEL, f"{number}", from_dicts(rows))
        valid, quarantined = await checked(bus, MODEL, sent)
    assert len(valid) + len(quarantined) == sent
    assert 0 < len(quarantined) < odd
    assert all(row["reason"].split(":")[0] in ("a", "b") for row in quarantined)
    features = await features_of(bus, MODEL)
    assert np.isfinite(features[:, 0]).all()
    assert not np.isinf(features).any()
    await watched(bus, nats_server, features)
    record(rows=sent, lost=0, doubled=0, refused=len(quarantined), injections=odd)


async def watched(bus: Bus, server: NatsServer, features: Matrix) -> None:
    """Drift sees the shift in what validation let through, and says nothing that is no number."""
    state = ModelState(model=MODEL, champion=1, champion_since_scored=1, champion_since_outcomes=1)
    await bus.models.write(MODEL, state, 0)
    async with running(DRIFT, server.url, score_seconds=0.2):
        for at in range(0, len(features), BATCH):
            part = features[at : at + BATCH]
            ids = [f"{at + n}" for n in range(len(part))]
            times = [BEGIN_MS + 60_000 * (at + n) for n in range(len(part))]
            batch = scored(ids, features=part, version=1, chances=[0.5] * len(part), times=times)
            subject = subjects.scored(MODEL)
            await bus.publish(
                [batch_message(subject, batch, kind="x", source="test", msg_id=f"s{at}")]
            )

        async def alarmed() -> bool:
            return bool(await held(bus, "EVENTS", subjects.event(MODEL, "drift.detected")))

        await eventually(alarmed, "the shift is seen")
    (message, *_) = await held(bus, "EVENTS", subjects.event(MODEL, "drift.detected"))
    alarm = message.event()
    assert isinstance(alarm, e.DriftDetected)
    assert alarm.feature == "a"
    assert all(map(math.isfinite, (alarm.before, alarm.after, alarm.strength)))
    assert alarm.after > alarm.before
    assert alarm.strength > 1.0, (
        "in standard deviations of a row, though the change may begin early"
    )
    for said in await held(bus, "STATS", f"stats.*.{MODEL}"):
        assert b"NaN" not in said.payload
        assert b"Infinity" not in said.payload


@pytest.mark.fault(30, "columns moved, missing, new, of another type")
async def test_columns_are_taken_by_name_and_what_is_not_the_spec_is_told(
    bus: Bus, nats_server: NatsServer, rng: random.Random, record: Record
) -> None:
    await register(bus, rain_spec())
    plain = [rain_row(n) for n in range(100)]
    moved = []
    for row in plain:
        names = list(row)
        rng.shuffle(names)
        moved.append({name: row[name] for name in names} | {"event_id": f"moved-{row['event_id']}"})
    texts = [
        {name: value if value is None else str(value) for name, value in row.items()}
        | {"event_id": f"text-{row['event_id']}", "event_time": row["event_time"]}
        for row in plain
    ]
    wrong: dict[str, tuple[list[dict[str, Any]], str]] = {
        "missing": ([without(row, "wind") for row in plain], "wind: is missing"),
        "new": ([{**row, "colour": "red"} for row in plain], "colour: 'red' is an unknown column"),
        "swapped": (
            [{**row, "wind": row["place"], "place": row["wind"]} for row in plain],
            "is not a number",
        ),
    }
    async with running(VALIDATION, nats_server.url):
        for name, rows in (("plain", plain), ("moved", moved), ("texts", texts)):
            await say_rows(bus, "rain", name, pa.RecordBatch.from_pylist(rows))
        await checked(bus, "rain", 300)
        for name, (rows, _) in wrong.items():
            named = [{**row, "event_id": f"{name}-{row['event_id']}"} for row in rows]
            await say_rows(bus, "rain", name, pa.RecordBatch.from_pylist(named))
        valid, quarantined = await checked(bus, "rain", 600)
    assert (len(valid), len(quarantined)) == (300, 300)
    matrix = await features_of(bus, "rain")
    assert np.array_equal(matrix[:100], matrix[100:200], equal_nan=True)
    assert np.array_equal(matrix[:100], matrix[200:], equal_nan=True)
    for name, (_, reason) in wrong.items():
        told = [row["reason"] for row in quarantined if row["event_id"].startswith(f"{name}-")]
        assert len(told) == 100
        assert all(reason in text for text in told), told[0]
    record(injections=5, rows=600, lost=0, doubled=0, refused=300)


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
