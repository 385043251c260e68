import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.bus.work import Work
from driftloop.contracts import headers, subjects
from driftloop.contracts.events import SpecRegistered
from driftloop.local.nats import NatsServer
from driftloop.modelspec.rows import from_dicts
from driftloop.runtime import metrics
from driftloop.runtime.service import Service, Wired
from driftloop.validation.handlers import RowChecks
from driftloop.validation.settings import ValidationSettings
from tests.support.flows import (
    eventually,
    held,
    rain_row,
    rain_spec,
    register,
    rows_held,
    running,
)

RECEIVED = subjects.rows("rain", "received")
VALID = subjects.rows("rain", "valid")
QUARANTINED = subjects.rows("rain", "quarantined")


async def wire(settings: ValidationSettings, bus: Bus) -> Wired:
    """The row half of validation alone."""
    checks = RowChecks(bus, settings.batch_bytes)
    work = Work(
        stream="ROWS",
        subjects=("rows.*.received.*",),
        durable="validation-rows",
        handler=checks.check,
        group=settings.group,
    )
    return Wired(tasks=[bus.work(work)])


SERVICE = Service(name="validation", settings=ValidationSettings, wire=wire)


@pytest.fixture
async def checked(bus: Bus, nats_server: NatsServer) -> AsyncIterator[Bus]:
    await register(bus, rain_spec())
    async with running(SERVICE, nats_server.url):
        yield bus


async def send(bus: Bus, rows: list[dict[str, Any]], batch: str = "1", model: str = "rain") -> None:
    message = batch_message(
        subjects.rows(model, "received"),
        from_dicts(rows),
        kind="rows.received",
        source="test",
        msg_id=f"rows.received:{model}:{batch}",
    )
    await bus.publish([message])


async def handled(bus: Bus, rows: int) -> None:
    """Wait until so many rows are valid or in quarantine."""

    async def true() -> bool:
        out = await rows_held(bus, "ROWS", VALID) + await rows_held(bus, "ROWS", QUARANTINED)
        return len(out) >= rows

    await eventually(true, f"{rows} rows are checked")


NEXT_YEAR = int(time.time() * 1000) + 365 * 86_400_000
PLACES = "one of coast, hill, 7"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a text": (
        {"wind": "gale"},
        "wind: 'gale' is not a number; accepted: a finite number from 0 to 200",
    ),
    "an object": (
        {"wind": {"speed": 3}},
        "wind: '{\"speed\":3}' is not a number; accepted: a finite number from 0 to 200",
    ),
    "infinite": (
        {"wind": math.inf},
        "wind: 'inf' is infinite; accepted: a finite number from 0 to 200",
    ),
    "null": ({"wind": None}, "wind: is missing; accepted: a finite number from 0 to 200"),
    "not a number": ({"wind": math.nan}, "wind: is missing; accepted: a finite number from 0 to"),
    "too large": (
        {"wind": 201},
        "wind: '201' is out of range; accepted: a finite number from 0 to 200",
    ),
    "too small": ({"wind": -1}, "wind: '-1' is out of range; accepted: a finite number from 0"),
    "a fraction": ({"day": 1.5}, "day: 1.5 is not a whole number; accepted: a whole number, or"),
    "another category": (
        {"place": "moon"},
        f"place: 'moon' is not a known category; accepted: {PLACES}",
    ),
    "not a boolean": (
        {"summer": "perhaps"},
        "summer: 'perhaps' is not a boolean; accepted: true or false, or null",
    ),
    "no time": (
        {"event_time": "soon"},
        "event_time: 'soon' is not a time; accepted: an ISO 8601 time or milliseconds since 1970",
    ),
    "too early": (
        {"event_time": "1970-01-01"},
        "event_time: '1970-01-01' is too early; accepted: from 2000-01-01",
    ),
    "in the future": (
        {"event_time": NEXT_YEAR},
        f"event_time: '{NEXT_YEAR}' is in the future; accepted: at most 5m ahead",
    ),
    "unknown column": (
        {"colour": "red"},
        "colour: 'red' is an unknown column; accepted: wind, day, place, summer",
    ),
    "no id": ({"event_id": None}, "event_id: is missing; accepted: a text of at most 256"),
}


@pytest.mark.fault(29, "rows with bad values of each kind")
async def test_bad_rows_of_each_kind_are_quarantined_with_field_value_and_what_is_accepted(
    checked: Bus,
) -> None:
    bad = [
        rain_row(at, **{"event_id": kind} | change)
        for at, (kind, (change, _)) in enumerate(BAD.items())
    ]
    good = [rain_row(at) for at in range(100, 103)]
    await send(checked, [good[0], *bad[:7], good[1], *bad[7:], good[2]])
    await handled(checked, len(bad) + len(good))
    quarantined = await rows_held(checked, "ROWS", QUARANTINED)
    told = {row["event_id"] or "no id": row["reason"] for row in quarantined}
    assert set(told) == set(BAD)
    for kind, (_, expected) in BAD.items():
        assert expected in told[kind]
    valid = await rows_held(checked, "ROWS", VALID)
    assert [row["event_id"] for row in valid] == [row["event_id"] for row in good]
    assert [row["features"][0] for row in valid] == [row["wind"] for row in good]


@pytest.mark.fault(30, "a column is missing")
async def test_a_missing_column_is_named(checked: Bus) -> None:
    row = rain_row(1)
    del row["wind"], row["day"]  # `day` may be null
    await send(checked, [row])
    await handled(checked, 1)
    (row,) = await rows_held(checked, "ROWS", QUARANTINED)
    assert row["reason"] == "wind: is missing; accepted: a finite number from 0 to 200"


async def test_what_is_said_is_made_from_the_place_of_the_input(checked: Bus) -> None:
    await send(checked, [rain_row(1), rain_row(2, wind=-1), rain_row(1)])
    await handled(checked, 2)
    (received,) = await held(checked, "ROWS", RECEIVED)
    for state in ("valid", "quarantined"):
        (message,) = await held(checked, "ROWS", subjects.rows("rain", state))
        assert message.headers[headers.INPUT] == received.position
        assert message.headers[headers.MSG_ID] == f"rows.{state}:{received.position}"
        assert message.headers[headers.CAUSATION] == received.event_id
        assert message.headers[headers.ROWS] == "1"


async def test_rows_are_counted_by_what_became_of_them(checked: Bus) -> None:
    before = metrics.values()
    await send(checked, [rain_row(1), rain_row(2, wind=-1), rain_row(1)])
    await handled(checked, 2)

    async def counted() -> bool:
        after = metrics.values()
        states = ("received", "valid", "quarantined", "duplicate")
        names = [f"driftloop_validation_rows_total{{model=rain,state={state}}}" for state in states]
        return [after.get(n, 0.0) - before.get(n, 0.0) for n in names] == [3, 1, 1, 1]

    await eventually(counted, "the counters")


async def test_rows_of_an_unknown_model_and_what_is_no_batch_are_dead_letters(checked: Bus) -> None:
    await send(checked, [rain_row(1)], model="snow")
    broken = batch_message(
        RECEIVED, from_dicts([rain_row(1)]), kind="rows.received", source="test", msg_id="broken"
    )
    await checked.publish([type(broken)(subject=RECEIVED, payload=b"?", headers=broken.headers)])
    await send(checked, [rain_row(2)])
    await handled(checked, 1)

    async def dead() -> bool:
        return len(await held(checked, "DEAD", "dead.>")) == 2

    await eventually(dead, "two dead letters")
    reasons = {m.model: m.headers[headers.REASON] for m in await held(checked, "DEAD", "dead.>")}
    assert reasons["snow"] == "model: 'snow' is not registered; accepted: rain"
    assert "not an Arrow IPC stream" in reasons["rain"]
    assert [row["event_id"] for row in await rows_held(checked, "ROWS", VALID)] == ["e2"]


async def test_a_new_revision_of_the_spec_is_used_from_then_on(checked: Bus) -> None:
    await send(checked, [rain_row(1, wind=150.0)], "1")
    await handled(checked, 1)
    features = [{"name": "wind", "min": 0, "max": 100}]
    await register(checked, rain_spec(features=features, unknown_columns="drop"))
    await checked.emit(SpecRegistered(model="rain", revision=2, by="test"))
    number = 1

    async def refused() -> bool:
        nonlocal number
        number += 1
        await send(checked, [rain_row(number, wind=150.0)], f"{number}")
        await handled(checked, number)
        return bool(await rows_held(checked, "ROWS", QUARANTINED))

    await eventually(refused, "the new range is in force")


async def test_reasons_that_take_more_room_than_a_message_are_split(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, rain_spec())
    async with running(SERVICE, nats_server.url, batch_bytes=20_000):
        await send(bus, [rain_row(n, place="x" * 500) for n in range(200)])
        await handled(bus, 200)
    messages = await held(bus, "ROWS", QUARANTINED)
    assert len(messages) > 1
    assert len({message.headers[headers.MSG_ID] for message in messages}) == len(messages)
    assert sum(message.batch().num_rows for message in messages) == 200
