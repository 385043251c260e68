"""Bad input at every door: an error that helps, and nothing else is disturbed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.contracts import requests
from driftloop.contracts.batches import encode, to_batch
from driftloop.contracts.errors import InvalidInput, InvalidName
from driftloop.contracts.headers import ARROW
from driftloop.local.up import register
from tests.support.processes import Up, driftloop, unready
from tests.support.replaying import dead_letters
from tests.support.telemetry import ask
from tests.support.world import BEGIN_MS, spec_text, world, world_spec

MODEL: Final = "world"
JSON: Final = {"content-type": "application/json"}
SECONDS: Final = 20.0
NAMES: Final = {"a.b": "a.b", "w*": "w*", "w>": "w%3E", "a b": "a%20b"}
"""Names that would mean something else in a subject, and as they stand in a path."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Doors(NamedTuple):
    """A running system: its processes, its HTTP sides, its bus."""

    up: Up
    http: httpx.AsyncClient
    bus: Bus

    async def rows(self, body: bytes, kind: str = "application/json", model: str = MODEL) -> Any:
        """Send rows over HTTP."""
        url = f"{self.up.http('ingest')}/v1/models/{model}/rows"
        return await self.http.post(url, content=body, headers={"content-type": kind})

    async def predict(self, body: bytes, model: str = MODEL) -> Any:
        """Ask for predictions over HTTP."""
        url = f"{self.up.http('inference')}/v1/models/{model}/predict"
        return await self.http.post(url, content=body, headers=JSON)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    """The whole system with one model."""
    folder = tmp_path_factory.mktemp("up")
    spec = folder / "world.toml"
    spec.write_text(spec_text(MODEL))
    up = Up(folder / "data", [spec]).start()
    try:
        await up.ready()
        bus = await Bus.open(up.url, "test", keys=up.keys, user="operator")
        async with httpx.AsyncClient(timeout=SECONDS) as http:
            yield Doors(up, http, bus)
        await bus.close()
    finally:
        up.end()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def undisturbed(doors: Doors, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Good rows sent before and after the bad input are scored, and every service is ready."""
    name = request.node.name
    await _good_rows(doors, f"{name} before")
    yield
    await _good_rows(doors, f"{name} after")
    assert await unready(doors.up) == {}
    assert await dead_letters(doors.bus, MODEL) == []
    assert [p for p in doors.up.said().splitlines() if "ended" in p] == []


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [
        ({"x": "warm"}, ["x", "warm", "a finite number from -10 to 10"]),
        ({"y": None}, ["y: is missing", "a finite number"]),
        ({"y": 11.5}, ["y", "11.5", "10"]),
        ({"place": "moon"}, ["place", "moon", "coast, hill"]),
        ({"colour": "red"}, ["colour", "red", "x, y, place"]),
        ({"event_time": "soon"}, ["event_time", "soon", "ISO 8601"]),
    ],
    ids=["type", "null", "range", "category", "column", "time"],
)
async def test_a_bad_row_is_quarantined_with_a_reason(
    doors: Doors, changed: dict[str, Any], accepted: list[str]
) -> None:
    bad = {"event_id": f"bad {json.dumps(changed)}", **_row(1), **changed}

    answer = await doors.rows(json.dumps([bad]).encode())

    assert answer.status_code == 202
    reason = await _reason(doors, bad["event_id"])
    assert all(part in reason for part in accepted), reason


@pytest.mark.fault(30, "a row without a column")
async def test_a_row_without_a_column_is_quarantined_with_a_reason(doors: Doors) -> None:
    row = {"event_id": "no x", **_row(1)}
    del row["x"]

    assert (await doors.rows(json.dumps([row]).encode())).status_code == 202

    reason = await _reason(doors, "no x")
    assert reason.startswith("x: ")
    assert "missing" in reason
    assert "accepted: a finite number" in reason


@pytest.mark.fault(29, "an infinite value beside good ones")
async def test_an_infinite_value_is_quarantined_and_its_neighbours_are_not(doors: Doors) -> None:
    table = world(3, 3).drop_columns(["label", "label_time"]).to_pylist()
    rows = [{**row, "event_id": f"inf {at}", "y": 0.0} for at, row in enumerate(table)]
    rows[1]["x"] = float("inf")
    batch = encode(to_batch(_table(rows)))

    assert (await doors.rows(batch, ARROW)).status_code == 202

    reason = await _reason(doors, "inf 1")
    assert "x: inf" in reason
    assert "accepted" in reason
    await _scored(doors, ["inf 0", "inf 2"])


@pytest.mark.fault(29, "an infinite number in JSON")
async def test_an_infinite_number_in_json_is_seen_for_what_it_is(doors: Doors) -> None:
    number = (
        b'{"event_id": "1e999", "event_time": 1704067200000, "x": 1e999, "y": 0, "place": "hill"}'
    )

    assert (await doors.rows(number)).status_code == 202
    assert "x: inf" in await _reason(doors, "1e999")
    question = b'{"x": 1e999, "y": 0, "place": "hill"}'
    _refused(await doors.predict(question), 422, "x: inf", "is infinite", "accepted")


async def test_rows_of_an_unknown_model_are_refused(doors: Doors) -> None:
    body = json.dumps([_row(1)]).encode()

    _refused(await doors.rows(body, model="nobody"), 404, "nobody", "accepted")
    _refused(await doors.predict(body, model="nobody"), 404, "nobody", "accepted")


async def test_a_body_of_20_mb_is_refused(doors: Doors) -> None:
    body = b"[" + b" " * (20 << 20) + b"]"

    refused = await doors.rows(body)

    _refused(refused, 413, "body", str(len(body)), "accepted: at most")


@pytest.mark.parametrize("body", [b'{"x": ', b"", b"\xff\xfe", b"12", b'["x"]'])
async def test_a_body_that_is_no_row_is_refused(doors: Doors, body: bytes) -> None:
    answer = await doors.rows(body)

    assert answer.status_code in (400, 422)
    _refused(answer, answer.status_code, "accepted")
    answer = await doors.predict(body)
    assert answer.status_code in (400, 422)
    _refused(answer, answer.status_code, "accepted")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.fault(39, "names that are none, over HTTP and NATS and on the command line")
async def test_a_name_that_is_none_is_refused_at_every_door(doors: Doors, name: str) -> None:
    body = json.dumps([_row(1)]).encode()
    accepted = "a-z, 0-9"

    _refused(await doors.rows(body, model=NAMES[name]), 422, repr(name), accepted)
    _refused(await doors.predict(body, model=NAMES[name]), 422, repr(name), accepted)
    async with Client(doors.up.url, key=f"{doors.up.keys}/client.nk") as client:
        with pytest.raises(InvalidName, match="accepted"):
            await client.send_rows(name, [_row(1)])
    code, _, said = await driftloop(doors.up.url, "why", name, keys=doors.up.keys)
    assert code == 2
    assert repr(name) in said


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("min = -10\nmax = 10", "min = 10\nmax = -10", ["features[0].min: 10", "below the max"]),
        ("holdout = 0.2", "holdout = 2.0", ["training.holdout: 2.0", "0.01 to 0.5"]),
        ("window_rows", "window_row", ["window_row", "accepted"]),
        ('name = "world"', 'name = "w.*"', ["name: 'w.*'", "a-z, 0-9"]),
    ],
    ids=["range", "share", "field", "name"],
)
async def test_a_spec_that_cannot_be_is_refused(
    doors: Doors, tmp_path: Path, before: str, after: str, named: list[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(spec_text(MODEL).replace(before, after, 1))

    for command in ("check", "apply"):
        code, _, said = await driftloop(doors.up.url, "spec", command, file, keys=doors.up.keys)
        assert code == 2
        assert all(part in " ".join(said.split()) for part in named), said


async def test_a_spec_with_an_unknown_estimator_is_refused(doors: Doors, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(spec_text(MODEL).replace("LogisticRegression", "LogisticRegresion"))

    code, _, said = await driftloop(doors.up.url, "spec", "apply", file, keys=doors.up.keys)

    assert code == 2
    assert "training.estimator: 'sklearn.linear_model.LogisticRegresion'" in said
    assert "accepted" in said


async def test_the_registry_itself_refuses_a_spec_that_cannot_be(doors: Doors) -> None:
    spec = world_spec("other")
    low, high = spec.features[0].min, spec.features[0].max
    turned = msgspec.structs.replace(spec.features[0], min=high, max=low)
    bad = msgspec.structs.replace(spec, features=(turned, *spec.features[1:]))

    with pytest.raises(InvalidInput, match=r"features\[0\]\.min: 10.* accepted: a min below"):
        await register(doors.bus, [bad], by="test")


async def test_a_payload_on_the_bus_that_is_nothing_is_refused(doors: Doors) -> None:
    for subject in (requests.send(MODEL, "rows"), requests.infer(MODEL), requests.QUERY_SQL):
        with pytest.raises(Exception, match="accepted"):
            await doors.bus.ask(subject, b"\x00nonsense")


def _row(number: int) -> dict[str, Any]:
    time_ms = BEGIN_MS + number * 60_000
    return {"event_time": time_ms, "x": 0.5, "y": 0.25, "place": "hill"}


def _table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


async def _good_rows(doors: Doors, prefix: str) -> None:
    ids = [f"{prefix} {number}" for number in range(3)]
    rows = [{"event_id": event_id, **_row(at)} for at, event_id in enumerate(ids)]
    assert (await doors.rows(json.dumps(rows).encode())).status_code == 202
    await _scored(doors, ids)


async def _scored(doors: Doors, ids: list[str]) -> None:
    listed = ", ".join(f"'{event_id}'" for event_id in ids).replace("\\", "\\\\")
    sql = f"SELECT count() AS n FROM scored FINAL WHERE event_id IN ({listed})"
    deadline = time.monotonic() + SECONDS
    while (await ask(doors.bus, sql))[0]["n"] != len(ids):
        assert time.monotonic() < deadline, f"not scored within {SECONDS:g} s: {ids}"
        await asyncio.sleep(0.05)


async def _reason(doors: Doors, event_id: str) -> str:
    """Why a row was quarantined."""
    sql = f"SELECT reason FROM quarantine FINAL WHERE event_id = '{event_id}'"
    deadline = time.monotonic() + SECONDS
    while not (found := await ask(doors.bus, sql)):
        assert time.monotonic() < deadline, f"not quarantined within {SECONDS:g} s: {event_id}"
        await asyncio.sleep(0.05)
    return str(found[0]["reason"])


def _refused(answer: httpx.Response, status: int, *named: str) -> None:
    """The answer is problem details that name all of these."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    detail = answer.json()["detail"]
    assert all(part in detail for part in named), detail
