"""Orders over HTTP with the rights of the console's own key: who may, why, what came of it."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio
from fastapi import FastAPI

from driftloop.bus.bus import Bus
from driftloop.bus.rights import ADMIN, CLIENT, OPERATOR
from driftloop.client.client import Client
from driftloop.console.api.actions import RULES, add_actions
from driftloop.console.login import COOKIE
from driftloop.console.orders import Orders
from driftloop.contracts import tokens
from driftloop.contracts.tokens import Scope
from driftloop.local.up import register
from driftloop.modelspec.toml import dumps
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.problems import explain
from driftloop.runtime.settings import Shared
from tests.support.access import made
from tests.support.accounting import rows, system
from tests.support.flows import eventually, held, rain_spec
from tests.support.secured import secured

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHY = {"reason": "because", "by": "ann"}


class World(NamedTuple):
    """A running system whose admin `bus` is, and its console's orders, behind tokens and not."""

    bus: Bus
    operator: Bus
    url: str
    keys: str
    open: httpx.AsyncClient
    guarded: httpx.AsyncClient
    access: Access

    async def model(self, name: str) -> None:
        """Register a model."""
        await register(self.operator, [rain_spec(name=name)], by="test")

    async def token(self, name: str, scope: Scope, models: Sequence[str]) -> dict[str, str]:
        """The header of a new token."""
        token, header = made(name, scope, models=tuple(models))
        await self.operator.ask(tokens.ask("create"), msgspec.msgpack.encode(token))
        await self.access.look()
        return header

    async def asked(self, model: str) -> list[Any]:
        """What operators asked for, as the log has it."""
        found = await held(self.bus, "EVENTS", f"events.{model}.operator.requested")
        return [message.event() for message in found]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Ingest, validation and the registry as processes; the console's orders in this one."""
    folder = tmp_path_factory.mktemp("system")
    async with (
        secured(folder) as broker,
        broker.user(ADMIN) as bus,
        system(broker.server.url, folder, ("ingest", "validation", "registry"), broker.keys),
        broker.user("console") as own,
        contextlib.AsyncExitStack() as stack,
    ):
        operator = await Bus.open(broker.server.url, "cli", keys=broker.keys, user=OPERATOR)
        stack.push_async_callback(operator.close)
        doors: list[tuple[httpx.AsyncClient, Access]] = []
        for needed in ("off", "required"):
            settings = Shared(keys=broker.keys, tokens=needed)
            access = Access(own, settings)
            app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
            explain(app)
            add_actions(app, Orders(own, settings))
            transport = httpx.ASGITransport(app=Guarded(app, access, RULES, cookie=COOKIE))
            client = httpx.AsyncClient(transport=transport, base_url="http://console")
            doors.append((await stack.enter_async_context(client), access))
        (free, _), (guarded, access) = doors
        yield World(bus, operator, broker.server.url, broker.keys, free, guarded, access)
        assert own.connection.denials == 0, own.connection.denied


async def post(client: httpx.AsyncClient, path: str, **more: Any) -> tuple[int, Any]:
    """Status and document of an order."""
    more.setdefault("json", WHY)
    answer = await client.post(path, **more)
    good = answer.status_code == 200
    assert answer.headers["content-type"] == f"application/{'json' if good else 'problem+json'}"
    return answer.status_code, answer.json()


async def test_each_order_is_carried_out_by_the_registry_with_who_and_why(world: World) -> None:
    await world.model("fog")
    status, done = await post(world.open, "/api/models/fog/pause")
    assert (status, done["text"]) == (200, "the loop of fog is paused")
    silence = WHY | {"detector": "wind", "seconds": 600}
    status, done = await post(world.open, "/api/models/fog/silence", json=silence)
    assert done["text"].startswith("alarms of wind of fog are silenced until ")
    assert (await post(world.open, "/api/models/fog/resume"))[0] == 200
    status, done = await post(world.open, "/api/models/fog/retrain")
    assert (status, done["run"].startswith("run-")) == (200, True), done
    asked = await world.asked("fog")
    assert [one.command for one in asked] == ["pause", "silence", "resume", "retrain"]
    assert {(one.by, one.reason) for one in asked} == {("ann", "because")}
    state = (await world.bus.models.read("fog")).value
    assert state is not None
    assert (state.paused, [its.detector for its in state.silences]) == (None, ["wind"])


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("calm/retrain", {}, 422, "reason: is missing; accepted: why, for the audit trail"),
        ("calm/retrain", {"reason": " \n"}, 422, "reason: is missing"),
        ("calm/retrain", {"reason": "x" * 1_001}, 422, "reason: 1001 characters; accepted:"),
        ("calm/retrain", WHY | {"by": ""}, 422, "by: ''; accepted: a name of 1 to 200 characters"),
        ("calm/retrain", {"reason": "\x1b[2J"}, 422, "has control characters; accepted: text"),
        ("calm/silence", WHY | {"detector": "a\x1b", "seconds": 9}, 422, "printable characters"),
        ("calm/promote", WHY, 422, "version: 0 is no version; accepted: 1 or above"),
        ("calm/promote", WHY | {"version": 9}, 422, "version: 9 is not a version of calm"),
        ("calm/approve", WHY, 422, "approve: no version of calm waits for approval"),
        ("calm/deny", WHY, 422, "deny: no version of calm waits for approval"),
        ("calm/rollback", WHY, 422, "rollback: there was no champion before"),
        ("calm/resume", WHY, 422, "resume: the loop of calm is not paused"),
        ("calm/silence", WHY | {"seconds": 10**9}, 422, "seconds: 1e+09 is no length of a silence"),
        ("calm/silence", WHY, 422, "detector: alarms of calm are not silenced"),
        ("calm/retrain", WHY | {"colour": 1}, 422, "body: Object contains unknown field `colour`"),
        ("calm/retrain", ["x"], 422, "accepted: JSON with reason, version, by, detector, seconds"),
        ("gone/retrain", WHY, 404, "model: 'gone' is not registered"),
        ("no.pe/retrain", WHY, 422, "is not a model name"),
    ],
)
async def test_an_order_that_cannot_be_carried_out_says_why(
    world: World, path: str, body: Any, status: int, detail: str
) -> None:
    await world.model("calm")
    got, problem = await post(world.open, f"/api/models/{path}", json=body)
    assert (got, detail in str(problem["detail"])) == (status, True), problem
    assert await world.asked("calm") == []


async def test_another_site_cannot_give_an_order(world: World) -> None:
    await world.model("still")
    for path in (
        *(f"models/still/{x}" for x in ("pause", "spec", "spec/check")),
        "data/dead/1/drop",
    ):
        headers = {"origin": "http://evil.example"}
        status, problem = await post(world.open, f"/api/{path}", headers=headers)
        assert (status, "accepted: this page's own" in problem["detail"]) == (403, True)
    status, _ = await post(
        world.open, "/api/data/quarantine/replay", headers={"origin": "http://evil.example"}
    )
    assert status == 403
    assert await world.asked("still") == []


async def test_a_token_needs_the_scope_and_the_model_and_is_named_in_the_audit_trail(
    world: World,
) -> None:
    await world.model("mist")
    await world.model("haze")
    reads = await world.token("reader", "read", ["*"])
    acts = await world.token("nightshift", "operate", ["mist"])
    for path in ("models/mist/pause", "models/mist/spec", "data/dead/1/drop"):
        assert (await post(world.guarded, f"/api/{path}"))[0] == 401
        status, problem = await post(world.guarded, f"/api/{path}", headers=reads)
        assert (status, "accepted: operate" in problem["detail"]) == (403, True)
    status, problem = await post(world.guarded, "/api/models/haze/pause", headers=acts)
    assert (status, problem["detail"]) == (
        404,
        "model: 'haze' is not registered; accepted: one that is",
    )
    assert (await post(world.guarded, "/api/models/mist/pause", headers=acts))[0] == 200
    assert [one.by for one in await world.asked("mist")] == ["token nightshift"]
    replay = WHY | {"model": "haze"}
    status, _ = await post(world.guarded, "/api/data/quarantine/replay", headers=acts, json=replay)
    assert status == 404
    assert await world.asked("haze") == []


async def test_a_spec_is_checked_compared_and_saved_unless_another_came_first(world: World) -> None:
    await world.model("rime")
    registered = await world.bus.spec("rime")
    text = dumps(registered.spec).replace("max = 200.0", "max = 250.0")
    status, check = await post(world.open, "/api/models/rime/spec/check", json={"text": text})
    assert (status, check["ok"], check["revision"], check["problems"]) == (200, True, 1, [])
    changed = [(line["sign"], line["text"]) for line in check["diff"] if line["sign"] != " "]
    assert changed == [("-", "max = 200.0"), ("+", "max = 250.0")]
    assert check["notes"] == [
        "The meaning of inputs or answers may change: the champion learned from the old one."
    ]
    save = WHY | {"text": text, "revision": 1}
    status, done = await post(world.open, "/api/models/rime/spec", json=save)
    assert (status, done["revision"]) == (200, 2)
    status, problem = await post(world.open, "/api/models/rime/spec", json=save)
    assert (status, problem["title"]) == (409, "Conflict")
    assert "revision: 1 is not the newest, which is 2 by ann" in problem["detail"]
    kept = (await world.bus.specs.read("rime")).value
    assert kept is not None
    assert (kept.spec.features[0].max, kept.by, kept.reason) == (250.0, "ann", "because")
    said = await held(world.bus, "EVENTS", "events.rime.spec.registered")
    assert [(one.event().by, one.event().reason) for one in said][1:] == [("ann", "because")]  # type: ignore[union-attr]  # of this kind


@pytest.mark.parametrize(
    ("old", "new", "field", "value", "accepted"),
    [
        ('name = "sleet"', 'name = "snow"', "name", "snow", "sleet"),
        ("max = 200.0", "max = -1.0", "features[0].min", "0.0", "a min below the max"),
        ('task = "classification"', 'task = "x"', "task", "x", "the fields and types"),
        ('task = "classification"', "task = ", "spec", "", "a TOML document"),
        (
            "[target]",
            '[training]\nestimator = "os:system"\n[target]',
            "training.estimator",
            "os:system",
            "a class of scikit-learn; register others with `driftloop spec apply FILE`",
        ),
        (
            "[target]",
            '[training]\nestimator = "a.sklearn.x"\n[target]',
            "training.estimator",
            "a.",
            "",
        ),
        (
            "[target]",
            '[training]\nestimator = "sklearn.x:y"\n[target]',
            "training.estimator",
            "sk",
            "",
        ),
    ],
)
async def test_the_problems_of_a_spec_are_named_and_it_is_not_registered(
    world: World, old: str, new: str, field: str, value: str, accepted: str
) -> None:
    await world.model("sleet")
    text = dumps((await world.bus.spec("sleet")).spec)
    assert old in text
    body = {"text": text.replace(old, new)}
    status, check = await post(world.open, "/api/models/sleet/spec/check", json=body)
    assert (status, check["ok"], check["diff"]) == (200, False, [])
    [problem] = check["problems"]
    assert problem["field"] == field
    assert problem["value"].startswith(value)
    assert accepted in problem["accepted"]
    status, refused = await post(
        world.open, "/api/models/sleet/spec", json=WHY | body | {"revision": 1}
    )
    assert (status, refused["detail"].startswith(f"{field}: ")) == (422, True), refused
    kept = (await world.bus.specs.read("sleet")).value
    assert kept is not None
    assert kept.revision == 1


async def test_an_estimator_that_is_registered_may_stay_and_one_of_scikit_learn_may_come(
    world: World,
) -> None:
    spec = rain_spec(name="dew", training={"estimator": "mine:make"})
    await register(world.operator, [spec], by="test")
    for estimator, ok in (("mine:make", True), ("sklearn.linear_model.LogisticRegression", True)):
        text = dumps(spec).replace("mine:make", estimator)
        _, check = await post(world.open, "/api/models/dew/spec/check", json={"text": text})
        assert check["ok"] == ok, check
    _, check = await post(world.open, "/api/models/dew/spec/check", json={"text": dumps(spec)})
    assert (check["diff"], check["notes"]) == ([], ["Nothing changes."])


async def test_dead_letters_are_replayed_and_dropped_and_only_those_of_the_token(
    world: World,
) -> None:
    from driftloop.bus.letters import letters
    from driftloop.contracts.events import LetterDropped
    from tests.integration.test_dead_and_quarantine import _arrow, _received

    await _received(world.bus, "squall", "1", _arrow(0, 3))

    async def there() -> bool:
        return bool([one async for one in letters(world.bus, model="squall")])

    await eventually(there, "a dead letter")
    [letter] = [one async for one in letters(world.bus, model="squall")]
    status, problem = await post(world.open, f"/api/data/dead/{letter.seq}/replay")
    assert (status, "'squall' is not registered" in problem["detail"]) == (404, True)
    other = await world.token("other", "operate", ["mist"])
    status, problem = await post(world.guarded, f"/api/data/dead/{letter.seq}/drop", headers=other)
    assert (status, "is no dead letter" in problem["detail"]) == (422, True)
    own = await world.token("own", "operate", ["squall"])
    status, done = await post(world.guarded, f"/api/data/dead/{letter.seq}/drop", headers=own)
    assert (status, done["text"].endswith("is given up")) == (200, True)
    [event] = [m.event() for m in await held(world.bus, "EVENTS", "events.squall.letter.dropped")]
    assert isinstance(event, LetterDropped)
    assert (event.by, event.reason) == ("token own", "because")
    assert not await there()


async def test_rows_of_quarantine_are_sent_again_and_who_did_it_is_written_down(
    world: World,
) -> None:
    await world.model("gust")
    async with Client(world.url, key=f"{world.keys}/{CLIENT}.nk") as client:
        await client.send_rows("gust", rows(0, 5))
        await client.send_rows("gust", rows(5, 9, wind=300))

    async def set_apart() -> bool:
        return bool(await held(world.bus, "ROWS", "rows.gust.quarantined.*"))

    await eventually(set_apart, "rows in quarantine")
    spec = (await world.bus.spec("gust")).spec
    text = dumps(spec).replace("max = 200.0", "max = 400.0")
    save = WHY | {"text": text, "revision": 1}
    assert (await post(world.open, "/api/models/gust/spec", json=save))[0] == 200
    wanted = WHY | {"model": "gust", "containing": "wind: 3"}
    status, found = await post(world.open, "/api/data/quarantine/replay", json=wanted)
    assert (status, found["rows"], found["valid"], found["quarantined"]) == (200, 4, 4, 0), found
    [asked] = await world.asked("gust")
    assert (asked.command, asked.by, asked.reason) == ("requeue", "ann", "because")
