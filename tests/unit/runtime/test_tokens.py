import random
import re
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from driftloop.contracts.errors import InvalidInput, InvalidName, Retry, UnknownModel
from driftloop.contracts.tokens import (
    Token,
    decode,
    hashed,
    id_of,
    new_secret,
    same,
)
from driftloop.registry.domain import tokens
from driftloop.runtime.access import OPEN, Access, Guarded, Rule, anywhere, everywhere, of_model
from driftloop.runtime.access import access as module
from driftloop.runtime.access.rate import Rate
from driftloop.runtime.problems import (
    NotAuthenticated,
    NotPermitted,
    TooFast,
    TooLarge,
    explain,
)
from driftloop.runtime.settings import Shared
from tests.support.access import made

NOW = 1_800_000_000.0
START = 1_000.0
READ = of_model("read").scopes
PREDICT = of_model("predict").scopes


class Kept:
    """The bucket of tokens, and the bus around it: what was put is told once."""

    def __init__(self) -> None:
        self.told: dict[str, Token | None] = {}
        self.tokens = SimpleNamespace(changes=lambda: self)
        self.names_models = True
        self.away = False

    async def next(self) -> dict[str, Token | None]:
        if self.away:
            raise Retry("the broker is away")
        told, self.told = self.told, {}
        return told


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(kept: Any, clock: Clock) -> Access:
    return Access(kept, Shared(host="0.0.0.0"), clock, clock)


async def put(access: Access, kept: Kept, token: Token) -> None:
    kept.told[token.name] = token
    await access.look()


def header(headers: dict[str, str]) -> bytes:
    return headers["authorization"].encode()


# Secrets.


def test_a_secret_has_256_bits_and_is_never_the_same() -> None:
    found = {new_secret().text for _ in range(1_000)}
    assert len(found) == 1_000
    # 43 characters of base64 without padding are 32 bytes.
    assert all(re.fullmatch(r"dlt_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text) for text in found)


def test_what_is_kept_of_a_secret_is_its_open_id_and_its_hash() -> None:
    secret = new_secret()
    token, _ = made("a", "read")
    kept = msgspec.structs.replace(token, id=secret.id, sha256=secret.sha256)
    assert secret.text.encode() not in msgspec.msgpack.encode(kept)
    assert secret.text.split("_", 2)[2].encode() not in msgspec.msgpack.encode(kept)
    assert kept.sha256 == hashed(secret.text)
    assert id_of(secret.text) == secret.id
    assert same(kept, secret.text)
    assert not same(kept, secret.text[:-1] + ("A" if secret.text[-1] != "A" else "B"))


@pytest.mark.parametrize(
    "text",
    ["", "dlt_", "dlt_0123456789ab_x", "Bearer", "dlt_0123456789AB_" + "a" * 43, "x" * 10_000],
)
def test_what_is_no_secret_has_no_id(text: str) -> None:
    assert id_of(text) == ""


def test_a_record_nobody_can_read_is_a_revoked_one() -> None:
    assert not decode(b"\xc1").live(NOW)
    assert decode(msgspec.msgpack.encode(made("a", "read")[0])).live(NOW)


# What the registry keeps.


def test_a_token_is_kept_with_the_time_it_was_made_at() -> None:
    asked, _ = made("a", "read", "predict", models=("flights",), rate=5.0, expires=NOW + 1)
    kept = tokens.created(asked, [], NOW)
    assert kept == msgspec.structs.replace(asked, created=NOW)


def test_asked_again_with_the_same_secret_it_is_the_same_token() -> None:
    asked, _ = made("a", "read")
    kept = tokens.created(asked, [], NOW)
    assert tokens.created(asked, [kept], NOW + 5) == kept


def test_a_name_is_free_again_once_its_token_is_revoked_or_expired() -> None:
    first = tokens.created(made("a", "read", expires=NOW + 10)[0], [], NOW)
    asked, _ = made("a", "operate")
    with pytest.raises(InvalidInput, match="name: 'a' is the name of a live token"):
        tokens.created(asked, [first], NOW)
    gone = tokens.revoked(first, "a", "ana", NOW + 2)
    assert (gone.revoked, gone.revoked_by) == (NOW + 2, "ana")
    assert tokens.created(asked, [gone], NOW + 3).scopes == ("operate",)
    assert tokens.created(asked, [first], NOW + 11).scopes == ("operate",)


def test_revoking_again_changes_nothing_and_an_unknown_name_is_an_error() -> None:
    gone = tokens.revoked(made("a", "read")[0], "a", "ana", NOW)
    assert tokens.revoked(gone, "a", "bob", NOW + 1) == gone
    with pytest.raises(InvalidInput, match="name: 'b' is no token"):
        tokens.revoked(None, "b", "ana", NOW)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../x"}, "name: "),
        ({"name": ""}, "name: "),
        ({"id": "x"}, "secret: "),
        ({"sha256": "0" * 63}, "secret: "),
        ({"scopes": ()}, "scopes: "),
        ({"models": ()}, "models: "),
        ({"models": ("a.b",)}, "model: "),
        ({"models": tuple(f"m{n}" for n in range(1_001))}, "models: "),
        ({"rate": -1.0}, "rate: "),
        ({"rate": float("nan")}, "rate: "),
        ({"rate": float("inf")}, "rate: "),
        ({"max_bytes": -1}, "max_bytes: "),
        ({"expires": NOW}, "expires: "),
        ({"expires": float("inf")}, "expires: "),
        ({"by": "x" * 201}, "by: "),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    asked = msgspec.structs.replace(made("a", "read")[0], **change)
    with pytest.raises((InvalidInput, InvalidName), match=said):
        tokens.created(asked, [], NOW)


def test_two_tokens_never_share_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokens.created(made("a", "read")[0], [], NOW)
    asked = msgspec.structs.replace(made("b", "read")[0], id=first.id)
    with pytest.raises(InvalidInput, match="id: "):
        tokens.created(asked, [first], NOW)
    monkeypatch.setattr(tokens, "MOST_TOKENS", 1)
    with pytest.raises(InvalidInput, match="there are 1 tokens"):
        tokens.created(made("b", "read")[0], [first], NOW)


# Rates.


def test_a_rate_lets_a_seconds_worth_in_at_once_and_then_its_rows_a_second() -> None:
    rate = Rate(10.0, START)
    assert [rate.wait(START) for _ in range(10)] == [0.0] * 10
    assert rate.wait(START) == pytest.approx(0.1)
    assert rate.wait(START + 0.11) == 0.0
    assert rate.wait(START + 0.11) > 0
    late = [rate.wait(START + 1_000) for _ in range(12)]
    assert late[:10] == [0.0] * 10
    assert late[10] > 0


def test_rows_that_came_at_once_are_waited_for() -> None:
    rate = Rate(100.0, START)
    assert rate.wait(START) == 0.0
    rate.take(1_000)
    wait = rate.wait(START)
    assert wait == pytest.approx((1_000 + 1 - 100 + 1) / 100)
    assert rate.wait(START + wait - 0.01) > 0
    assert rate.wait(START + wait + 0.01) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_over_any_time_no_more_rows_pass_than_the_rate_and_one_request(seed: int) -> None:
    chance, rate, at, passed, largest = random.Random(seed), Rate(50.0, START), START, 0, 0
    for _ in range(2_000):
        at += chance.expovariate(20.0)
        rows = chance.randrange(1, 200)
        if rate.wait(at) == 0.0:
            rate.take(rows - 1)
            passed, largest = passed + rows, max(largest, rows)
    seconds = at - START
    assert passed <= 50.0 * (seconds + 1) + largest
    assert passed >= 50.0 * seconds * 0.9


# The check.


@pytest.mark.parametrize(
    ("tokens_setting", "host", "required"),
    [
        ("auto", "127.0.0.1", False),
        ("auto", "127.8.8.8", False),
        ("auto", "::1", False),
        ("auto", "localhost", False),
        ("auto", "0.0.0.0", True),
        ("auto", "::", True),
        ("auto", "10.0.0.5", True),
        ("auto", "example.internal", True),
        ("auto", "", True),
        ("required", "127.0.0.1", True),
        ("off", "0.0.0.0", False),
    ],
)
def test_tokens_are_required_as_the_setting_and_the_address_say(
    kept: Any, tokens_setting: Any, host: str, required: bool
) -> None:
    assert Access(kept, Shared(tokens=tokens_setting, host=host)).required is required


def test_off_on_a_public_address_is_a_warning(kept: Any, caplog: pytest.LogCaptureFixture) -> None:
    Access(kept, Shared(tokens="off", host="127.0.0.1"))
    assert not caplog.records
    Access(kept, Shared(tokens="off", host="0.0.0.0"))
    assert "whoever reaches this address may do everything" in caplog.text


async def test_nobody_comes_in_before_the_tokens_are_read(access: Access, kept: Kept) -> None:
    token, headers = made("a", "read")
    with pytest.raises(Retry, match="not read yet"):
        access.enter(header(headers), READ)
    assert access.problem()
    await put(access, kept, token)
    assert not access.problem()
    assert access.enter(header(headers), READ) is not None


async def test_a_token_opens_its_scopes_and_models_only(access: Access, kept: Kept) -> None:
    token, headers = made("a", "predict", models=("flights", "trains"))
    await put(access, kept, token)
    assert access.enter(header(headers), PREDICT, "flights") is not None
    with pytest.raises(NotPermitted, match="has the scope predict; accepted: read"):
        access.enter(header(headers), READ, "flights")
    with pytest.raises(UnknownModel, match="model: 'ships' is not registered"):
        access.enter(header(headers), PREDICT, "ships")
    with pytest.raises(InvalidName):
        access.enter(header(headers), PREDICT, "../x")
    assert kept.names_models is False


@pytest.mark.parametrize(
    "how", ["", "Basic", "Bearer ", "Bearer x", "bearer\tx", "\xff", "Bearer \xff"]
)
async def test_what_is_no_good_token_is_refused(access: Access, kept: Kept, how: str) -> None:
    await put(access, kept, made("a", "read")[0])
    with pytest.raises(NotAuthenticated):
        access.enter(how.encode("latin-1"), READ)


async def test_the_right_id_with_another_secret_is_refused(access: Access, kept: Kept) -> None:
    token, headers = made("a", "read")
    await put(access, kept, token)
    forged = f"Bearer dlt_{token.id}_{'A' * 43}"
    with pytest.raises(NotAuthenticated):
        access.enter(forged.encode(), READ)
    assert access.enter(header(headers), READ) is not None


async def test_a_revoked_changed_or_expired_token_is_refused_at_the_next_look(
    access: Access, kept: Kept, clock: Clock
) -> None:
    token, headers = made("a", "read", expires=NOW + 10)
    other, others = made("b", "read", rate=1.0)
    await put(access, kept, other)
    await put(access, kept, token)
    right = access.enter(header(headers), READ)
    assert right is not None
    assert access.good(right)
    assert access.enter(header(others), READ) is not None
    clock.now += 11
    await access.look()
    assert not access.good(right)
    with pytest.raises(NotAuthenticated):
        access.enter(header(headers), READ)
    await put(access, kept, tokens.revoked(other, "b", "ana", NOW))
    with pytest.raises(NotAuthenticated):
        access.enter(header(others), READ)


async def test_a_change_of_one_token_does_not_fill_up_the_rate_of_another(
    access: Access, kept: Kept
) -> None:
    token, headers = made("a", "read", rate=1.0)
    await put(access, kept, token)
    access.enter(header(headers), READ)
    await put(access, kept, made("b", "read")[0])
    with pytest.raises(TooFast) as found:
        access.enter(header(headers), READ)
    assert found.value.delay == pytest.approx(1.0)


async def test_while_the_broker_is_away_the_tokens_known_last_are_good_until_they_expire(
    access: Access, kept: Kept, clock: Clock
) -> None:
    token, headers = made("a", "read", expires=NOW + 10)
    await put(access, kept, token)
    kept.away = True
    await access.look()
    assert access.enter(header(headers), READ) is not None
    clock.now += 10
    await access.look()
    with pytest.raises(NotAuthenticated):
        access.enter(header(headers), READ)


async def test_a_body_over_the_tokens_size_is_refused(access: Access, kept: Kept) -> None:
    token, headers = made("a", "read", max_bytes=100)
    await put(access, kept, token)
    assert access.enter(header(headers), READ, size=100) is not None
    with pytest.raises(TooLarge, match="body: 101 bytes are too many for token a"):
        access.enter(header(headers), READ, size=101)


async def test_headers_kept_in_mind_are_bounded_and_wrong_ones_are_not_kept(
    access: Access, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HEADERS", 3)
    token, headers = made("a", "read")
    await put(access, kept, token)
    for spaces in range(10):
        access.enter(header(headers) + b" " * spaces, READ)
        with pytest.raises(NotAuthenticated):
            access.enter(b"Bearer wrong" + b"x" * spaces, READ)
        assert len(access._known) <= 3


# The guard.


def app_of_all() -> FastAPI:
    app = FastAPI(openapi_url=None)
    explain(app)

    @app.get("/open")
    @app.get("/any")
    @app.get("/all")
    @app.get("/of/{model}")
    @app.post("/of/{model}")
    async def answer(request: Request) -> Response:
        return Response(await request.body())

    return app


RULES: dict[str, Rule] = {
    "GET /open": OPEN,
    "GET /any": anywhere("read"),
    "GET /all": everywhere("read"),
    "GET /of/{model}": of_model("read"),
    "POST /of/{model}": of_model("operate"),
}


def client(access: Access, cookie: str = "") -> httpx.AsyncClient:
    guarded = Guarded(app_of_all(), access, RULES, cookie=cookie)
    transport = httpx.ASGITransport(app=guarded)
    return httpx.AsyncClient(transport=transport, base_url="http://here:8800")


def test_a_route_without_a_rule_and_a_rule_without_a_route_keep_an_app_from_being_made(
    access: Access,
) -> None:
    for key in RULES:
        fewer = {name: rule for name, rule in RULES.items() if name != key}
        with pytest.raises(ValueError, match=f"{re.escape(key)}: has no rule"):
            Guarded(app_of_all(), access, fewer)
    with pytest.raises(ValueError, match="GET /more: has a rule, but there is no such route"):
        Guarded(app_of_all(), access, {**RULES, "GET /more": OPEN})
    with pytest.raises(ValueError, match="GET /any: its rule is for the model in the path"):
        Guarded(app_of_all(), access, {**RULES, "GET /any": of_model("read")})


async def test_the_guard_answers_as_the_standard_says(access: Access, kept: Kept) -> None:
    token, headers = made("a", "read", models=("flights",))
    await put(access, kept, token)
    async with client(access) as http:
        assert (await http.get("/open")).status_code == 200
        missing = await http.get("/any")
        assert missing.status_code == 401
        assert missing.headers["www-authenticate"].startswith("Bearer")
        assert missing.headers["content-type"] == "application/problem+json"
        assert (await http.get("/any", headers=headers)).status_code == 200
        assert (await http.get("/of/flights", headers=headers)).status_code == 200
        assert (await http.get("/of/ships", headers=headers)).status_code == 404
        refused = await http.post("/of/flights", headers=headers)
        assert refused.status_code == 403
        assert "operate" in refused.json()["detail"]
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert (await http.get("/all", headers=headers)).status_code == 403
        for got, status in (
            (await http.get("/nowhere"), 404),
            (await http.delete("/any"), 405),
            (await http.post("/open"), 405),
        ):
            assert got.status_code == status


async def test_a_body_without_a_told_length_is_counted_as_it_comes(
    access: Access, kept: Kept
) -> None:
    token, headers = made("a", "operate", max_bytes=100)
    await put(access, kept, token)

    async def parts(count: int) -> Any:
        for _ in range(count):
            yield b"x" * 10

    async with client(access) as http:
        good = await http.post("/of/a", headers=headers, content=parts(10))
        assert (good.status_code, len(good.content)) == (200, 100)
        assert (await http.post("/of/a", headers=headers, content=parts(11))).status_code == 413
        assert (await http.post("/of/a", headers=headers, content=b"x" * 101)).status_code == 413


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://here:8800", 200),
        ("http://evil.example", 403),
        ("http://here:9999", 403),
        ("null", 403),
        (None, 403),
    ],
)
async def test_a_cookie_changes_something_from_a_page_of_this_origin_only(
    access: Access, kept: Kept, origin: str | None, status: int
) -> None:
    token, headers = made("a", "read", "operate")
    await put(access, kept, token)
    cookies = {"cookie": f"token={headers['authorization'].removeprefix('Bearer ')}"}
    sent = cookies | ({"origin": origin} if origin is not None else {})
    async with client(access, cookie="token") as http:
        assert (await http.get("/of/a", headers=cookies)).status_code == 200
        assert (await http.post("/of/a", headers=sent)).status_code == status
        assert (await http.post("/of/a", headers=sent | headers)).status_code == 200
    async with client(access) as http:
        assert (await http.get("/of/a", headers=cookies)).status_code == 401


async def test_where_no_token_is_required_none_is_looked_at(kept: Any) -> None:
    async with client(Access(kept, Shared())) as http:
        got = await http.post("/of/a", headers={"authorization": "Bearer nonsense"})
    assert got.status_code == 200
